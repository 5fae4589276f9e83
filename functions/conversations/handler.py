"""Conversations and their messages: one's own, and with `conversations:read_all` all of them.

PostgreSQL says who the caller is in the workspace, then DynamoDB is asked; and every row must be of
that workspace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chatbot import audit, conversations, database, deletion, purging
from chatbot.api import Api, Request
from chatbot.conversations import READ_ALL
from chatbot.errors import Forbidden, NotFound, PreconditionFailed
from chatbot.identifiers import new_id
from chatbot.paging import Page
from functions.conversations import storage

if TYPE_CHECKING:
    from functions.conversations.bodies import ConversationPatch, NewConversation

PATH = "/workspaces/<workspace_id>/conversations"

api = Api("conversations")


@api.get(PATH, "chat:use")
def index(request: Request, page: Page, all: bool = False) -> Any:  # noqa: A002  the flag's name
    """List the caller's conversations, or with `all=true` everybody's, newest first."""
    held = _permissions(request)
    if all and READ_ALL not in held:
        raise Forbidden(f"The permission {READ_ALL} is needed.")
    workspace_id = _workspace_id(request)
    owner = None if all else conversations.owner(workspace_id, request.principal.user_id)
    return page.answer(storage.listed(workspace_id, owner, page))


@api.post(PATH, "chat:use", status=201, idempotent=True)
def create(request: Request, body: NewConversation) -> Any:
    """Start a conversation with a chatbot."""
    if _query(request, CHATBOT, {"id": body.chatbot_id}) is None:
        raise NotFound("There is no such chatbot.")
    head = conversations.new_head(
        new_id(), _workspace_id(request), request.principal.user_id, body.chatbot_id, body.title
    )
    return storage.created(head, request.idempotency)


@api.get(f"{PATH}/<conversation_id>", "chat:use")
def read(request: Request, conversation_id: str) -> Any:
    """Read a conversation."""
    return conversations.conversation_json(_readable(request, conversation_id))


@api.patch(f"{PATH}/<conversation_id>", "chat:use")
def update(request: Request, conversation_id: str, body: ConversationPatch) -> Any:
    """Give a conversation another title."""
    head = _own(request, conversation_id)
    changes = body.changes()
    if changes:
        as_read = request.if_match is not None
        head = storage.retitled(head, changes["title"], as_read)
    return conversations.conversation_json(head)


@api.delete(f"{PATH}/<conversation_id>", "chat:use", status=204)
def delete(request: Request, conversation_id: str) -> None:
    """Delete a conversation with its messages; an answer that is being made is cancelled."""
    _own(request, conversation_id, deleting=True)
    deletion.mark(conversation_id, request.if_match)
    purging.start("conversation", conversation_id)
    audit.record(request.principal, request.workspace_id, "delete", "conversation", conversation_id)


@api.get(f"{PATH}/<conversation_id>/messages", "chat:use")
def messages(request: Request, conversation_id: str, page: Page) -> Any:
    """List a conversation's messages, oldest first."""
    _readable(request, conversation_id)
    return page.answer(storage.messages(conversation_id, page))


def _query(request: Request, statement: str, params: dict[str, Any] | None = None) -> Any:
    # Not by `request.query`: key and version of the request are for the row in DynamoDB.
    return database.query(
        request.principal,
        statement,
        params,
        workspace_id=request.workspace_id,
        permission="chat:use",
    )


def _permissions(request: Request) -> list[str]:
    held: list[str] = _query(request, "SELECT app.permissions()")
    return held


def _workspace_id(request: Request) -> str:
    return str(request.workspace_id)


def _readable(request: Request, conversation_id: str) -> dict[str, Any]:
    """The head of a conversation that the caller may read. Raises `NotFound` for all others."""
    held = _permissions(request)
    head = conversations.head(conversation_id)
    if head is None or head["workspace_id"] != request.workspace_id:
        raise NotFound
    if head["user_id"] != request.principal.user_id and READ_ALL not in held:
        raise NotFound
    return head


def _own(request: Request, conversation_id: str, deleting: bool = False) -> dict[str, Any]:
    """The head of a conversation that the caller may change: only the caller's own."""
    held = _permissions(request)
    head = (
        conversations.any_head(conversation_id) if deleting else conversations.head(conversation_id)
    )
    if head is None or head["workspace_id"] != request.workspace_id:
        raise NotFound
    if head["user_id"] != request.principal.user_id:
        raise Forbidden("Only its user changes a conversation.") if READ_ALL in held else NotFound
    if request.if_match is not None and str(head["version"]) not in request.if_match:
        raise PreconditionFailed
    return head


CHATBOT = """
SELECT to_jsonb(id) FROM app.chatbots
WHERE workspace_id = app.workspace_id() AND id = ($1 ->> 'id')::uuid
"""

handler = api.handler
