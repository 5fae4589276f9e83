"""The frame `approve`: the user's word on a call that waits for it."""

from chatbot import tool_rounds, turns
from chatbot.connections import Connection
from chatbot.errors import NotFound
from chatbot.tool_rounds import StoredCall
from functions.ws_message import access, execution
from functions.ws_message.frames import Approve

NOT_WAITING = "No tool of this turn waits for an approval."


def serve(connection: Connection, frame: Approve) -> None:
    """Store the decision, once, and have the machine go on. The tool's function reads it: whatever
    becomes of the machine's token, a call that was not approved is not made.

    Raises `NotFound`, for others' turns and what has been decided as for what never was there.
    """
    turn = turns.head(frame.message_id)
    if turn is None or not turn.is_running or turn.user_id != connection.user_id:
        raise NotFound(NOT_WAITING)
    access.permissions(connection, turn.workspace_id)
    call = _find(frame)
    if call is None or turn.cancel_requested:
        raise NotFound(NOT_WAITING)
    try:
        decision = "approved" if frame.approved else "denied"
        decided = tool_rounds.decide(turn.message_id, call, decision)
    except turns.Lost:
        raise NotFound(NOT_WAITING) from None
    # Where no token is there yet, the machine comes to wait later, and finds that it need not.
    if decided.task_token is not None:
        execution.go_on(decided.task_token)


def _find(frame: Approve) -> StoredCall | None:
    calls = (call for made in tool_rounds.stored(frame.message_id) for call in made.calls)
    return next((call for call in calls if call.tool_use_id == frame.tool_use_id), None)
