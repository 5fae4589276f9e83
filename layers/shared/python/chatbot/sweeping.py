"""Finds the documents that a complete listing of a source has not seen, and removes them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from chatbot import documents, tables
from chatbot.settings import settings

# Sorts after everything that an external id holds.
LAST = "\U0010ffff"


@dataclass(frozen=True)
class Swept:
    """`refusal` says why nothing was deleted; `has_more`, that the time was too short for all."""

    deleted: int
    has_more: bool = False
    refusal: str | None = None


def see(source_id: str, external_id: str, listing: str) -> None:
    """Mark a document as seen by a listing that could not read it; nothing happens without one."""
    documents.update(
        documents.document_id(source_id, external_id),
        "SET seen_run = :listing",
        {":listing": listing},
        "attribute_exists(document_id)",
    )


def sweep(
    source_id: str,
    listing: str,
    after: str = " ",
    before: str = LAST,
    *,
    max_percent: int,
    has_time: Callable[[], bool] = lambda: True,
) -> Swept:
    """Remove the documents between two external ids, both excluded, that `listing` has not seen.

    Never more than `max_percent` of the source's documents, though always one: then nothing is
    removed. To be called only when all between the two was listed. Doing it again changes nothing.
    """
    gone = [
        item["document_id"]
        for item in _between(source_id, after, before)
        # The index may lag behind what the listing has just written.
        if item.get("seen_run") != listing and _is_unseen(item["document_id"], listing)
    ]
    if not gone:
        return Swept(0)
    total = sum(1 for _ in _between(source_id, " ", LAST))
    if len(gone) > 1 and len(gone) * 100 > max_percent * total:
        return Swept(
            0,
            refusal=f"{len(gone)} of {total} documents are no longer listed, more than the"
            f" {max_percent} % that may be deleted without an operator's word",
        )
    for number, document_id in enumerate(gone):
        if not has_time():
            return Swept(number, has_more=True)
        documents.remove(document_id)
    return Swept(len(gone))


def _is_unseen(document_id: str, listing: str) -> bool:
    found = documents.find(document_id)
    return found is not None and found.get("seen_run") != listing


def _between(source_id: str, after: str, before: str) -> Iterator[dict[str, Any]]:
    items = tables.query(
        settings().documents_table,
        "source_id = :source AND external_id BETWEEN :after AND :before",
        {":source": source_id, ":after": after, ":before": before},
        IndexName="by_source",
        ProjectionExpression="document_id, external_id, seen_run",
    )
    for item in items:
        if after < item["external_id"] < before:
            yield item
