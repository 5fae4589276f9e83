"""The state `RemoveSource`: removes what a deleted source has in every store, for a while a call.

Its lock is marked first, so that no run begins, and goes last; a run that is under way is waited
for. Whatever is broken off can be begun again.
"""

import time
from itertools import batched, islice
from typing import Any

from chatbot import database, documents, log, sources, tables
from chatbot.aws import client
from chatbot.errors import RetryLater, ServiceUnavailable
from chatbot.identifiers import now_ms
from chatbot.settings import settings

WORK_SECONDS = 120
DOCUMENTS = 10_000  # a round
WAIT_SECONDS = 5


def handler(event: dict[str, Any], _: Any) -> dict[str, Any]:
    """Take {workspace_id, source_id, request_id}; return {has_more, wait_seconds}.

    Raises `RetryLater`.
    """
    source_id = event["source_id"]
    log.bind(event["request_id"], source_id=source_id)
    lock = _mark(source_id, {"deleting": True, "workspace_id": event["workspace_id"]})
    try:
        database.system(event["workspace_id"], DELETE, {"id": source_id})
    except ServiceUnavailable as problem:
        raise RetryLater(problem.detail) from problem
    if "holder" in lock and lock["lease_until"] > now_ms():
        return {"has_more": True, "wait_seconds": WAIT_SECONDS}
    until = time.monotonic() + WORK_SECONDS
    rows = list(islice(documents.listed(source_id), DOCUMENTS))
    for row in rows:
        if time.monotonic() > until:
            break
        documents.remove(row["document_id"])
    if rows or "is_empty" not in lock:
        # Looked at once more: the index that lists them is a moment behind.
        if not rows:
            _mark(source_id, {"is_empty": True})
        return {"has_more": True, "wait_seconds": WAIT_SECONDS}
    sources.remove(source_id)
    _forget(source_id)
    return {"has_more": False, "wait_seconds": 0}


def _mark(source_id: str, values: dict[str, Any]) -> dict[str, Any]:
    """Note something in the source's lock; the lock after that."""
    answer = client("dynamodb").update_item(
        TableName=settings().jobs_table,
        Key=tables.pack(sources.lock_key(source_id)),
        UpdateExpression="SET " + ", ".join(f"{name} = :{name}" for name in values),
        ExpressionAttributeValues=tables.pack({f":{n}": value for n, value in values.items()}),
        ReturnValues="ALL_NEW",
    )
    return tables.unpack(answer["Attributes"])


def _forget(source_id: str) -> None:
    """Delete the jobs and the checkpoint, then the lock."""
    rows = tables.query(settings().jobs_table, "source_id = :id", {":id": source_id})
    last = sources.lock_key(source_id)
    keys = ({"source_id": source_id, "job_id": row["job_id"]} for row in rows)
    for batch in batched((key for key in keys if key != last), 25):
        tables.delete_all(settings().jobs_table, batch)
    tables.delete_all(settings().jobs_table, [last])


DELETE = """
WITH forgotten AS (
    DELETE FROM app.chunks
    WHERE workspace_id = app.workspace_id() AND source_id = ($1 ->> 'id')::uuid
)
DELETE FROM app.sources
WHERE workspace_id = app.workspace_id() AND id = ($1 ->> 'id')::uuid
RETURNING to_jsonb(id)
"""
