"""The state `StreamAnswer`: asks the model, and stores and sends its answer as it comes."""

import time
from contextlib import suppress
from typing import Any
from uuid import uuid4

from chatbot import log, turns
from chatbot.turns import Head, Lost
from functions.chat_stream import producing, tool_use
from functions.chat_stream.answer import RESERVE_MS

POLL_SECONDS = 0.5


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Take {message_id, request_id, rounds?}, return {message_id, request_id, rounds, calls?}.

    `rounds` counts the turn's rounds of tools; `calls` are there where the model wants another, one
    item of the machine's map each. How an answer came out is noted in the turn's head. Raises
    `RetryLater`.
    """
    message_id = event["message_id"]
    ids = {"message_id": message_id, "request_id": event["request_id"]}
    log.bind(event["request_id"], message_id=message_id)
    done = event.get("rounds", 0)
    producer = uuid4().hex
    while (turn := _claim(message_id, producer, context)) is not None:
        try:
            asked = producing.produce(turn, producer, done, context)
        except Lost:
            log.logger().info("another goes on with the turn", code=log.Code.TURN_LOST)
            _wait_for_other(message_id, producer, context)
            continue
        if asked is None:
            break
        calls, _ = tool_use.for_machine(asked.calls, ids)
        return {**ids, "rounds": done + 1, "calls": calls}
    return {**ids, "rounds": done}


def _claim(message_id: str, producer: str, context: Any) -> Head | None:
    """The turn, claimed; None where it needs nobody any more. Waits while another makes it."""
    while context.get_remaining_time_in_millis() > RESERVE_MS:
        with suppress(Lost):
            return turns.claim(message_id, producer)
        turn = turns.head(message_id)
        if turn is None or turn.outcome is not None or not turn.is_running:
            return None
        time.sleep(POLL_SECONDS)
    return None


def _wait_for_other(message_id: str, producer: str, context: Any) -> None:
    """Wait until the other producer has come to an end, let go of the turn, or died. There is none
    where it was a cancel that came in between."""
    while context.get_remaining_time_in_millis() > RESERVE_MS:
        turn = turns.head(message_id)
        if turn is None or turn.outcome is not None or not turn.is_running or turn.is_dead:
            return
        if turn.producer == producer or not turn.producing_until:
            return
        time.sleep(POLL_SECONDS)
