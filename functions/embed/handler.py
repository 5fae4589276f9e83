"""Keeps the search index as the table `documents` is: called by its stream, a schedule, `make`.

The stream gives rows that wait to be embedded, and rows that were deleted, in any order and more
than once: the version decides. A schedule sends {"action": "queue"}, `make reindex` {"action":
"reindex", "after"}.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

from chatbot import documents, embeddings, log, opensearch, tables
from chatbot.aws import client
from chatbot.identifiers import now_ms, since_ms, timestamp
from chatbot.settings import settings
from functions.embed import index, storage, vectors
from functions.embed.index import Chunk
from functions.embed.splitting import split

ATTEMPTS = 5
AT_ONCE = 4
STUCK_MS = 15 * 60_000  # a row that waits for longer has been lost by the stream
RESERVE_MS = 60_000

type Row = Mapping[str, Any]


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """{batchItemFailures} for the stream, {queued, swept?} for `queue`, {…} for `reindex`."""
    log.bind(context.aws_request_id)
    if event.get("action") == "queue":
        rows = documents.waiting(now_ms() - STUCK_MS)
        done = {"queued": sum(documents.queue_again(row) for row in rows)}
        return done | {"swept": vectors.sweep()} if opensearch.is_on() else done
    if event.get("action") == "reindex":
        return _reindex(event.get("after", ""), context)
    changes = defaultdict(list)  # of each document, in their order
    for record in event["Records"]:
        changes[record["dynamodb"]["Keys"]["document_id"]["S"]].append(record)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        failures = list(chain(*pool.map(_serve_all, changes.values())))
    return {"batchItemFailures": [{"itemIdentifier": seq} for seq in failures if seq]}


def _serve_all(records: Iterable[dict[str, Any]]) -> list[str | None]:
    return [_serve(record) for record in records]


def _serve(record: dict[str, Any]) -> str | None:
    """Bring the index up to date with one change. Returns its sequence number if that failed."""
    change = record["dynamodb"]
    old = tables.unpack(change["OldImage"]) if "OldImage" in change else None
    row = tables.unpack(change["NewImage"]) if "NewImage" in change else old or {}
    try:
        if record["eventName"] == "REMOVE":
            _remove(row)
        else:
            _embed(row, old)
    except Exception as error:  # noqa: BLE001  the stream brings this one again, others go on
        log.logger().warning(
            "a document was not indexed",
            code=log.Code.DOCUMENT_RETRIED,
            document_id=row["document_id"],
            reason=type(error).__name__,
        )
        number: str = change["SequenceNumber"]
        return number
    return None


def _remove(row: Row) -> None:
    index.remove(row)
    storage.drop(row, before=row["version"] + 1)


def _embed(row: Row, old: Row | None) -> None:
    """Embed a version, unless it is done, gone, or not the newest any more.

    An attempt is counted before it is made, so that one that kills the process counts too. After
    the last one the document is `failed`, and what was found of it before is not found any more.
    """
    claimed = documents.update(
        row["document_id"],
        "ADD attempts :one",
        {":one": 1, ":version": row["version"], ":pending": documents.PENDING},
        "version = :version AND #status = :pending",
        {"#status": "status"},
    )
    if claimed is None:
        return
    try:
        if claimed["attempts"] > ATTEMPTS:
            raise RuntimeError("the process was ended each time")
        chunks = _chunks(claimed, old)
        index.replace(claimed, chunks)
    except Exception as error:
        if claimed["attempts"] < ATTEMPTS:
            raise
        _fail(claimed, error)
        return
    _mark(claimed, "embedded", len(chunks))
    log.measure(EmbeddingLag=since_ms(claimed["updated_at"]))
    if old and old["version"] < claimed["version"]:
        storage.drop(claimed, before=claimed["version"])


def _chunks(row: Row, old: Row | None) -> list[Chunk]:
    """The version's chunks; only texts that were not embedded before are embedded now."""
    found = storage.embedded(row)
    if found is not None:
        return found
    texts = [(row["title"], content) for content in split(storage.text(row))]
    before = old is not None and old["title"] == row["title"] and storage.embedded(old)
    known = {chunk.content: chunk.embedding for chunk in before or []}
    new = [text for text in texts if text[1] not in known]
    vectors = embeddings.embed(["\n\n".join(text) for text in new])
    made = {text[1]: _literal(vector) for text, vector in zip(new, vectors, strict=True)}
    chunks = [Chunk(content, known.get(content) or made[content]) for _, content in texts]
    storage.keep(row, chunks)
    return chunks


def _literal(vector: list[float]) -> str:
    """Five digits are more than the index keeps."""
    return f"[{','.join(f'{number:.5f}' for number in vector)}]"


def _mark(row: Row, status: str, count: int, error: str | None = None) -> None:
    """Note how it came out, unless the row has changed or gone meanwhile."""
    documents.update(
        row["document_id"],
        "SET #status = :status, chunk_count = :count, #error = :error, updated_at = :at"
        " REMOVE pending",
        {
            ":status": status,
            ":count": count,
            ":error": error,
            ":at": timestamp(now_ms()),
            ":version": row["version"],
        },
        "version = :version",
        {"#status": "status", "#error": "error"},
    )


def _fail(row: Row, error: Exception) -> None:
    reason = f"The document could not be embedded: {type(error).__name__}."
    log.logger().error(
        "a document was given up",
        code=log.Code.DOCUMENT_FAILED,
        document_id=row["document_id"],
        exc_info=error,
    )
    index.replace(row, [])  # as the same version, which may still be replayed
    storage.drop(row, before=row["version"])
    message = {
        "document_id": row["document_id"],
        "workspace_id": row["workspace_id"],
        "version": row["version"],
        "error": reason,
    }
    client("sqs").send_message(
        QueueUrl=settings().embed_dead_letter_queue_url, MessageBody=json.dumps(message)
    )
    _mark(row, "failed", 0, reason)


def _reindex(after: str, context: Any) -> dict[str, Any]:
    """Rebuild from the stored embeddings, as long as there is time: {restored, after?}.

    `after` is where to go on, none at the end.
    """
    restored = 0
    for key in storage.listed(storage.EMBEDDINGS, after):
        if context.get_remaining_time_in_millis() < RESERVE_MS:
            return {"restored": restored, "after": after}
        after = key
        row = documents.find(key.split("/")[2])
        if row is None or key != documents.embeddings_key(row):
            continue
        restored += index.replace(row, storage.embedded(row) or [])
    return {"restored": restored}
