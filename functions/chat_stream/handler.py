"""The state `StreamAnswer`: asks the model, and stores and sends its answer as it comes."""

import json
import time
from contextlib import suppress
from typing import Any
from uuid import uuid4

from chatbot import log, passages, quotas, turns
from chatbot.errors import BadInput, QuotaExceeded, RetryLater
from chatbot.models import allowed_models
from chatbot.turns import Head, Lost, Outcome
from functions.chat_stream import request
from functions.chat_stream.answer import RESERVE_MS, Answer
from functions.chat_stream.knowledge import Knowledge

POLL_SECONDS = 0.5
DELIVERY_SECONDS = 2.0


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Take {message_id, request_id}, return {message_id, request_id, delivered}.

    `delivered` is {connection: [resume mark, last seq it has]}, for `chat_end` to go on from; how
    the answer came out is noted in the turn's head. Raises `RetryLater`.
    """
    message_id = event["message_id"]
    log.bind(event["request_id"], message_id=message_id)
    answer = {"message_id": message_id, "request_id": event["request_id"], "delivered": {}}
    producer = uuid4().hex
    try:
        turn = _claim(message_id, producer, context)
        if turn is not None:
            answer["delivered"] = _produce(turn, producer, context)
    except Lost:
        log.logger().info("another goes on with the turn", code=log.Code.TURN_LOST)
        _wait_for_other(message_id, context)
    return answer


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


def _produce(turn: Head, producer: str, context: Any) -> dict[str, tuple[str, int]]:
    early = _early_outcome(turn)
    if early is not None:
        turns.settle(turn.message_id, producer, early)
        return {}
    knowledge = _knowledge(turn)
    try:
        asked = request.build(turn, allowed_models()[turn.model_id], knowledge)
        turn = quotas.reserve_round(turn, producer, request.most(asked))
    except (BadInput, QuotaExceeded) as error:
        turns.settle(turn.message_id, producer, _refused(turn, error))
        return {}
    remaining = context.get_remaining_time_in_millis
    answer = Answer(turn, producer, asked, request.estimate(asked), remaining)
    try:
        outcome = answer.make()
        if knowledge:
            said = turns.text_of(answer.delivery.frames)
            outcome = outcome._replace(citations=knowledge.citations(said))
        turns.settle(turn.message_id, producer, outcome)
        return answer.delivery.finish(DELIVERY_SECONDS)
    except RetryLater as error:
        log.logger().warning("the model is busy", code=log.Code.MODEL_BUSY, reason=str(error))
        turns.release(turn.message_id, producer)
        raise
    finally:
        answer.delivery.stop()


def _refused(turn: Head, error: BadInput | QuotaExceeded) -> Outcome:
    """How a turn comes out whose model is not asked: it uses nothing more."""
    code, detail = "bad_prompt", "The chatbot's system prompt does not render."
    if isinstance(error, QuotaExceeded):
        code, detail = error.code, error.detail
    else:
        log.logger().warning("no prompt", code=log.Code.PROMPT_FAILED, reason=str(error))
    return Outcome.failed(code, detail, turn.counted(0, 0, estimated=False))


def _knowledge(turn: Head) -> Knowledge | None:
    """What the state before this one found. Where it failed, the answer is made without, and the
    model is told so."""
    wanted = json.loads(turn.snapshot)["chatbot"]["knowledge"]
    if not wanted["enabled"]:
        return None
    found = passages.get(turn.message_id)
    if found is None:
        log.logger().error("nothing was looked up", code=log.Code.RETRIEVAL_FAILED)
    return Knowledge(found, turn.workspace_id, wanted.get("source_ids"))


def _early_outcome(turn: Head) -> Outcome | None:
    """How a turn comes out that the model need not or must not be asked for."""
    if turn.cancel_requested:
        return Outcome.cancelled()
    if turn.model_id not in allowed_models():
        detail = "The chatbot's model is no longer allowed."
        return Outcome.failed("model_withdrawn", detail, turn.counted(0, 0, estimated=False))
    if next(turns.frames(turn.message_id), None) is not None:
        # Another has begun and died; asked again, the model would say something else.
        return Outcome.failed("interrupted", "The answer was interrupted.")
    return None


def _wait_for_other(message_id: str, context: Any) -> None:
    """Wait for the other producer's end, so that the machine ends the turn after it."""
    while context.get_remaining_time_in_millis() > RESERVE_MS:
        turn = turns.head(message_id)
        if turn is None or turn.outcome is not None or not turn.is_running or turn.is_dead:
            return
        time.sleep(POLL_SECONDS)
