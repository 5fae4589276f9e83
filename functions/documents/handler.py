"""Documents, by hand and of sources, and the search in them.

PostgreSQL says who the caller is in the workspace, then DynamoDB is asked; and every row must be of
that workspace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chatbot import documents, embeddings, opensearch
from chatbot.api import Api, Request
from chatbot.errors import Conflict, NotFound, RetryLater, ServiceUnavailable
from chatbot.idempotency import put_once
from chatbot.identifiers import new_id
from chatbot.paging import Page
from chatbot.parameters import choice, identifier
from chatbot.settings import settings
from functions.documents import storage

if TYPE_CHECKING:
    from functions.documents.bodies import NewDocument, Search

PATH = "/workspaces/<workspace_id>/documents"

api = Api("documents")


@api.get(PATH, "documents:read")
def index(
    request: Request,
    page: Page,
    source_id: str | None = identifier(),
    status: str | None = choice("pending", "embedded", "failed"),
) -> Any:
    """List the documents of a workspace, newest first; of a source, or in a status."""
    request.query(MAY)
    filters = {"source_id": source_id, "status": status}
    return page.answer(storage.listed(str(request.workspace_id), filters, page))


@api.post(PATH, "documents:write", status=201, idempotent=True)
def create(request: Request, body: NewDocument) -> Any:
    """Add a document by hand."""
    request.query(MAY)
    workspace_id = str(request.workspace_id)
    row = documents.new(new_id(), workspace_id, body.title, body.url, body.content)
    made = documents.document_json(row)
    caller = f"{workspace_id}#{request.principal.user_id}"
    return put_once(settings().documents_table, row, made, caller, request.idempotency)


@api.get(f"{PATH}/<document_id>", "documents:read")
def read(request: Request, document_id: str) -> Any:
    """Read what is known of a document."""
    request.query(MAY)
    return documents.document_json(_found(request, document_id))


@api.delete(f"{PATH}/<document_id>", "documents:write", status=204, problems=[Conflict])
def delete(request: Request, document_id: str) -> None:
    """Delete a document: no search finds it from now on.

    One of a source stays away, whatever becomes of it there, as long as the source is connected.
    """
    request.query(MAY)
    row = _found(request, document_id)
    version = storage.delete(row, request.if_match)
    request.query(REMOVE, {"id": document_id, "version": version})


@api.post("/workspaces/<workspace_id>/search", "chat:use")
def search(request: Request, body: Search) -> Any:
    """Search the documents of a workspace, by meaning and by words."""
    try:
        (embedding,) = embeddings.embed([body.query])
    except RetryLater:
        raise ServiceUnavailable("The search is not available now.", retry_after=5) from None
    asked = {"text": body.query, "embedding": embedding, "top_k": body.top_k}
    if body.source_ids is not None:
        asked["source_ids"] = body.source_ids
    asked |= opensearch.hits(str(request.workspace_id), asked)
    return {"items": request.query(FIND, asked)}


def _found(request: Request, document_id: str) -> dict[str, Any]:
    row = documents.find(document_id)
    if row is None or row["workspace_id"] != request.workspace_id:
        raise NotFound
    return row


MAY = "SELECT to_jsonb(true)"
FIND = "SELECT app.find($1)"
REMOVE = "SELECT app.remove_document($1)"

handler = api.handler
