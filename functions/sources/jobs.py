"""Jobs: the runs of sources. By hand a run takes its lock here, by schedule in the machine."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chatbot import log, tables
from chatbot.api import Request
from chatbot.aws import client
from chatbot.errors import Conflict, NotFound, ServiceUnavailable
from chatbot.identifiers import created_at, new_id, now_ms, timestamp
from chatbot.paging import Page
from chatbot.settings import settings
from chatbot.sources import lock_key, run_input

# Until the machine has taken the lock over.
LEASE_MS = 120_000
IDEMPOTENCY_SECONDS = 24 * 3600
FRESH_MS = 10_000
INDEX_READS = 5
# Sorts after the ids of jobs, before what else a source has in the table.
AFTER_JOBS = "A"
NONE: dict[str, Any] = {"items": [], "more": False}
NO_COUNTS = dict.fromkeys(("fetched", "changed", "unchanged", "deleted", "failed"), 0)


def start(workspace_id: str, source: Mapping[str, Any], request: Request) -> str:
    """Start a run by hand. Returns the id of its job; for a repeated key that of the first.

    Raises `Conflict` while one runs, `ServiceUnavailable` where the machine cannot be started.
    """
    job_id = new_id()
    actions = [_lock(workspace_id, source["id"], job_id), _open(workspace_id, source["id"], job_id)]
    guard = _guard(workspace_id, job_id, request)
    try:
        tables.transact([*actions, *guard])
    except tables.TransactionCanceled:
        first = _first(guard)
        if first is None:
            raise Conflict(
                "A run of the source is under way.", headers={"Retry-After": "5"}
            ) from None
        job_id = first
    order = {
        **run_input(workspace_id, source),
        "trigger": "manual",
        "job_id": job_id,
        "request_id": log.request_id(),
    }
    states = client("stepfunctions")
    try:
        states.start_execution(
            stateMachineArn=settings().ingest_state_machine_arn,
            name=job_id,
            input=json.dumps(order),
        )
    except states.exceptions.ExecutionAlreadyExists:
        pass  # by the first request with this key
    except (BotoCoreError, ClientError):
        _abandon(source["id"], job_id)
        raise ServiceUnavailable("The run could not be started.", retry_after=5) from None
    return job_id


def _lock(workspace_id: str, source_id: str, job_id: str) -> dict[str, Any]:
    now = now_ms()
    return {
        "Update": {
            "TableName": settings().jobs_table,
            "Key": tables.pack(lock_key(source_id)),
            "UpdateExpression": "SET workspace_id = :workspace, holder = :job,"
            " lease_until = :lease REMOVE execution",
            "ConditionExpression": "attribute_not_exists(deleting)"
            " AND (attribute_not_exists(holder) OR lease_until < :now)",
            "ExpressionAttributeValues": tables.pack(
                {
                    ":workspace": workspace_id,
                    ":job": job_id,
                    ":lease": now + LEASE_MS,
                    ":now": now,
                }
            ),
        }
    }


def _open(workspace_id: str, source_id: str, job_id: str) -> dict[str, Any]:
    at = created_at(job_id)
    row = {
        "source_id": source_id,
        "job_id": job_id,
        "workspace_id": workspace_id,
        "trigger": "manual",
        "status": "running",
        "created_at": at,
        "created_key": f"{at}#{job_id}",
        "updated_at": at,
        "started_at": at,
        "counts": json.dumps(NO_COUNTS),
        "lease_until": now_ms() + LEASE_MS,
    }
    return {"Put": {"TableName": settings().jobs_table, "Item": tables.pack(row)}}


def _guard(workspace_id: str, job_id: str, request: Request) -> list[dict[str, Any]]:
    key = request.idempotency
    if key is None:
        return []
    now = now_ms() // 1000
    parts = [workspace_id, request.principal.user_id, key["route"], key["key"]]
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    row = {
        "guard": f"idempotency#{digest}",
        "answer": job_id,
        "expires_at": now + IDEMPOTENCY_SECONDS,
    }
    put = {
        "TableName": settings().guards_table,
        "Item": tables.pack(row),
        "ConditionExpression": "attribute_not_exists(guard) OR expires_at <= :now",
        "ExpressionAttributeValues": tables.pack({":now": now}),
    }
    return [{"Put": put}]


def _first(guard: list[dict[str, Any]]) -> str | None:
    """The job that the key's first request has made."""
    if not guard:
        return None
    key = {"guard": tables.unpack(guard[0]["Put"]["Item"])["guard"]}
    row = tables.get(settings().guards_table, key)
    return str(row["answer"]) if row and row["expires_at"] > now_ms() // 1000 else None


