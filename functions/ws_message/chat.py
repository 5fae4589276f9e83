"""The frame `chat`: the user's message is stored, acknowledged, and its answer started."""

from concurrent.futures import ThreadPoolExecutor

from chatbot import closing, connections, log, rate_limit, turns
from chatbot.connections import Connection
from chatbot.identifiers import now_ms
from chatbot.settings import settings
from chatbot.turns import Head, Outcome
from functions.ws_message import access, execution, follow
from functions.ws_message.frames import Chat
from functions.ws_message.opening import Opened, Opening

START_MS = 2_000  # a turn that old whose execution is not there will not get one any more


def serve(connection: Connection, frame: Chat) -> None:
    """Open a turn, or find the one that an earlier frame of the same mark opened."""
    opening = Opening(connection, frame, access.chat_context(connection, frame.chatbot_id))
    opened = opening.repeated()
    if opened is None:
        rate_limit.count(f"chat#{connection.user_id}", settings().chats_per_minute)
        opened = opening.open()
    _acknowledge(connection, frame, opened)
    if opened.turn is None:
        _repeat(connection, opened)
    else:
        _start(connection, frame, opened.turn)


def _acknowledge(connection: Connection, frame: Chat, opened: Opened) -> None:
    ack = {
        "type": "ack",
        "conversation_id": opened.conversation_id,
        "user_message_id": opened.user_message_id,
        "message_id": opened.message_id,
        "request_id": log.request_id(),
    }
    if frame.client_message_id is not None:
        ack["client_message_id"] = frame.client_message_id
    closing.send_all(connection.connection_id, opened.conversation_id, [turns.encode(ack)])


def _start(connection: Connection, frame: Chat, turn: Head) -> None:
    """Start the answer, or end the turn: after its `ack` the client waits for a final frame."""
    with ThreadPoolExecutor(8) as pool:
        try:
            for follower in connections.followers(turn.conversation_id):
                if follower.connection_id != connection.connection_id:
                    pool.submit(_show, follower.connection_id, frame, turn)
            execution.start(turn)
        except Exception as error:  # noqa: BLE001  whatever it is, the user must not wait for it
            log.logger().error(
                "execution not started", code=log.Code.EXECUTION_NOT_STARTED, exc_info=error
            )
            _give_up(turn)


def _show(connection_id: str, frame: Chat, turn: Head) -> None:
    """Tell another connection that follows the conversation what its user said."""
    shown = {
        "type": "user",
        "conversation_id": turn.conversation_id,
        "message_id": turn.user_message_id,
        "content": frame.content,
        "request_id": log.request_id(),
    }
    closing.send_all(connection_id, turn.conversation_id, [turns.encode(shown)])


def _give_up(turn: Head) -> None:
    try:
        closing.end(turn.message_id, _not_started)
    except Exception as error:  # noqa: BLE001  whoever looks after the turn ends it soon
        log.logger().error("turn not ended", code=log.Code.EXECUTION_NOT_STARTED, exc_info=error)


def _not_started(_: Head) -> Outcome:
    usage = {"input_tokens": 0, "output_tokens": 0, "estimated": True}
    return Outcome.failed("not_started", "The answer could not be started.", usage)


def _repeat(connection: Connection, opened: Opened) -> None:
    """Have the answer sent to this connection, and started if it never was."""
    turn = turns.head(opened.message_id)
    if turn is None:
        return
    if turn.is_running and now_ms() - turn.opened_at > START_MS:
        execution.start(turn)
    follow.resume(connection, turn, 0)
