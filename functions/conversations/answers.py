"""What the routes of conversations answer."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field

from chatbot.answers import Citation, Count, Failure, Id, Resource, Shape, Time, TokenUsage


class Conversation(Resource):
    """A conversation of one user with one chatbot."""

    chatbot_id: Id
    user_id: Id
    title: str | None
    message_count: Count
    last_message_at: Time | None


class ToolCall(Shape):
    """A call of a tool while the answer was made."""

    tool_use_id: str
    tool: str
    input: dict[str, Any]
    status: str
    output: Any


class Message(Resource):
    """A question or its answer; `seq` is its place in the conversation, from 1."""

    role: Literal["user", "assistant"]
    content: str
    status: Literal["completed", "streaming", "cancelled", "failed"]
    seq: Annotated[int, Field(ge=1)]
    parent_id: Id | None
    stop_reason: str | None
    tool_calls: list[ToolCall]
    citations: list[Citation]
    usage: TokenUsage | None
    error: NotRequired[Failure]


ANSWERS: dict[str, Any] = {
    "index": Conversation,
    "create": Conversation,
    "read": Conversation,
    "update": Conversation,
    "messages": Message,
}
