"""Feedback: what users think of single answers, their list and their sums.

PostgreSQL says who the caller is in the workspace, then DynamoDB is asked, as for conversations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chatbot import conversations, database
from chatbot.api import Api, Request
from chatbot.errors import NotFound, ValidationFailed
from chatbot.feedback import Answered
from chatbot.paging import Page
from chatbot.parameters import identifier, integer, moment
from functions.feedback import storage

if TYPE_CHECKING:
    from functions.feedback.bodies import Rating

PATH = "/workspaces/<workspace_id>/feedback"
OF_MESSAGE = (
    "/workspaces/<workspace_id>/conversations/<conversation_id>/messages/<message_id>/feedback"
)

api = Api("feedback")


@api.put(OF_MESSAGE, "chat:use", problems=[NotFound])
def put(request: Request, conversation_id: str, message_id: str, body: Rating) -> Any:
    """Rate an answer, or change the caller's rating of it."""
    answer = _answer(request, conversation_id, message_id)
    return storage.put(answer, request.principal.user_id, body.rating, body.comment)


@api.delete(OF_MESSAGE, "chat:use", status=204)
def delete(request: Request, conversation_id: str, message_id: str) -> None:
    """Take back the caller's rating of an answer."""
    answer = _answer(request, conversation_id, message_id)
    storage.delete(answer, request.principal.user_id, request.if_match)


@api.get(PATH, "feedback:read")
def index(
    request: Request,
    page: Page,
    rating: int | None = integer(1, 5),
    chatbot_id: str | None = identifier(),
    from_: str | None = moment(),
    to: str | None = moment(),
) -> Any:
    """List the ratings of a workspace's answers, newest first."""
    chosen = _selection(request, rating, chatbot_id, from_, to)
    return page.answer(storage.listed(chosen, page))


@api.get(f"{PATH}/summary", "feedback:read")
def summary(
    request: Request,
    rating: int | None = integer(1, 5),
    chatbot_id: str | None = identifier(),
    from_: str | None = moment(),
    to: str | None = moment(),
) -> Any:
    """Count the ratings of a workspace's answers, in all and by chatbot."""
    return storage.summary(_selection(request, rating, chatbot_id, from_, to))


def _selection(
    request: Request, rating: int | None, chatbot_id: str | None, since: str | None, to: str | None
) -> storage.Selection:
    request.query("SELECT to_jsonb(true)")
    return storage.Selection(str(request.workspace_id), chatbot_id, rating, since, to)


def _answer(request: Request, conversation_id: str, message_id: str) -> Answered:
    """An answer that the caller may read. Raises `NotFound`, `ValidationFailed` for a question."""
    held = database.query(
        request.principal,
        "SELECT app.permissions()",
        workspace_id=request.workspace_id,
        permission="chat:use",
    )
    head = conversations.head(conversation_id)
    if head is None or head["workspace_id"] != request.workspace_id:
        raise NotFound
    if head["user_id"] != request.principal.user_id and conversations.READ_ALL not in held:
        raise NotFound
    message = conversations.message(conversation_id, message_id)
    if message is None:
        raise NotFound
    if message["role"] != "assistant":
        raise ValidationFailed("Only answers are rated.")
    return Answered(head["workspace_id"], head["chatbot_id"], conversation_id, message_id)


handler = api.handler
