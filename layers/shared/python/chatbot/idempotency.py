"""Creating calls on DynamoDB: with an Idempotency-Key an item is put once, whoever asks again."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from chatbot import tables
from chatbot.aws import client
from chatbot.database import Idempotency
from chatbot.errors import Conflict, ValidationFailed
from chatbot.identifiers import now_ms
from chatbot.settings import settings

KEPT_SECONDS = 24 * 3600


def put_once(
    table: str,
    item: Mapping[str, Any],
    answer: dict[str, Any],
    caller: str,
    idempotency: Idempotency | None,
) -> dict[str, Any]:
    """Put a new item, once for a caller's key. Returns what this key's first call answered.

    Raises `ValidationFailed` for a key that came with another body, `Conflict` where the first call
    is under way.
    """
    put = {"TableName": table, "Item": tables.pack(item)}
    if idempotency is None:
        client("dynamodb").put_item(**put)
        return answer
    parts = [caller, idempotency["route"], idempotency["key"]]
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    key = {"guard": f"idempotency#{digest}"}
    now = now_ms() // 1000
    guard = key | {
        "body_hash": idempotency["body_hash"],
        "answer": json.dumps(answer),
        "expires_at": now + KEPT_SECONDS,
    }
    guarded = {
        "TableName": settings().guards_table,
        "Item": tables.pack(guard),
        "ConditionExpression": "attribute_not_exists(guard) OR expires_at <= :now",
        "ExpressionAttributeValues": tables.pack({":now": now}),
    }
    try:
        tables.transact([{"Put": put}, {"Put": guarded}])
    except tables.TransactionCanceled:
        first = tables.get(settings().guards_table, key)
        if first is None:
            duplicate = "The same request is being served."
            raise Conflict(duplicate, headers={"Retry-After": "1"}) from None
        if first["body_hash"] != idempotency["body_hash"]:
            raise ValidationFailed("The idempotency key was used with another body.") from None
        answer = json.loads(first["answer"])
    return answer
