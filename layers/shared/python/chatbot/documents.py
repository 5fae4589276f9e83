"""Documents: a row of the table `documents` each, their text in S3.

A document of a source has an id made of the source's and its own there, so that an upsert needs no
look-up. Each change of content is a new `version`, greater than all before it even where the row
was deleted in between; what comes late with an older one is refused. A row that is `pending` with
no `attempts` is what the stream gives to `embed`; a deleted row is a deleted document. Objects in
S3 bear their version, so what is older can be deleted whoever writes meanwhile.

A source's document that a user has deleted stays away as long as the source is there: a row beside
the source's jobs says so.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal
from uuid import UUID, uuid5

from botocore.exceptions import ClientError

from chatbot import tables
from chatbot.aws import client
from chatbot.identifiers import now_ms, timestamp
from chatbot.settings import settings

ATTEMPTS = 10  # of a write that meets others' writes
MAX_EXTERNAL_ID_BYTES = 1000  # DynamoDB's limit for a sort key is 1,024

# Goes with a row while it is `pending`: the key of the index of what waits.
PENDING = "pending"
_QUEUED = "#status = :pending, pending = :pending, attempts = :zero, updated_at = :at"
_NAMES = {"#status": "status"}
_FIELDS = (
    "source_id",
    "external_id",
    "title",
    "url",
    "status",
    "chunk_count",
    "source_updated_at",
)


def document_id(source_id: str, external_id: str) -> str:
    """The id of a source's document."""
    return str(uuid5(UUID(source_id), storable_id(external_id)))


def storable_id(external_id: str) -> str:
    """An external id as it is stored: short enough for the key of an index, and still sorted."""
    text = _storable(external_id)
    if len(text.encode()) <= MAX_EXTERNAL_ID_BYTES:
        return text
    start = text.encode()[: MAX_EXTERNAL_ID_BYTES - 65].decode(errors="ignore")
    return f"{start}~{hashlib.sha256(text.encode()).hexdigest()}"


def removed_key(source_id: str, document_id: str) -> dict[str, str]:
    """The key, in the table `jobs`, of the row which says that a user has deleted a document."""
    return {"source_id": source_id, "job_id": f"REMOVED#{document_id}"}


def text_key(workspace_id: str, document_id: str, version: int, content_hash: str) -> str:
    """Where the text of a version is in the bucket."""
    return f"documents/{workspace_id}/{document_id}/{version}-{content_hash}"


def embeddings_key(row: Mapping[str, Any]) -> str:
    """Where the chunks of a row's version are in the bucket, with their embeddings."""
    place = f"{row['workspace_id']}/{row['document_id']}"
    return f"embeddings/{place}/{row['version']}-{row['content_hash']}.jsonl.gz"


def key_version(key: str) -> int:
    """The version in the name of an object; 0 where there is none."""
    number = key.rsplit("/", 1)[1].partition("-")[0]
    return int(number) if number.isdecimal() else 0


def content_hash(title: str, url: str | None, text: str) -> str:
    """A digest of all that is searched, shown or cited of a document."""
    return hashlib.sha256(json.dumps([title, url, text]).encode()).hexdigest()


def find(document_id: str) -> dict[str, Any] | None:
    """A document's row as it is now, or None."""
    return tables.get(settings().documents_table, {"document_id": document_id})


def new(document_id: str, workspace_id: str, title: str, url: str | None, text: str) -> Any:
    """The row of a new document by hand, its text stored."""
    at = timestamp(now_ms())
    digest, version = content_hash(title, url, text), now_ms()
    return {
        "document_id": document_id,
        "workspace_id": workspace_id,
        "created_at": at,
        "created_key": f"{at}#{document_id}",
        "updated_at": at,
        "version": version,
        "title": title,
        "url": url,
        "source_updated_at": None,
        "content_hash": digest,
        "text_key": _store_text(workspace_id, document_id, version, digest, text),
        "chunk_count": 0,
        "status": PENDING,
        "pending": PENDING,
        "attempts": 0,
    }


def put(
    workspace_id: str,
    source_id: str,
    external_id: str,
    title: str,
    url: str | None,
    text: str,
    source_updated_at: str | None,
    run_id: str,
) -> Literal["changed", "unchanged"]:
    """Store a source's document as a run has read it; what has not changed is only marked as seen.

    "changed" also where it was this same run that changed it, "unchanged" where a user has deleted
    it. Safe to do again at any point.
    """
    key = {"document_id": document_id(source_id, external_id)}
    title, text = _storable(title), _storable(text)
    digest = content_hash(title, url, text)
    for attempt in range(ATTEMPTS):
        row = tables.get(settings().documents_table, key)
        if row and row["content_hash"] == digest:
            if _marked(row, source_updated_at, run_id):
                return "changed" if row["changed_run"] == run_id else "unchanged"
        elif row is None and tables.get(
            settings().jobs_table, removed_key(source_id, key["document_id"])
        ):
            return "unchanged"
        else:
            version = max(now_ms(), row["version"] + 1) if row else now_ms()
            fields = {
                "workspace_id": workspace_id,
                "source_id": source_id,
                "external_id": storable_id(external_id),
                "title": title,
                "url": url,
                "content_hash": digest,
                "text_key": _store_text(workspace_id, key["document_id"], version, digest, text),
                "source_updated_at": source_updated_at,
                "seen_run": run_id,
                "changed_run": run_id,
                "version": version,
            }
            if _changed(key["document_id"], row, fields):
                return "changed"
        tables.back_off(attempt)
    raise RuntimeError("a document could not be stored: others were at it each time")


