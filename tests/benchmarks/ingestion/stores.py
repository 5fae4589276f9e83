"""DynamoDB, S3 and Secrets Manager for one process at a time, kept on disk and not in its memory.

Only what ingestion asks of them, in the form in which it asks; anything else is an error.
"""

import io
import json
import re
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

KEYS = {"documents": ("document_id", None), "jobs": ("source_id", "job_id")}
PAGE = 1_000
_SET = re.compile(r"(\w+) = (?:if_not_exists\((\w+), (:\w+)\)|(:\w+))")
_EQUAL = re.compile(r"(\w+) = (:\w+)")
_ABSENT = re.compile(r"attribute_not_exists\((\w+)\)")
_QUERIES = {
    "source_id = :source": ("\x00", "\U0010ffff"),
    "source_id = :source AND external_id BETWEEN :after AND :before": (":after", ":before"),
}

type Item = dict[str, Any]


class DynamoDb:
    """Two tables, of which `documents` has the index `by_source`."""

    def __init__(self, file: Path) -> None:
        self._lock = threading.Lock()
        self._rows = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._rows.execute("PRAGMA synchronous = OFF")
        self._rows.execute("PRAGMA journal_mode = MEMORY")
        self._rows.execute(
            "CREATE TABLE IF NOT EXISTS item (key TEXT PRIMARY KEY, source TEXT, external TEXT,"
            " item TEXT) WITHOUT ROWID"
        )
        self._rows.execute(
            "CREATE INDEX IF NOT EXISTS by_source ON item (source, external)"
            " WHERE external IS NOT NULL"
        )

    def get_item(self, TableName: str, Key: Item, **_: bool) -> Item:  # noqa: N803
        with self._lock:
            found = self._get(_key(TableName, Key))
        return {"Item": found} if found else {}

    def put_item(self, TableName: str, Item: Item) -> Item:  # noqa: N803
        with self._lock:
            self._put(_key(TableName, Item), Item)
        return {}

    def update_item(
        self,
        TableName: str,  # noqa: N803
        Key: Item,  # noqa: N803
        UpdateExpression: str,  # noqa: N803
        ConditionExpression: str,  # noqa: N803
        ExpressionAttributeValues: Item,  # noqa: N803
        ExpressionAttributeNames: dict[str, str] | None = None,  # noqa: N803
        **_: str,
    ) -> Item:
        names, values = ExpressionAttributeNames or {}, ExpressionAttributeValues

        def named(expression: str) -> str:
            return re.sub(r"#\w+", lambda found: names[found[0]], expression)

        with self._lock:
            key = _key(TableName, Key)
            item = self._get(key)
            for condition in named(ConditionExpression).split(" AND "):
                if not _holds(condition, item or {}, values):
                    raise _error("ConditionalCheckFailedException", "UpdateItem")
            item = _updated(item or dict(Key), named(UpdateExpression), values)
            self._put(key, item)
        return {"Attributes": item}

    def get_paginator(self, operation: str) -> "DynamoDb":
        assert operation == "query"
        return self

    def paginate(
        self,
        KeyConditionExpression: str,  # noqa: N803
        ExpressionAttributeValues: Item,  # noqa: N803
        **_: Any,
    ) -> Iterator[Item]:
        bounds = _QUERIES[KeyConditionExpression]
        values = {name: value["S"] for name, value in ExpressionAttributeValues.items()}
        after, before = (values.get(bound, bound) for bound in bounds)
        comparison = ">="
        while True:
            with self._lock:
                rows = self._rows.execute(
                    f"SELECT external, item FROM item WHERE source = ? AND external {comparison} ?"
                    " AND external <= ? ORDER BY external LIMIT ?",
                    (values[":source"], after, before, PAGE),
                ).fetchall()
            yield {"Items": [json.loads(item) for _, item in rows]}
            if len(rows) < PAGE:
                return
            after, comparison = rows[-1][0], ">"

    def _get(self, key: str) -> Item | None:
        row = self._rows.execute("SELECT item FROM item WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None

    def _put(self, key: str, item: Item) -> None:
        external = item.get("external_id", {}).get("S")
        row = (key, item.get("source_id", {}).get("S"), external, json.dumps(item))
        self._rows.execute("INSERT OR REPLACE INTO item VALUES (?, ?, ?, ?)", row)


def _key(table: str, item: Item) -> str:
    partition, sort = KEYS[table]
    return "|".join([table, item[partition]["S"], *([item[sort]["S"]] if sort else [])])


def _holds(condition: str, item: Item, values: Item) -> bool:
    if absent := _ABSENT.fullmatch(condition):
        return absent[1] not in item
    equal = _EQUAL.fullmatch(condition)
    assert equal, condition
    return equal[1] in item and bool(item[equal[1]] == values[equal[2]])


def _updated(item: Item, expression: str, values: Item) -> Item:
    clauses = re.split(r"\b(SET|REMOVE|ADD) ", expression)[1:]
    for kind, clause in zip(clauses[::2], clauses[1::2], strict=True):
        match kind:
            case "SET":
                for name, known, default, value in _SET.findall(clause):
                    item[name] = values[value] if value else item.get(known, values.get(default))
            case "REMOVE":
                for name in clause.replace(",", " ").split():
                    item.pop(name, None)
            case "ADD":
                name, value = clause.split()
                number = int(item.get(name, {"N": "0"})["N"]) + int(values[value]["N"])
                item[name] = {"N": str(number)}
    return item


class S3:
    """A bucket in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put_object(self, Key: str, Body: bytes, **_: str) -> Item:  # noqa: N803
        file = self._folder / Key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(Body)
        return {}

    def get_object(self, Key: str, **_: str) -> Item:  # noqa: N803
        try:
            return {"Body": io.BytesIO((self._folder / Key).read_bytes())}
        except FileNotFoundError:
            raise _error("NoSuchKey", "GetObject") from None


class SecretsManager:
    """The credentials of every source, and the database's."""

    class exceptions:  # noqa: N801  botocore's name
        ResourceNotFoundException = KeyError

    def get_secret_value(self, SecretId: str) -> Item:  # noqa: N803
        assert SecretId
        return {"SecretString": json.dumps({"bot_token": "xoxb-local"})}


def _error(code: str, operation: str) -> ClientError:
    response: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return ClientError(response, operation)
