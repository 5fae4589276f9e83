"""What the routes read and write of the table `documents`."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from botocore.exceptions import ClientError

from chatbot import documents, tables
from chatbot.aws import client
from chatbot.errors import NotFound, PreconditionFailed
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
    """Delete a row; the last version that it had. Raises `NotFound`, `PreconditionFailed`."""
    if if_match is not None and str(row["version"]) not in if_match:
        raise PreconditionFailed
    request: dict[str, Any] = {
        "TableName": settings().documents_table,
        "Key": tables.pack({"document_id": row["document_id"]}),
        "ReturnValues": "ALL_OLD",
    }
    if if_match is not None:
        request["ConditionExpression"] = "version = :version"
        request["ExpressionAttributeValues"] = tables.pack({":version": row["version"]})
    try:
        old = client("dynamodb").delete_item(**request).get("Attributes")
    except ClientError as error:
        if not tables.is_condition_failure(error):
            raise
        raise PreconditionFailed from None
    if not old:
        raise NotFound
    version: int = tables.unpack(old)["version"]
    return version
