"""The frames `open` and `resume`."""

from chatbot import closing, connections, conversations, log, relay, turns
from chatbot.connections import Connection
from chatbot.errors import NotFound
from chatbot.replay import replay
from chatbot.turns import Head
from functions.ws_message import access
from functions.ws_message.frames import Open, Resume

NO_CONVERSATION = "There is no such conversation."


def serve_open(connection: Connection, frame: Open) -> None:
    """Follow a conversation: one's own, or any with `conversations:read_all`."""
    conversation = conversations.head(frame.conversation_id)
    if conversation is None:
        raise NotFound(NO_CONVERSATION)
    held = access.permissions(connection, conversation["workspace_id"])
    if conversation["user_id"] != connection.user_id and "conversations:read_all" not in held:
        raise NotFound(NO_CONVERSATION)
    connections.follow(connection, frame.conversation_id, conversation["workspace_id"])
    if running := conversation.get("running_turn"):
        relay.send(running)


def serve_resume(connection: Connection, frame: Resume) -> None:
    """Send a turn's frames after a seq again, and follow it."""
    turn = turns.head(frame.message_id)
    if turn is None or turn.user_id != connection.user_id:
        raise NotFound("There is no such turn.")
    access.permissions(connection, turn.workspace_id)
    if turn.is_dead:
        closing.end(turn.message_id, closing.interrupted)
    resume(connection, turn, frame.after_seq)


def resume(connection: Connection, turn: Head, after_seq: int) -> None:
    """Leave the wish to the turn's producer, or fulfil it here where there is none.

    Whoever ends the turn reads the followers after its end is stored; so of a wish that is stored
    before the turn is read again, one of the two knows. What a later producer sends again the
    client has seen.
    """
    connections.follow_from(connection, turn, after_seq, log.request_id())
    now = turns.head(turn.message_id)
    if now is not None and not now.is_running:
        replay(connection.connection_id, now, after_seq)
    elif now is not None and not now.has_producer:
        relay.send(turn.message_id)
