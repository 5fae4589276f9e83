"""Bodies of requests: read once and for all routes, then validated as the route's model.

Apart from `api`, because pydantic is a third of what a cold start could cost: handlers keep their
models in a file of its own, `functions/<resource>/bodies.py`, which GET and DELETE never load.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from chatbot.errors import BadRequest, PayloadTooLarge, UnsupportedMediaType, ValidationFailed

MAX_BODY_BYTES = 256 * 1024
MAX_ERRORS = 100  # told of one body: an answer must not outgrow what Lambda may send


class Body(BaseModel):
    """A request's JSON object. Unknown fields and wrong types are errors; text stays as it is."""

    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, defer_build=True, frozen=True
    )

    max_bytes: ClassVar[int] = MAX_BODY_BYTES

    def changes(self) -> dict[str, Any]:
        """The fields that the client sent, as JSON values: a merge patch keeps its nulls."""
        return self.model_dump(mode="json", exclude_unset=True)


def read[Model: Body](event: Mapping[str, Any], model: type[Model]) -> tuple[Model, dict[str, Any]]:
    """The body of an HTTP API event as a route's model, and as it was parsed.

    Raises `BadRequest`, `PayloadTooLarge`, `UnsupportedMediaType` and `ValidationFailed`.
    """
    text = _body_text(event, model.max_bytes)
    try:
        parsed = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None
    except ValueError:
        raise BadRequest("the body is not JSON") from None
    if not isinstance(parsed, dict):
        raise _invalid([{"loc": ["body"], "msg": "must be a JSON object", "type": "dict_type"}])
    _refuse_unstorable_text(parsed)
    try:
        return model.model_validate_json(text), parsed
    except ValidationError as error:
        raise _invalid(
            [
                {"loc": ["body", *fault["loc"]], "msg": fault["msg"], "type": fault["type"]}
                for fault in error.errors(
                    include_url=False, include_context=False, include_input=False
                )
            ]
        ) from None


def _body_text(event: Mapping[str, Any], max_bytes: int) -> str:
    raw: str = event.get("body") or ""
    if not raw:
        raise BadRequest("a JSON body is required")
    headers: Mapping[str, str] = event.get("headers") or {}
    media_type, _, parameters = headers.get("content-type", "").lower().partition(";")
    charset = parameters.strip().removeprefix("charset=").strip('"')
    accepted = ("application/json", "application/merge-patch+json")
    if media_type.strip() not in accepted or charset not in ("", "utf-8", "utf8"):
        raise UnsupportedMediaType("the body must be application/json in UTF-8")
    try:
        encoded = base64.b64decode(raw) if event.get("isBase64Encoded") else raw.encode()
        if len(encoded) > max_bytes:
            raise PayloadTooLarge(f"the body may have {max_bytes} bytes")
        # In the place of bytes that are no UTF-8 the gateway passes U+FFFD, which is longer.
        length = headers.get("content-length", "")
        if "\ufffd" in raw and length.isdecimal() and int(length) != len(encoded):
            raise BadRequest("the body is not UTF-8")
        return encoded.decode()
    except (UnicodeError, binascii.Error):
        raise BadRequest("the body is not UTF-8") from None


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _refuse_unstorable_text(parsed: dict[str, Any]) -> None:
    """Raise for NUL, which PostgreSQL cannot store, and lone surrogates, which nothing can."""
    # A place is (outer place, key): a list of keys for each value would outgrow the memory where
    # many values stand deep down.
    waiting: list[tuple[Any, Any]] = [(((), "body"), parsed)]
    while waiting:
        place, value = waiting.pop()
        match value:
            case dict():
                waiting += [((place, "(name)"), name) for name in value]
                waiting += [((place, name), item) for name, item in value.items()]
            case list():
                waiting += [((place, index), item) for index, item in enumerate(value)]
            case str() if "\0" in value or not _is_unicode(value):
                message = "must have no NUL character and no lone surrogate"
                raise _invalid([{"loc": _loc(place), "msg": message, "type": "string_unicode"}])


def _loc(place: Any) -> list[str | int]:
    loc: list[str | int] = []
    while place:
        place, key = place
        loc.append(_printable(key) if isinstance(key, str) else key)
    return loc[::-1]


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _printable(name: str) -> str:
    return name.encode(errors="replace").decode()


def _invalid(errors: list[dict[str, Any]]) -> ValidationFailed:
    return ValidationFailed("the request is not valid", errors=errors[:MAX_ERRORS])
