"""What a tool's function is made of: it gets a call, acts with the rights of the user who chats,
and returns what the model shall read.

    def run(call: Call) -> object:
        return [...]

    handler = tool(run)
"""

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from chatbot import database, log, relay, tool_rounds, turns
from chatbot.errors import Forbidden, NotFound, RetryLater, ServiceUnavailable, Unauthorized
from chatbot.tool_rounds import StoredCall
from chatbot.tools import registry
from chatbot.turns import Head, Lost

MAX_RESULT_BYTES = 32 * 1024

# What the model reads where a tool has nothing to say.
EMPTY = "The tool returned nothing."
FAILED = "The tool failed."
TIMED_OUT = "The tool did not end in time."
BROKEN_OFF = "The tool broke off."
UNKNOWN = "Whether it had an effect is not known: look before you ask for the same again."
FORBIDDEN = "The user may not use this tool."
NOT_APPROVED = {
    "denied": "The user did not approve this call. It was not made.",
    "expired": "The user did not answer in time whether to make this call. It was not made.",
}
# All that is no text; and halves of a pair, which are no characters.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


class Principal(NamedTuple):
    """The user whose turn it is: a `Caller` for `database.query`, in this workspace only."""

    user_id: str
    token_version: int
    workspace_id: str


class Call(NamedTuple):
    """A call that the model made; `input` fits the tool's schema. `tool_use_id` is the same in
    every try. `source_ids` are those that the chatbot may use as the turn began, None for all."""

    tool_use_id: str
    name: str
    input: dict[str, Any]
    principal: Principal
    request_id: str
    message_id: str
    conversation_id: str
    chatbot_id: str
    source_ids: list[str] | None


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

    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
        message_id = event["message_id"]
        log.bind(event["request_id"], message_id=message_id)
        turn, call = turns.head(message_id), tool_rounds.call(message_id, event["call"])
        if turn is None or call is None or not turn.is_running or call.status != "running":
            log.logger().info("nothing to do any more", code=log.Code.TOOL_LATE)
        else:
            _serve(run, turn, call, context.aws_request_id)
        return {"message_id": message_id, "call": event["call"]}

    return handler


def end(turn: Head, call: StoredCall, status: str, output: str) -> None:
    """Store how a call ended, unless something has, and send the frame that tells of it."""
    try:
        tool_rounds.finish(turn, call, status, output)
        log.measure(ToolErrors=int(status == "failed"))
    except Lost:
        log.logger().info("the call had ended", code=log.Code.TOOL_LATE)
    relay.send(turn.message_id)


def _serve(run: Run, turn: Head, call: StoredCall, attempt: str) -> None:
    refusal = _refusal(turn, call)
    if refusal is not None:
        return end(turn, call, "failed", refusal)
    try:
        tool_rounds.begin(turn, call, attempt)
    except Lost:  # cancelled; whoever did that ends the turn
        return log.logger().info("the turn has ended", code=log.Code.TOOL_LATE)
    if call.requires_approval:
        relay.send(turn.message_id)
    try:
        result, status = run(_call(turn, call)), "completed"
    except ToolFailed as failure:
        result, status = str(failure), "failed"
    except RetryLater:
        tool_rounds.forget(turn.message_id, call)
        raise
    return end(turn, call, status, text_of(result))


def _refusal(turn: Head, call: StoredCall) -> str | None:
    """Why the call is not run, if it is not. Raises `RetryLater`."""
    if call.requires_approval:
        decision = call.decision or _expired(turn, call)
        if decision != "approved":
            return NOT_APPROVED[decision]
        if call.attempt is not None:
            return f"{BROKEN_OFF} {UNKNOWN}"
    try:
        database.query(
            _principal(turn),
            "SELECT to_jsonb(true)",
            workspace_id=turn.workspace_id,
            permission=registry()[call.tool].permission,
        )
    except (Forbidden, NotFound, Unauthorized):
        return FORBIDDEN
    except ServiceUnavailable as error:
        raise RetryLater(str(error)) from None
    return None


def _expired(turn: Head, call: StoredCall) -> str:
    """The decision on a call on which nobody has decided in time: a later one changes nothing."""
    try:
        tool_rounds.decide(turn.message_id, call, "expired")
    except Lost:
        now = tool_rounds.call(turn.message_id, call.seq)
        return (now and now.decision) or "expired"
    return "expired"


def _principal(turn: Head) -> Principal:
    return Principal(turn.user_id, turn.token_version, turn.workspace_id)


def _call(turn: Head, call: StoredCall) -> Call:
    return Call(
        tool_use_id=call.tool_use_id,
        name=call.tool,
        input=json.loads(call.input),
        principal=_principal(turn),
        request_id=turn.request_id,
        message_id=turn.message_id,
        conversation_id=turn.conversation_id,
        chatbot_id=turn.chatbot_id,
        source_ids=turn.context["chatbot"]["knowledge"].get("source_ids"),
    )


def text_of(result: object) -> str:
    """A result as the model reads it: clean text of at most 32 KB, which says so if it was cut."""
    match result:
        case str():
            text = result
        case bytes():
            text = result.decode(errors="replace")
        case _:
            text = json.dumps(result, ensure_ascii=False, default=str)
    clean = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text).encode(errors="replace")
    if len(clean) > MAX_RESULT_BYTES:
        mark = f"\n[cut here: the whole result has {len(clean)} bytes]"
        kept = clean[: MAX_RESULT_BYTES - len(mark)].decode(errors="ignore")
        return kept + mark
    return clean.decode() if clean.strip() else EMPTY
