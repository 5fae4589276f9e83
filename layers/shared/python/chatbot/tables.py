"""Items of DynamoDB as plain Python values, and the errors of its conditional writes."""

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from botocore.exceptions import ClientError

from chatbot.aws import client


class TransactionCanceled(Exception):
    """`reasons` holds a code for each action: `None`, `ConditionalCheckFailed`, ..."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__(", ".join(reasons))
        self.reasons = reasons

    @property
    def is_conflict(self) -> bool:
        """Whether another transaction was at the same items, and no condition failed."""
        return "ConditionalCheckFailed" not in self.reasons


def pack(values: Mapping[str, Any]) -> dict[str, Any]:
    """An item, or expression values, in DynamoDB's notation; values are of JSON, but no floats."""
    return {name: _packed(value) for name, value in values.items()}


def unpack(item: Mapping[str, Any]) -> dict[str, Any]:
    """The plain values of an item; numbers are `int` where they are whole, else `Decimal`."""
    return {name: _plain(value) for name, value in item.items()}


def _packed(value: Any) -> dict[str, Any]:
    match value:
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case str():
            return {"S": value}
        case int() | Decimal():
            return {"N": str(value)}
        case list() | tuple():
            return {"L": [_packed(item) for item in value]}
        case Mapping():
            return {"M": pack(value)}
    raise TypeError(f"no item holds a {type(value).__name__}")


def _plain(attribute: Mapping[str, Any]) -> Any:
    match attribute:
        case {"NULL": True}:
            return None
        case {"N": number}:
            return int(number) if number.lstrip("-").isdigit() else Decimal(number)
        case {"L": items}:
            return [_plain(item) for item in items]
        case {"M": item}:
            return unpack(item)
        case {"S": value} | {"BOOL": value}:
            return value
    raise TypeError(f"unexpected attribute of type {', '.join(attribute)}")


def get(table: str, key: Mapping[str, Any]) -> dict[str, Any] | None:
    """The item under a key as it is now, or None."""
    answer = client("dynamodb").get_item(TableName=table, Key=pack(key), ConsistentRead=True)
    return unpack(answer["Item"]) if "Item" in answer else None


def get_all(table: str, keys: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Those of up to 100 items that there are, as they are now, in any order."""
    found: list[dict[str, Any]] = []
    left: Any = {"Keys": [pack(key) for key in keys], "ConsistentRead": True}
    while left and left["Keys"]:
        answer = client("dynamodb").batch_get_item(RequestItems={table: left})
        found += map(unpack, answer["Responses"].get(table, []))
        left = answer.get("UnprocessedKeys", {}).get(table)
        if left:
            back_off(5)
    return found


def query(table: str, condition: str, values: Mapping[str, Any], **options: Any) -> Iterator[Any]:
    """All items of a query, page by page. `options` are those of DynamoDB's `Query`."""
    pages = (
        client("dynamodb")
        .get_paginator("query")
        .paginate(
            TableName=table,
            KeyConditionExpression=condition,
            ExpressionAttributeValues=pack(values),
            **options,
        )
    )
    for page in pages:
        for item in page["Items"]:
            yield unpack(item)


def delete_all(table: str, keys: Sequence[Mapping[str, Any]]) -> None:
    """Delete items by their keys, as often as DynamoDB leaves some unprocessed."""
    rest = [{"DeleteRequest": {"Key": pack(key)}} for key in keys]
    while rest:
        batch, rest = rest[:25], rest[25:]
        answer = client("dynamodb").batch_write_item(RequestItems={table: batch})
        if left := answer["UnprocessedItems"].get(table):
            rest += left
            back_off(1)


def update(
    table: str,
    key: Mapping[str, Any],
    change: str,
    values: Mapping[str, Any],
    condition: str | None = None,
    names: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """An update as an action of a transaction."""
    action: dict[str, Any] = {
        "TableName": table,
        "Key": pack(key),
        "UpdateExpression": change,
        "ExpressionAttributeValues": pack(values),
    }
    if condition:
        action["ConditionExpression"] = condition
    if names:
        action["ExpressionAttributeNames"] = names
    return {"Update": action}


def transact(actions: Sequence[Mapping[str, Any]]) -> None:
    """Write all or nothing. Raises `TransactionCanceled`."""
    try:
        client("dynamodb").transact_write_items(TransactItems=list(actions))
    except ClientError as error:
        if error.response["Error"]["Code"] != "TransactionCanceledException":
            raise
        reasons = error.response.get("CancellationReasons") or []
        raise TransactionCanceled([str(reason.get("Code")) for reason in reasons]) from None


def is_condition_failure(error: ClientError) -> bool:
    """Whether a single conditional write found its condition false."""
    return error.response["Error"]["Code"] == "ConditionalCheckFailedException"


def back_off(attempt: int) -> None:
    """Wait up to 10 ms, doubled by each attempt to at most 320 ms, at random."""
    time.sleep(random.uniform(0.002, 0.01 * 2 ** min(attempt, 5)))  # noqa: S311  no secret
