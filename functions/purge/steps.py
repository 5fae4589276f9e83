"""What a purge removes, store by store. Each step is a generator that pauses often, says at each
pause from where it could go on (or nothing: from its beginning, where less is left than before),
and can be run again whenever it was broken off.

Usage of a deleted user stays: it is the workspace's, and its id leads to nobody.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import batched
from typing import Any

from chatbot import (
    connections,
    conversations,
    database,
    deletion,
    feedback,
    log,
    sources,
    tables,
)
from chatbot.aws import client
from chatbot.identifiers import now_ms
from chatbot.settings import settings

BATCH = 25
WAIT_SECONDS = 5

type Step = Callable[[str, str], Iterator[str]]  # (id, where to go on) → where to go on


def conversation(conversation_id: str, _: str = "") -> Iterator[str]:
    """A conversation with its messages, turns, ratings and followers; its head goes last."""
    deletion.mark(conversation_id)
    head = conversations.any_head(conversation_id)
    if head is None:
        return
    for rows in batched(conversations.roles(conversation_id), BATCH):
        for message_id in (row["message_id"] for row in rows if row["role"] == "assistant"):
            yield from _partition("turns", {"message_id": message_id}, "seq")
        keys = [conversations.message_key(conversation_id, row["message_id"]) for row in rows]
        tables.delete_all(settings().conversations_table, keys)
        yield ""
    for rated in batched(feedback.of_conversation(head["workspace_id"], conversation_id), BATCH):
        feedback.remove(rated)
        yield ""
    followers = [f.connection_id for f in connections.followers(conversation_id)]
    connections.unfollow(conversation_id, followers)
    deletion.forget(conversation_id)
    yield ""


def of_index(index: str, attribute: str) -> Step:
    """All conversations that an index of the table finds under an id. Those whose purge was broken
    off are in no index any more."""

    def conversations_of(resource_id: str, _: str) -> Iterator[str]:
        for entry in deletion.due():
            if entry[attribute] == resource_id:
                yield from conversation(entry["item"])
        for row in tables.query(
            settings().conversations_table,
            f"{attribute} = :id",
            {":id": resource_id},
            IndexName=index,
        ):
            yield from conversation(row["conversation_id"])

    return conversations_of


def user_connections(user_id: str, _: str) -> Iterator[str]:
    connections.end_user(user_id)
    yield from ()


def user_feedback(user_id: str, _: str) -> Iterator[str]:
    for rated in batched(feedback.of_user(user_id), BATCH):
        feedback.remove(rated)
        yield ""


def user_row(user_id: str, _: str) -> Iterator[str]:
    database.call("app.purge_user", {"id": user_id}, repeatable=True)
    yield from ()


def workspace_sources(workspace_id: str, _: str) -> Iterator[str]:
    """The workspace's sources: no run begins any more, one under way is waited for, then secret,
    schedule and jobs go, and the row last."""
    for source_id in database.system(workspace_id, SOURCES) or []:
        lock = sources.lock_key(source_id)
        client("dynamodb").update_item(
            TableName=settings().jobs_table,
            Key=tables.pack(lock),
            UpdateExpression="SET deleting = :true, workspace_id = :workspace",
            ExpressionAttributeValues=tables.pack({":true": True, ":workspace": workspace_id}),
        )
        while _is_running(lock):
            time.sleep(WAIT_SECONDS)
            yield ""
        sources.remove(source_id)
        yield from _partition("jobs", {"source_id": source_id}, "job_id")
        database.system(workspace_id, FORGET_SOURCE, {"id": source_id})
        yield ""


def _is_running(lock: Mapping[str, Any]) -> bool:
    row = tables.get(settings().jobs_table, lock) or {}
    return "holder" in row and row["lease_until"] > now_ms()


def workspace_documents(workspace_id: str, _: str) -> Iterator[str]:
    """The workspace's documents with their texts and embeddings, until a look finds none.

    The index that lists rows is a moment behind, so those whose texts are there are taken too; and
    `embed` may just be storing something. What it stores later, it removes when the stream tells it
    that the row is gone.
    """
    is_found = True
    while is_found:
        is_found = False
        for some in batched(_document_ids(workspace_id), BATCH):
            keys = [{"document_id": document_id} for document_id in dict.fromkeys(some)]
            tables.delete_all(settings().documents_table, keys)
            is_found = True
            yield ""
        for key in _objects(workspace_id):
            client("s3").delete_object(Bucket=settings().documents_bucket, Key=key)
            is_found = True
            yield ""
        if is_found:
            time.sleep(WAIT_SECONDS)
            yield ""


def _document_ids(workspace_id: str) -> Iterator[str]:
    rows = tables.query(
        settings().documents_table,
        "workspace_id = :workspace",
        {":workspace": workspace_id},
        IndexName="by_workspace",
    )
    yield from (row["document_id"] for row in rows)
    yield from (key.split("/")[2] for key in _objects(workspace_id))


def _objects(workspace_id: str) -> Iterator[str]:
    for kind in ("documents", "embeddings"):
        pages = (
            client("s3")
            .get_paginator("list_objects_v2")
            .paginate(Bucket=settings().documents_bucket, Prefix=f"{kind}/{workspace_id}/")
        )
        for page in pages:
            yield from (item["Key"] for item in page.get("Contents", []))


def workspace_items(table: str) -> Step:
    """All items of a table that has a partition a workspace."""

    def items_of(workspace_id: str, _: str) -> Iterator[str]:
        yield from _partition(table, {"workspace_id": workspace_id}, "item")

    return items_of


def workspace_rows(workspace_id: str, _: str) -> Iterator[str]:
    while database.call("app.purge_workspace", {"id": workspace_id}, repeatable=True):
        yield ""


def expired(_: str, after: str) -> Iterator[str]:
    """Conversations that have been silent longer than the setting says, workspace by workspace."""
    days = settings().conversation_retention_days
    if days == 0:
        return
    before = (datetime.now(UTC) - timedelta(days=days)).isoformat(timespec="microseconds")
    while ids := database.call(
        "app.workspace_ids", {"after": after} if after else {}, repeatable=True
    ):
        for workspace_id in ids:
            for row in _silent(workspace_id, before):
                for _ in conversation(row["conversation_id"]):
                    yield after
                params = {"id": row["conversation_id"], "days": days}
                database.system(workspace_id, EXPIRED, params)
            after = workspace_id
            yield after


def _silent(workspace_id: str, before: str) -> Iterator[dict[str, Any]]:
    return tables.query(
        settings().conversations_table,
        "workspace_id = :workspace AND created_key < :before",
        {":workspace": workspace_id, ":before": before, ":null": "NULL"},
        IndexName="by_workspace",
        FilterExpression="last_message_at < :before OR attribute_type(last_message_at, :null)",
    )


def due(_: str, __: str) -> Iterator[str]:
    """What is marked and not purged: its execution failed, or its start was lost.

    Raises `NotPurged` at the end where one failed, after all others.
    """
    listed = [("conversation", entry["item"]) for entry in deletion.due()]
    listed += [(row["kind"], row["id"]) for row in database.call("app.due_purges", {})]
    failed = 0
    for kind, resource_id in listed:
        try:
            for step in STEPS[kind].values():
                for _pause in step(resource_id, ""):
                    yield ""
        except Exception as error:  # noqa: BLE001  one that fails must not keep the others
            failed += 1
            log.logger().error(
                "not purged", code=log.Code.PURGE_FAILED, kind=kind, id=resource_id, exc_info=error
            )
    if failed:
        raise NotPurged(f"{failed} of {len(listed)}")


class NotPurged(Exception):
    """Some of what was due is still there."""


def _partition(table: str, partition: Mapping[str, str], range_key: str) -> Iterator[str]:
    """All items of a partition."""
    name = getattr(settings(), f"{table}_table")
    [(hash_key, value)] = partition.items()
    keys = tables.query(
        name,
        f"{hash_key} = :value",
        {":value": value},
        ProjectionExpression="#hash, #range",
        ExpressionAttributeNames={"#hash": hash_key, "#range": range_key},
        ConsistentRead=True,
    )
    for some in batched(keys, BATCH):
        tables.delete_all(name, some)
        yield ""


# In the order in which they are taken: what others could still add to comes first, what tells that
# a purge is due last.
STEPS: dict[str, dict[str, Step]] = {
    "conversation": {"conversation": conversation},
    "user": {
        "connections": user_connections,
        "conversations": of_index("by_user", "user_id"),
        "feedback": user_feedback,
        "row": user_row,
    },
    "workspace": {
        "conversations": of_index("by_workspace", "workspace_id"),
        "feedback": workspace_items("feedback"),
        "usage": workspace_items("usage"),
        "sources": workspace_sources,
        "documents": workspace_documents,
        "rows": workspace_rows,
    },
    "due": {"retention": expired, "purges": due},
}

SOURCES = "SELECT jsonb_agg(id) FROM app.sources WHERE workspace_id = app.workspace_id()"
FORGET_SOURCE = """
DELETE FROM app.sources
WHERE workspace_id = app.workspace_id() AND id = ($1 ->> 'id')::uuid
RETURNING to_jsonb(id)
"""
EXPIRED = """
WITH told AS (
    INSERT INTO app.audit_log (action, resource_type, resource_id, changes)
    VALUES ('delete', 'conversation', ($1 ->> 'id')::uuid,
        jsonb_build_object('retention_days', $1 -> 'days')))
SELECT to_jsonb(true)
"""
