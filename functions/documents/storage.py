"""What the routes read and write of the table `documents`."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from chatbot import documents, tables
from chatbot.errors import Conflict, NotFound, PreconditionFailed
from chatbot.paging import Page
from chatbot.settings import settings


def listed(workspace_id: str, filters: Mapping[str, str | None], page: Page) -> dict[str, Any]:
    """{items, more}: a page of a workspace's documents, newest first; filters may be None."""
    wanted = {name: value for name, value in filters.items() if value is not None}
    condition, values = "workspace_id = :workspace", {":workspace": workspace_id}
    if page.after is not None:
        condition += " AND created_key < :after"
        values[":after"] = "#".join(page.after)
    options: dict[str, Any] = {}
    if wanted:
        options["FilterExpression"] = " AND ".join(f"#{name} = :{name}" for name in wanted)
        options["ExpressionAttributeNames"] = {f"#{name}": name for name in wanted}
        values |= {f":{name}": value for name, value in wanted.items()}
    else:
        options["Limit"] = page.limit + 1
    rows: Iterator[dict[str, Any]] = tables.query(
        settings().documents_table,
        condition,
        values,
        IndexName="by_workspace",
        ScanIndexForward=False,
        **options,
    )
    found = [documents.document_json(row) for row in islice(rows, page.limit + 1)]
    return {"items": found[: page.limit], "more": len(found) > page.limit}


def delete(row: Mapping[str, Any], if_match: Sequence[str] | None) -> int:
    """Delete a row; the last version that it had. One of a source is noted, so that no run brings
    it back. Raises `NotFound`, `PreconditionFailed`, `Conflict`.
    """
    for attempt in range(documents.ATTEMPTS):
        if if_match is not None and str(row["version"]) not in if_match:
            raise PreconditionFailed
        try:
            tables.transact(_deletion(row))
        except tables.TransactionCanceled:
            tables.back_off(attempt)
        else:
            version: int = row["version"]
            return version
        found = documents.find(row["document_id"])
        if found is None:
            raise NotFound
        row = found
    raise Conflict("The document is being changed.", headers={"Retry-After": "1"})


def _deletion(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    delete = {
        "TableName": settings().documents_table,
        "Key": tables.pack({"document_id": row["document_id"]}),
        "ConditionExpression": "version = :version",
        "ExpressionAttributeValues": tables.pack({":version": row["version"]}),
    }
    if row.get("source_id") is None:
        return [{"Delete": delete}]
    note = documents.removed_key(row["source_id"], row["document_id"])
    put = {"TableName": settings().jobs_table, "Item": tables.pack(note)}
    return [{"Delete": delete}, {"Put": put}]
