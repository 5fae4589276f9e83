"""The frame `cancel`."""

from chatbot import closing, turns
from chatbot.connections import Connection
from chatbot.errors import NotFound
from chatbot.turns import Head, Outcome
from functions.ws_message import access, execution
from functions.ws_message.frames import Cancel

NOT_RUNNING = "There is no such running turn."


def serve(connection: Connection, frame: Cancel) -> None:
    """Have the turn's producer stop within a second, or end it here where none is at work."""
    turn = turns.head(frame.message_id)
    if turn is None or not turn.is_running or turn.user_id != connection.user_id:
        raise NotFound(NOT_RUNNING)
    access.permissions(connection, turn.workspace_id)
    if turn.is_dead:
        closing.end(turn.message_id, _cancelled)
        execution.stop(turn.message_id)
        return
    try:
        turn = turns.request_cancel(turn.message_id)
    except turns.Lost:
        raise NotFound(NOT_RUNNING) from None
    if not turn.has_producer and turn.outcome is None:
        closing.end(turn.message_id, _cancelled)
        execution.stop(turn.message_id)


def _cancelled(turn: Head) -> Outcome:
    return Outcome(**turn.outcome) if turn.outcome else Outcome.cancelled()
