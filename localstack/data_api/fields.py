"""Values between the Data API's `Field` objects and PostgreSQL's text format.

Which types come back how: Aurora user guide, "Comparison of the RDS Data API behaviour", and the
`Field` data type of the API reference. Everything travels in PostgreSQL's text format.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from localstack.data_api.errors import DataApiError

BOOL, BYTEA, INT8, INT2, INT4, TEXT, OID = 16, 17, 20, 21, 23, 25, 26
JSON, FLOAT4, FLOAT8, VARCHAR = 114, 700, 701, 1043
DATE, TIME, TIMESTAMP, TIMESTAMPTZ, NUMERIC, UUID_OID, JSONB = (
    1082, 1083, 1114, 1184, 1700, 2950, 3802,
)  # fmt: skip

_HINTS = {
    "DATE": (DATE, re.compile(r"\d{4}-\d{2}-\d{2}")),
    "TIME": (TIME, re.compile(r"\d{2}:\d{2}:\d{2}(\.\d{1,6})?")),
    "TIMESTAMP": (TIMESTAMP, re.compile(r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}(\.\d{1,6})?")),
    "DECIMAL": (NUMERIC, None),
    "JSON": (JSON, None),
    "UUID": (UUID_OID, None),
}


def _is_valid(hint: str, text: str) -> bool:
    pattern = _HINTS[hint][1]
    try:
        if pattern is not None:
            return pattern.fullmatch(text) is not None
        {"DECIMAL": Decimal, "JSON": json.loads, "UUID": UUID}[hint](text)  # type: ignore[operator]
    except (ValueError, InvalidOperation):
        return False
    return True


def _hinted(name: str, text: str, hint: str | None) -> tuple[int, str]:
    if "\x00" in text:
        raise DataApiError(
            "DatabaseErrorException",
            'ERROR: invalid byte sequence for encoding "UTF8": 0x00; SQLState: 22021',
        )
    if hint is None:
        return VARCHAR, text
    if not _is_valid(hint, text):
        raise DataApiError("ValidationException", f"Cannot convert {name} to type {hint}.")
    return _HINTS[hint][0], text


def _literal(kind: str, content: Any) -> tuple[int, str] | None:
    """A value that is no string: its type and text; None if it is malformed."""
    if kind == "longValue" and isinstance(content, int) and not isinstance(content, bool):
        return INT8, str(content)
    if kind == "doubleValue" and isinstance(content, int | float | str):
        return FLOAT8, str(content)
    if kind == "booleanValue" and isinstance(content, bool):
        return BOOL, "true" if content else "false"
    if kind == "blobValue" and isinstance(content, str):
        return BYTEA, f"\\x{base64.b64decode(content).hex()}"
    return None


def to_parameter(parameter: Mapping[str, Any]) -> tuple[int, str | None]:
    """The type's oid (0: PostgreSQL infers it) and the text of one `SqlParameter`.

    A string without a hint is a `varchar`, as on AWS: a uuid column then needs a hint or a cast.
    Raises `DataApiError` for malformed values.
    """
    name, hint = parameter.get("name", ""), parameter.get("typeHint")
    value = parameter.get("value")
    if not isinstance(value, Mapping) or len(value) != 1:
        raise DataApiError("ValidationException", f"Parameter {name} needs exactly one value.")
    if hint is not None and hint not in _HINTS:
        raise DataApiError("ValidationException", f"Unknown typeHint {hint!r} for {name}.")
    ((kind, content),) = value.items()
    if kind == "arrayValue":
        raise DataApiError("ValidationException", "Array parameters are not supported.")
    if kind == "isNull" and content is True:
        return (_HINTS[hint][0] if hint else 0), None
    if kind == "stringValue" and isinstance(content, str):
        return _hinted(name, content, hint)
    literal = _literal(kind, content)
    if literal is None:
        raise DataApiError("ValidationException", f"Parameter {name} has a malformed value.")
    return literal


def _double(text: str) -> dict[str, Any]:
    special = {"NaN": "NaN", "Infinity": "Infinity", "-Infinity": "-Infinity"}
    return {"doubleValue": special[text] if text in special else float(text)}


def _timestamp_in_utc(text: str) -> dict[str, Any]:
    """Sessions run in UTC, so the offset is always `+00`, which AWS leaves out."""
    return {"stringValue": text.removesuffix("+00")}


def _string(text: str) -> dict[str, Any]:
    return {"stringValue": text}


def _long(text: str) -> dict[str, Any]:
    return {"longValue": int(text)}


def _boolean(text: str) -> dict[str, Any]:
    return {"booleanValue": text == "t"}


def _blob(text: str) -> dict[str, Any]:
    return {"blobValue": base64.b64encode(bytes.fromhex(text[2:])).decode()}


# By PostgreSQL type: its name, java.sql.Types' number for the metadata, and how a value reads.
_TYPES: dict[int, tuple[str, int, Callable[[str], dict[str, Any]]]] = {
    BOOL: ("bool", -7, _boolean),
    BYTEA: ("bytea", -2, _blob),
    18: ("char", 1, _string),
    19: ("name", 12, _string),
    INT8: ("int8", -5, _long),
    INT2: ("int2", 5, _long),
    INT4: ("int4", 4, _long),
    TEXT: ("text", 12, _string),
    OID: ("oid", -5, _long),
    JSON: ("json", 1111, _string),
    FLOAT4: ("float4", 7, _double),
    FLOAT8: ("float8", 8, _double),
    705: ("unknown", 12, _string),
    1042: ("bpchar", 1, _string),
    VARCHAR: ("varchar", 12, _string),
    DATE: ("date", 91, _string),
    TIME: ("time", 92, _string),
    TIMESTAMP: ("timestamp", 93, _string),
    TIMESTAMPTZ: ("timestamptz", 93, _timestamp_in_utc),
    1186: ("interval", 1111, _string),
    NUMERIC: ("numeric", 2, _string),
    2278: ("void", 1111, _string),
    UUID_OID: ("uuid", 1111, _string),
    JSONB: ("jsonb", 1111, _string),
}
_ARRAYS = {
    1000: (BOOL, "booleanValues"),
    1005: (INT2, "longValues"),
    1007: (INT4, "longValues"),
    1016: (INT8, "longValues"),
    1021: (FLOAT4, "doubleValues"),
    1022: (FLOAT8, "doubleValues"),
    1009: (TEXT, "stringValues"),
    1002: (18, "stringValues"),
    1003: (19, "stringValues"),
    1015: (VARCHAR, "stringValues"),
    1182: (DATE, "stringValues"),
    1115: (TIMESTAMP, "stringValues"),
    1185: (TIMESTAMPTZ, "stringValues"),
    1231: (NUMERIC, "stringValues"),
    2951: (UUID_OID, "stringValues"),
}
_ELEMENT = re.compile(r'"((?:[^"\\]|\\.)*)"|([^,{}]+)|([{},])')


def _array(text: str, oid: int) -> dict[str, Any]:
    """A one-dimensional array in PostgreSQL's text format, `{1,NULL,"a b"}`."""
    base, key = _ARRAYS[oid]
    if text.startswith("{{"):
        raise DataApiError(
            "UnsupportedResultException", "The result contains a multidimensional array."
        )
    read = _TYPES[base][2]
    values: list[Any] = []
    for quoted, plain, punctuation in _ELEMENT.findall(text):
        if punctuation:
            continue
        if plain == "NULL":
            raise DataApiError("UnsupportedResultException", "The result contains a NULL element.")
        element = plain or re.sub(r"\\(.)", r"\1", quoted)
        values.append(next(iter(read(element).values())))
    return {"arrayValue": {key: values}}


