"""The search index in PostgreSQL: replaces a document's chunks, or takes them out."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from chatbot import database

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


# The row of document_versions is locked by its update until the transaction ends.
REPLACE = """
WITH current AS (
    INSERT INTO app.document_versions AS known (document_id, version, title, url)
    VALUES (($1 ->> 'id')::uuid, ($1 ->> 'version')::bigint, $1 ->> 'title', $1 ->> 'url')
    ON CONFLICT (workspace_id, document_id) DO UPDATE
    SET version = excluded.version, is_removed = false, title = excluded.title, url = excluded.url
    WHERE known.version < excluded.version
        OR known.version = excluded.version AND NOT known.is_removed
    RETURNING document_id
), surplus AS (
    DELETE FROM app.chunks
    WHERE workspace_id = app.workspace_id() AND document_id = (SELECT document_id FROM current)
        AND number >= ($1 ->> 'count')::integer
), stored AS (
    INSERT INTO app.chunks (document_id, number, source_id, content, terms, embedding)
    SELECT current.document_id, chunk.number, ($1 ->> 'source_id')::uuid, chunk.content,
        setweight(to_tsvector('english', $1 ->> 'title'), 'A')
            || to_tsvector('english', chunk.content),
        chunk.embedding::public.halfvec(1024)
    FROM current, jsonb_to_recordset($1 -> 'chunks')
        AS chunk (number integer, content text, embedding text)
    ON CONFLICT (workspace_id, document_id, number) DO UPDATE
    SET source_id = excluded.source_id, content = excluded.content, terms = excluded.terms,
        embedding = excluded.embedding
)
SELECT to_jsonb(EXISTS (SELECT FROM current))
"""
REMOVE = "SELECT app.remove_document($1)"
