"""What the routes read and write of the table `conversations`."""

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from botocore.exceptions import ClientError

from chatbot import conversations, tables
from chatbot.aws import client
from chatbot.database import Idempotency
from chatbot.errors import NotFound, PreconditionFailed
from chatbot.idempotency import put_once
from chatbot.identifiers import now_ms, timestamp
from chatbot.paging import Page
from chatbot.settings import settings

PAGE_BYTES = 1_000_000  # a page may be short: a message has up to 300 KB, an answer 6 MB


def listed(workspace_id: str, owner: str | None, page: Page) -> dict[str, Any]:
    """A page of an owner's conversations, or of all in the workspace, newest first."""
    index, attribute, value = "by_workspace", "workspace_id", workspace_id
    if owner is not None:
        index, attribute, value = "by_owner", "#owner", owner
    condition, values = f"{attribute} = :value", {":value": value}
    if page.after is not None:
        condition += " AND created_key < :after"
        values[":after"] = "#".join(page.after)
    options = {"ExpressionAttributeNames": {"#owner": "owner"}} if owner is not None else {}
    rows = tables.query(
        settings().conversations_table,
        condition,
        values,
        IndexName=index,
        ScanIndexForward=False,
        Limit=page.limit + 1,
        **options,
    )
    return _page(map(conversations.conversation_json, rows), page.limit)


def messages(conversation_id: str, page: Page) -> dict[str, Any]:
    """A page of a conversation's messages, oldest first."""
    first = f"MESSAGE#{page.after[1]}~" if page.after else "MESSAGE#"
    rows = tables.query(
        settings().conversations_table,
        "conversation_id = :conversation AND #item BETWEEN :first AND :last",
        {":conversation": conversation_id, ":first": first, ":last": "MESSAGE#~"},
        ExpressionAttributeNames={"#item": "item"},
        ConsistentRead=True,
        Limit=page.limit + 1,
    )
    return _page(map(conversations.message_json, rows), page.limit)


def _page(rows: Iterator[dict[str, Any]], limit: int) -> dict[str, Any]:
    """{items, more}: up to `limit` rows, and fewer where they are large."""
    items: list[dict[str, Any]] = []
    size = 0
    for row in islice(rows, limit + 1):
        size += len(json.dumps(row))
        if len(items) == limit or (items and size > PAGE_BYTES):
            return {"items": items, "more": True}
        items.append(row)
    return {"items": items, "more": False}


def created(head: dict[str, Any], idempotency: Idempotency | None) -> dict[str, Any]:
    """Store a new head, once for a key. Returns the Conversation that this key's first call made.

    Raises `ValidationFailed` for a key that came with another body, `Conflict`.
    """
    made = conversations.conversation_json(head)
    return put_once(settings().conversations_table, head, made, head["owner"], idempotency)


def retitled(head: Mapping[str, Any], title: str, as_read: bool) -> dict[str, Any]:
    """Change the title, `as_read` only of that version; the head after that.

    Raises `NotFound`, `PreconditionFailed`.
    """
    values: dict[str, Any] = {":title": title, ":at": timestamp(now_ms()), ":one": 1}
    condition = "attribute_exists(conversation_id) AND attribute_not_exists(deleting)"
    if as_read:
        values[":version"] = head["version"]
        condition += " AND version = :version"
    try:
        answer = client("dynamodb").update_item(
            TableName=settings().conversations_table,
            Key=tables.pack(conversations.head_key(head["conversation_id"])),
            UpdateExpression="SET title = :title, updated_at = :at ADD version :one",
            ConditionExpression=condition,
            ExpressionAttributeValues=tables.pack(values),
            ReturnValues="ALL_NEW",
        )
    except ClientError as error:
        if not tables.is_condition_failure(error):
            raise
        if conversations.head(head["conversation_id"]) is None:
            raise NotFound from None
        raise PreconditionFailed from None
    return tables.unpack(answer["Attributes"])
