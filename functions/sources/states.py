"""How sources are: what their locks tell of the last run, and how many documents wait or failed."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from chatbot import documents, tables
from chatbot.aws import client
from chatbot.identifiers import now_ms
from chatbot.settings import settings
from chatbot.sources import lock_key

REPLAY_SECONDS = 15


def add(sources: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The sources with `status`, `last_synced_at` and `last_error`."""
    keys = [lock_key(source["id"]) for source in sources]
    locks = {lock["source_id"]: lock for lock in tables.get_all(settings().jobs_table, keys)}
    return [{**source, **_state(locks.get(source["id"], {}))} for source in sources]


def _state(lock: dict[str, Any]) -> dict[str, Any]:
    is_running = "holder" in lock and lock["lease_until"] > now_ms()
    has_failed = lock.get("last_status") == "failed"
    return {
        "status": "running" if is_running else "failed" if has_failed else "idle",
        "last_synced_at": lock.get("last_synced_at"),
        "last_error": lock.get("last_error"),
    }


def health(source_id: str) -> dict[str, Any]:
    """{last_complete_run, lag_seconds, pending, failed}.

    Everything that was written at the source before the last complete run began is known: the lag
    is the time since. Both are null before the first. The others count documents.
    """
    lock = tables.get(settings().jobs_table, lock_key(source_id)) or {}
    begun = lock.get("complete_from")
    lag = None if begun is None else datetime.now(UTC) - datetime.fromisoformat(begun)
    return {
        "last_complete_run": begun,
        "lag_seconds": None if lag is None else int(lag.total_seconds()),
        "pending": _count(source_id, "pending"),
        "failed": _count(source_id, "failed"),
    }


def _count(source_id: str, status: str) -> int:
    pages = (
        client("dynamodb")
        .get_paginator("query")
        .paginate(**_of_status(source_id, status), Select="COUNT")
    )
    return sum(page["Count"] for page in pages)


def _of_status(source_id: str, status: str) -> dict[str, Any]:
    return {
        "TableName": settings().documents_table,
        "IndexName": "by_status",
        "KeyConditionExpression": "source_id = :source AND #status = :status",
        "ExpressionAttributeNames": {"#status": "status"},
        "ExpressionAttributeValues": tables.pack({":source": source_id, ":status": status}),
    }


def replay(source_id: str) -> dict[str, Any]:
    """Queue a source's failed documents again: {replayed, has_more}."""
    until = time.monotonic() + REPLAY_SECONDS
    replayed = 0
    pages = client("dynamodb").get_paginator("query").paginate(**_of_status(source_id, "failed"))
    for row in (tables.unpack(item) for page in pages for item in page["Items"]):
        if time.monotonic() > until:
            return {"replayed": replayed, "has_more": True}
        documents.replay(row["document_id"])
        replayed += 1
    return {"replayed": replayed, "has_more": False}
