"""The frames that the server sends, as the document and the tests hold them to be."""

from typing import Annotated, Literal, NotRequired

from pydantic import Field

from chatbot.answers import Citation, Failure, Id, Shape, TokenUsage

type Seq = Annotated[int, Field(ge=1, description="Counts all frames of one answer, from 1.")]
type StopReason = Literal[
    "end_turn",
    "max_tokens",
    "time_limit",
    "stop_sequence",
    "guardrail_intervened",
    "tool_round_limit",
    "cancelled",
    "error",
]
type Code = Literal[
    "bad_request",
    "not_found",
    "forbidden",
    "rate_limited",
    "quota_exceeded",
    "busy",
    "internal",
]


class Ack(Shape):
    """The user's message is stored; `message_id` names the answer to come."""

    type: Literal["ack"]
    conversation_id: Id
    user_message_id: Id
    message_id: Id
    client_message_id: NotRequired[str]
    request_id: str


class User(Shape):
    """A message that another connection of the conversation sent."""

    type: Literal["user"]
    conversation_id: Id
    message_id: Id
    content: str
    request_id: str


class Streaming(Shape):
    """The next piece of an answer."""

    type: Literal["assistant"]
    status: Literal["streaming"]
    message_id: Id
    conversation_id: Id
    seq: Seq
    content: str
    request_id: str


class Tool(Shape):
    """What a tool of the answer does."""

    type: Literal["tool"]
    status: Literal["started", "needs_approval", "completed", "failed"]
    message_id: Id
    conversation_id: Id
    seq: Seq
    tool: str
    tool_use_id: str
    request_id: str


class Final(Shape):
    """The whole answer. Without `content`, and with `content_truncated`, where it is too long."""

    type: Literal["assistant"]
    status: Literal["completed", "cancelled", "failed"]
    message_id: Id
    conversation_id: Id
    seq: Seq
    content: NotRequired[str]
    content_truncated: NotRequired[Literal[True]]
    stop_reason: StopReason
    usage: TokenUsage
    citations: list[Citation]
    error: NotRequired[Failure]
    request_id: str


class Pong(Shape):
    """The answer to `ping`."""

    type: Literal["pong"]


class Error(Shape):
    """A frame could not be served; the connection stays."""

    type: Literal["error"]
    code: Code
    detail: str
    client_message_id: NotRequired[str]
    message_id: NotRequired[str]
    request_id: str


class Unserved(Shape):
    """API Gateway's own: what serves frames was not there, died or took too long. Send the frame
    again, a `chat` with the same `client_message_id`."""

    message: str
    connectionId: str  # noqa: N815
    requestId: str  # noqa: N815