def to_field(text: str | None, oid: int, options: Mapping[str, str]) -> dict[str, Any]:
    """One value of a result as a `Field`. `options` are the request's `resultSetOptions`.

    Raises `UnsupportedResultException` for a type that the API cannot return, such as `vector`.
    """
    if oid not in _TYPES and oid not in _ARRAYS:
        raise DataApiError(
            "UnsupportedResultException",
            "The result contains the unsupported data type USER_DEFINED. Cast it to text.",
        )
    if text is None:
        return {"isNull": True}
    if oid in _ARRAYS:
        return _array(text, oid)
    if oid == NUMERIC and options.get("decimalReturnType") == "DOUBLE_OR_LONG":
        number = Decimal(text)
        whole = number == number.to_integral_value()
        return {"longValue": int(number)} if whole else {"doubleValue": float(number)}
    field = _TYPES[oid][2](text)
    if "longValue" in field and options.get("longReturnType") == "STRING":
        return {"stringValue": text}
    return field


def to_json_value(field: Mapping[str, Any]) -> Any:
    """A `Field` as a value of `formattedRecords`; a blob stays base64, an array a list."""
    ((kind, content),) = field.items()
    if kind == "isNull":
        return None
    if kind == "arrayValue":
        return next(iter(content.values()))
    return content


def size(row: Sequence[str | None]) -> int:
    """The bytes of one row as PostgreSQL sent it."""
    return sum(len(text.encode()) for text in row if text is not None)


def metadata(column: Mapping[str, Any]) -> dict[str, Any]:
    """The `ColumnMetadata` of a column that PostgreSQL described."""
    oid = column["type_oid"]
    if oid in _ARRAYS:
        base = _ARRAYS[oid][0]
        name, number, element = f"_{_TYPES[base][0]}", 2003, _TYPES[base][1]
    else:
        name, number, element = *_TYPES.get(oid, ("USER_DEFINED", 1111, _string))[:2], 0
    return {
        "arrayBaseColumnType": element,
        "isAutoIncrement": False,
        "isCaseSensitive": name in {"text", "varchar", "bpchar", "name", "char"},
        "isCurrency": False,
        "isSigned": name in {"int2", "int4", "int8", "float4", "float8", "numeric"},
        "label": column["name"],
        "name": column["name"],
        "nullable": 2,
        "precision": max(column["type_size"], 0),
        "scale": 0,
        "schemaName": "",
        "tableName": "",
        "type": number,
        "typeName": name,
    }