def _storable(text: str) -> str:
    """Without NUL, which PostgreSQL cannot store, and lone surrogates, which nothing can."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")


def _store_text(workspace_id: str, document_id: str, version: int, digest: str, text: str) -> str:
    key = text_key(workspace_id, document_id, version, digest)
    client("s3").put_object(
        Bucket=settings().documents_bucket,
        Key=key,
        Body=text.encode(),
        ContentType="text/plain; charset=utf-8",
    )
    return key


def _marked(row: Mapping[str, Any], source_updated_at: str | None, run_id: str) -> bool:
    """False where the row has changed or gone since it was read."""
    if (row["seen_run"], row["source_updated_at"]) == (run_id, source_updated_at):
        return True
    return _update(
        row["document_id"],
        "SET seen_run = :run, source_updated_at = :updated",
        {":run": run_id, ":updated": source_updated_at, ":seen": row["version"]},
        "version = :seen",
    )


def _changed(document_id: str, row: Mapping[str, Any] | None, fields: Mapping[str, Any]) -> bool:
    """False where somebody else has changed the row since it was read."""
    at = timestamp(now_ms())
    values = {f":{name}": value for name, value in fields.items()} | {
        ":created": at,
        ":key": f"{at}#{document_id}",
        ":at": at,
        ":zero": 0,
        ":pending": PENDING,
    }
    if row:
        values[":seen"] = row["version"]
    return _update(
        document_id,
        f"SET {', '.join(f'#{name} = :{name}' for name in fields)}, {_QUEUED},"
        " chunk_count = if_not_exists(chunk_count, :zero),"
        " created_at = if_not_exists(created_at, :created),"
        " created_key = if_not_exists(created_key, :key) REMOVE #error",
        values,
        "version = :seen" if row else "attribute_not_exists(document_id)",
        {f"#{name}": name for name in fields} | {"#error": "error", **_NAMES},
    )


def remove(document_id: str) -> None:
    """Delete a document: the stream tells `embed`, which takes it out of the search."""
    client("dynamodb").delete_item(
        TableName=settings().documents_table, Key=tables.pack({"document_id": document_id})
    )


def listed(source_id: str) -> Iterator[dict[str, Any]]:
    """The rows of a source's documents, by their external ids; a moment behind."""
    return tables.query(
        settings().documents_table,
        "source_id = :source",
        {":source": source_id},
        IndexName="by_source",
    )


def replay(document_id: str) -> bool:
    """Have a document that failed embedded once more. False where it has not failed."""
    return _queue(document_id, "#status = :failed", {":failed": "failed"})


def waiting(before_ms: int) -> Iterator[dict[str, Any]]:
    """The rows that are `pending` since before a time, in milliseconds since the epoch."""
    return tables.query(
        settings().documents_table,
        "pending = :pending AND updated_at < :before",
        {":pending": PENDING, ":before": timestamp(before_ms)},
        IndexName="by_pending",
    )


def queue_again(row: Mapping[str, Any]) -> bool:
    """Give a row that stayed `pending` to the stream again. False where it has changed."""
    seen = {":version": row["version"], ":seen": row["updated_at"]}
    condition = "version = :version AND updated_at = :seen AND #status = :pending"
    return _queue(row["document_id"], condition, seen)


def _queue(document_id: str, condition: str, values: Mapping[str, Any]) -> bool:
    return _update(
        document_id,
        # A changed number, so that the stream has something to tell.
        f"SET {_QUEUED} REMOVE #error ADD queued :one",
        {**values, ":pending": PENDING, ":zero": 0, ":one": 1, ":at": timestamp(now_ms())},
        condition,
        {"#error": "error", **_NAMES},
    )


def _update(
    document_id: str,
    change: str,
    values: Mapping[str, Any],
    condition: str,
    names: Mapping[str, str] | None = None,
) -> bool:
    return update(document_id, change, values, condition, names) is not None


def update(
    document_id: str,
    change: str,
    values: Mapping[str, Any],
    condition: str,
    names: Mapping[str, str] | None = None,
) -> dict[str, Any] | None:
    """Change a row on a condition: the row after that, or None where the condition is false."""
    request: dict[str, Any] = {
        "TableName": settings().documents_table,
        "Key": tables.pack({"document_id": document_id}),
        "UpdateExpression": change,
        "ConditionExpression": condition,
        "ExpressionAttributeValues": tables.pack(values),
        "ReturnValues": "ALL_NEW",
    }
    if names:
        request["ExpressionAttributeNames"] = names
    try:
        answer = client("dynamodb").update_item(**request)
    except ClientError as error:
        if not tables.is_condition_failure(error):
            raise
        return None
    return tables.unpack(answer["Attributes"])


def document_json(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as the contract's Document, with its `version` for the ETag."""
    shown = {"id": row["document_id"], **{name: row.get(name) for name in _FIELDS}}
    if row.get("error"):
        shown["error"] = row["error"]
    return shown | {name: row[name] for name in ("created_at", "updated_at", "version")}
