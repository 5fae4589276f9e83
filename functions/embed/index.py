"""The search index in PostgreSQL: replaces a document's chunks, or takes them out.

Where the environment has OpenSearch too, its index follows what PostgreSQL has agreed to.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from chatbot import database, opensearch
from functions.embed import vectors

# A chunk is at most about 12 KB as JSON, a call 4 MiB.
BATCH = 150


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document, with its embedding as PostgreSQL reads one: "[0.1,0.2,…]"."""

    content: str
    embedding: str


def replace(row: Mapping[str, Any], chunks: Sequence[Chunk]) -> bool:
    """Put a document's chunks in the place of those before it, all or none.

    False where a newer version is there, or this one was removed. Safe to do again.
    """
    is_current = _replace(row, chunks)
    if is_current and opensearch.is_on():
        vectors.replace(row, chunks)
    return is_current


def _replace(row: Mapping[str, Any], chunks: Sequence[Chunk]) -> bool:
    params = {
        "id": row["document_id"],
        "version": row["version"],
        "source_id": row.get("source_id"),
        "title": row["title"],
        "url": row["url"],
        "count": len(chunks),
    }
    batches = [chunks[first : first + BATCH] for first in range(0, len(chunks), BATCH)] or [[]]
    with database.transaction() if len(batches) > 1 else nullcontext() as transaction:
        for number, batch in enumerate(batches):
            listed = [
                {"number": number * BATCH + place, "content": c.content, "embedding": c.embedding}
                for place, c in enumerate(batch)
            ]
            is_current = database.system(
                row["workspace_id"],
                REPLACE,
                {**params, "chunks": listed},
                transaction=transaction,
            )
            if not is_current:
                return False
    return True


def remove(row: Mapping[str, Any]) -> None:
    """Take a document out, and refuse its version from now on."""
    params = {"id": row["document_id"], "version": row["version"]}
    database.system(row["workspace_id"], REMOVE, params)
    if opensearch.is_on():
        vectors.replace(row, [])


REPLACE = "SELECT app.replace_chunks($1)"
REMOVE = "SELECT app.remove_document($1)"
