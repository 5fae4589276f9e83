"""Sends the frames of a turn again, to one connection that asked for them."""

import json
from itertools import islice

from chatbot import closing, turns
from chatbot.aws import client
from chatbot.identifiers import now_ms
from chatbot.settings import settings
from chatbot.turns import Head

AT_ONCE = 500  # frames: a few seconds of sending, where API Gateway gives 29


def replay(connection_id: str, turn: Head, after_seq: int) -> None:
    """Send the stored frames after a seq: until an hour after the end all, later the final only.

    What is more than `AT_ONCE` is left to `chat_end`, by way of its queue.
    """
    if not turn.is_running and now_ms() - turn.ended_at > turns.REPLAY_MS:
        final = closing.stored_final(turn)
        closing.send_all(connection_id, turn.conversation_id, [final] if final else [])
        return
    stored = list(islice(turns.frames(turn.message_id, after_seq), AT_ONCE + 1))
    if not closing.send_all(connection_id, turn.conversation_id, stored[:AT_ONCE]):
        return
    if len(stored) > AT_ONCE:
        rest = {
            "connection_id": connection_id,
            "message_id": turn.message_id,
            "after_seq": after_seq + AT_ONCE,
        }
        client("sqs").send_message(
            QueueUrl=settings().turn_watch_queue_url, MessageBody=json.dumps({"replay": rest})
        )
