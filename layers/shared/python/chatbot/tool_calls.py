"""What a tool's function is made of: it gets a call, acts with the rights of the user who chats,
and returns what the model shall read.

    def run(call: Call) -> object:
        return [...]

    handler = tool(run)
"""

from collections.abc import Callable
from typing import Any, NamedTuple

MAX_RESULT_BYTES = 32 * 1024


class Principal(NamedTuple):
    """The user whose turn it is: a `Caller` for `database.query`, in this workspace only."""

    user_id: str
    token_version: int
    workspace_id: str


class Call(NamedTuple):
    """A call that the model made; `input` fits the tool's schema. `tool_use_id` is the same in
    every try."""

    tool_use_id: str
    name: str
    input: dict[str, Any]
    principal: Principal
    request_id: str
    message_id: str
    conversation_id: str
    chatbot_id: str


class ToolFailed(Exception):
    """The call has failed for good; the model reads the text, so nothing secret stands in it."""


type Run = Callable[[Call], object]


def tool(run: Run) -> Callable[[dict[str, Any], Any], dict[str, Any]]:
    """The Lambda handler of a tool: takes {message_id, request_id, call}, returns the ids.

    `run` gets the call and returns a string or what JSON can say. Around it stands here: the stored
    call is read, the user's permission asked in PostgreSQL, the result cleaned, cut to 32 KB and
    stored once, and its frame sent. `ToolFailed` becomes a failed result; `RetryLater` has the
    machine try again (raise it only where nothing was changed); any other exception ends as a
    failed result that says no more than that.
    """
    raise NotImplementedError