def _abandon(source_id: str, job_id: str) -> None:
    """Undo what `start` has written, for a machine that did not start."""
    table, values = settings().jobs_table, tables.pack({":job": job_id})
    unlock = {
        "TableName": table,
        "Key": tables.pack(lock_key(source_id)),
        "UpdateExpression": "REMOVE holder, lease_until",
        "ConditionExpression": "holder = :job",
        "ExpressionAttributeValues": values,
    }
    forget = {
        "TableName": table,
        "Key": tables.pack({"source_id": source_id, "job_id": job_id}),
    }
    tables.transact([{"Update": unlock}, {"Delete": forget}])


def listed(workspace_id: str, source_id: str | None, page: Page) -> dict[str, Any]:
    """A page of a source's jobs, or of a workspace's, newest first: {items, more}."""
    if source_id is None:
        condition, values = "workspace_id = :workspace", {":workspace": workspace_id}
        if page.after is not None:
            condition += " AND created_key < :after"
            values[":after"] = "#".join(page.after)
        options: dict[str, Any] = {"IndexName": "by_workspace"}
    else:
        condition = "source_id = :source AND job_id < :after"
        values = {":source": source_id, ":after": page.after[1] if page.after else AFTER_JOBS}
        options = {"ConsistentRead": True}
    rows: Iterator[dict[str, Any]] = tables.query(
        settings().jobs_table,
        condition,
        values,
        ScanIndexForward=False,
        Limit=page.limit + 1,
        **options,
    )
    items = [_json(row) for row in islice(rows, page.limit + 1)]
    return {"items": items[: page.limit], "more": len(items) > page.limit}


def read(workspace_id: str, job_id: str) -> dict[str, Any]:
    """A workspace's job. Raises `NotFound`."""
    try:
        at = created_at(job_id)
    except (ValueError, OverflowError):
        raise NotFound from None  # no id that we have made
    age = now_ms() - int(job_id.replace("-", "")[:12], 16)
    # The index follows in a moment.
    for attempt in range(INDEX_READS if 0 <= age < FRESH_MS else 1):
        for row in tables.query(
            settings().jobs_table,
            "workspace_id = :workspace AND created_key = :key",
            {":workspace": workspace_id, ":key": f"{at}#{job_id}"},
            IndexName="by_workspace",
        ):
            return _json(row)
        tables.back_off(attempt)
    raise NotFound


def _json(row: Mapping[str, Any]) -> dict[str, Any]:
    """A Job; its version is the time of its last change. One whose lease has run out is at an
    end, though nobody has written it down yet."""
    is_lost = row["status"] == "running" and row["lease_until"] < now_ms()
    until = timestamp(row["lease_until"])
    updated_at = until if is_lost else row["updated_at"]
    return {
        "id": row["job_id"],
        "source_id": row["source_id"],
        "trigger": row["trigger"],
        "status": "failed" if is_lost else row["status"],
        "started_at": row["started_at"],
        "finished_at": until if is_lost else row.get("finished_at"),
        "counts": json.loads(row["counts"]),
        "error": "The run was interrupted." if is_lost else row.get("error"),
        "created_at": row["created_at"],
        "updated_at": updated_at,
        "version": int(datetime.fromisoformat(updated_at).timestamp() * 1000),
    }
