"""The search index in OpenSearch Serverless, where the environment has it.

Ids are OpenSearch's own and what was written shows a minute later, so a document's chunks are
looked for before they are written and deleted, and what could not be seen then is deleted by
`sweep`. None of it was ever found: PostgreSQL knows no such version any more.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import batched, groupby
from typing import TYPE_CHECKING, Any

from chatbot import documents, opensearch
from chatbot.identifiers import now_ms

if TYPE_CHECKING:
    from functions.embed.index import Chunk

BATCH = 150
PAGE = 1_000
SETTLED_MS = 5 * 60_000
SWEPT_MS = 2 * 3_600_000
_ORDER = ["document_id", "version", "number"]

type Row = Mapping[str, Any]


def replace(row: Row, chunks: Sequence["Chunk"]) -> None:
    """Have a document's version there, and none before it; without chunks neither that one.

    What is newer stays: who stored it in PostgreSQL may have been quicker here, too.
    """
    there = _prune(row["document_id"], row["version"], keep=bool(chunks))
    missing = [(number, c) for number, c in enumerate(chunks) if number not in there]
    for batch in batched(missing, BATCH):
        lines: list[Mapping[str, Any]] = []
        for number, chunk in batch:
            lines += [{"index": {}}, _entry(row, number, chunk)]
        opensearch.write(lines)


def _entry(row: Row, number: int, chunk: "Chunk") -> dict[str, Any]:
    return {
        "workspace_id": row["workspace_id"],
        "document_id": row["document_id"],
        "source_id": row.get("source_id"),
        "version": row["version"],
        "number": number,
        "indexed_at": now_ms(),
        "content": f"{row['title']}\n\n{chunk.content}",
        "embedding": json.loads(chunk.embedding),
    }


def sweep() -> int:
    """Delete what of the last hours is not its document's version any more, or is there twice.

    Returns how many documents had such. One that waits to be embedded is left as it is.
    """
    now, swept = now_ms(), 0
    lately = {"range": {"indexed_at": {"gte": now - SWEPT_MS, "lte": now - SETTLED_MS}}}
    for document_id, found in groupby(_scan(lately), key=lambda hit: hit["_source"]["document_id"]):
        places = [(hit["_source"]["version"], hit["_source"]["number"]) for hit in found]
        row = documents.find(document_id)
        if row is not None and row["status"] == documents.PENDING:
            continue
        keep = row is not None and row["status"] != "failed"
        version = row["version"] if row else max(places)[0]
        if not keep or len({*places}) < len(places) or places[0][0] < version:
            _prune(document_id, version, keep=keep)
            swept += 1
    return swept


def _prune(document_id: str, version: int, *, keep: bool) -> set[int]:
    """Delete a document's versions up to one. To `keep` that one, one chunk of each number stays.

    Returns the numbers that stay.
    """
    kept: set[int] = set()
    gone = []
    for hit in _scan({"term": {"document_id": document_id}}):
        place = hit["_source"]
        if keep and place["version"] == version and place["number"] not in kept:
            kept.add(place["number"])
        elif place["version"] <= version:
            gone.append({"delete": {"_id": hit["_id"]}})
    for batch in batched(gone, PAGE):
        opensearch.write(batch)
    return kept


def _scan(query: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """All hits of a query, by document, version and number."""
    body: dict[str, Any] = {
        "query": {"bool": {"filter": query}},
        "size": PAGE,
        "sort": [{name: "asc"} for name in _ORDER],
        "_source": _ORDER,
    }
    while page := opensearch.search(body):
        yield from page
        body["search_after"] = page[-1]["sort"]
