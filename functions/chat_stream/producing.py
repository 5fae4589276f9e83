"""Makes the next round of a turn that its producer has claimed."""

import time
from collections.abc import Mapping
from typing import Any

from chatbot import log, passages, quotas, tool_rounds, turns
from chatbot.closing import INTERRUPTED
from chatbot.errors import BadInput, QuotaExceeded, RetryLater
from chatbot.identifiers import now_ms
from chatbot.models import allowed_models
from chatbot.tool_rounds import Round
from chatbot.tools import Tool
from chatbot.turns import Delivered, Head, Outcome
from functions.chat_stream import request, tool_use
from functions.chat_stream.answer import Answer, Asked
from functions.chat_stream.delivery import Delivery
from functions.chat_stream.knowledge import Knowledge

TAKE_SECONDS = 0.05
DELIVERY_SECONDS = 2.0


def produce(turn: Head, producer: str, done: int, context: Any) -> Round | None:
    """Make the round after `done` rounds; it is returned where the model asked for tools in it.

    Raises `Lost` where the turn is another's, `RetryLater` where the model could not begin now.
    """
    if (early := _early_outcome(turn)) is not None:
        turns.settle(turn.message_id, producer, early)
        return None
    rounds = tool_rounds.stored(turn.message_id) if turn.spent is not None else []
    if len(rounds) > done:  # a try before this one stored it and died
        _, lease = tool_use.for_machine(rounds[-1].calls, {})
        turns.release(turn.message_id, producer, lease)
        return rounds[-1]
    frames = list(turns.frames(turn.message_id))
    if turns.text_of(frames[rounds[-1].last_seq :] if rounds else frames):
        # Another has begun this round and died; asked again, the model would say something else.
        turns.settle(turn.message_id, producer, INTERRUPTED)
        return None
    knowledge = _knowledge(turn)
    tools = tool_use.allowed(turn.context)
    try:
        asked = request.build(turn, allowed_models()[turn.model_id], knowledge, tools, rounds)
        turn = quotas.reserve_round(turn, producer, request.most(asked))
    except (BadInput, QuotaExceeded) as error:
        turns.settle(turn.message_id, producer, _refused(turn, error))
        return None
    delivery = Delivery(turn.conversation_id, turn.message_id, frames, _delivered(turn, producer))
    began_at = max((call.ended_at for made in rounds for call in made.calls), default=0)
    answer = Answer(
        turn,
        producer,
        asked,
        request.estimate(asked),
        delivery,
        max(began_at, turn.opened_at),
        context.get_remaining_time_in_millis,
    )
    try:
        outcome = answer.make()
        made = None
        if isinstance(outcome, Asked) and len(rounds) < _most_rounds(turn):
            made = _store(answer, outcome, tools, len(rounds) + 1)
        else:
            _settle(answer, outcome, knowledge)
        turns.keep_delivered(turn.message_id, delivery.finish(DELIVERY_SECONDS))
        return made
    except RetryLater as error:
        log.logger().warning("the model is busy", code=log.Code.MODEL_BUSY, reason=str(error))
        turns.keep_delivered(turn.message_id, delivery.finish(0.0))
        turns.release(turn.message_id, producer)
        raise
    finally:
        delivery.stop()


def _early_outcome(turn: Head) -> Outcome | None:
    """How a turn comes out whose model need not or must not be asked."""
    if turn.cancel_requested:
        return Outcome.cancelled()
    if turn.model_id not in allowed_models():
        detail = "The chatbot's model is no longer allowed."
        return Outcome.failed("model_withdrawn", detail, turn.counted(0, 0, estimated=False))
    return None


def _settle(answer: Answer, outcome: Outcome | Asked, knowledge: Knowledge | None) -> None:
    if isinstance(outcome, Asked):
        outcome = Outcome("completed", "tool_round_limit", outcome.usage)
    if knowledge:
        said = turns.text_of(answer.delivery.frames)
        outcome = outcome._replace(citations=knowledge.citations(said))
    turns.settle(answer.turn.message_id, answer.producer, outcome)


def _store(answer: Answer, asked: Asked, tools: Mapping[str, Tool], number: int) -> Round:
    """Store a round of tools with its frames, and have them delivered. Raises `Lost`."""
    turn, first = answer.turn, len(answer.delivery.frames) + 1
    seq = tool_rounds.round_seq(number)
    calls = tool_use.checked(asked.uses, tools, seq)
    last = first + len(calls) - 1
    made = Round(seq, answer.text, last, calls)
    frames = {n: tool_rounds.told(turn, n, call) for n, call in enumerate(calls, first)}
    _, lease = tool_use.for_machine(calls, {})
    tool_rounds.put(turn, answer.producer, made, frames, asked.usage, lease)
    answer.delivery.frames.extend(frames.values())
    return made


def _most_rounds(turn: Head) -> int:
    most: int = turn.context["chatbot"]["max_tool_rounds"]
    return most


def _delivered(turn: Head, producer: str) -> Delivered:
    """Who has got which frames. Whoever sends some of the rounds before comes to an end first."""
    until = now_ms() + turns.DELIVERY_MS
    while turn.spent is not None and now_ms() < until:
        sent = turns.take_delivery(turn.message_id, producer)
        if sent is not None:
            return sent
        time.sleep(TAKE_SECONDS)
    return {}


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
    wanted = turn.context["chatbot"]["knowledge"]
    if not wanted["enabled"]:
        return None
    found = passages.get(turn.message_id)
    if found is None:
        log.logger().error("nothing was looked up", code=log.Code.RETRIEVAL_FAILED)
    return Knowledge(found, turn.workspace_id, wanted.get("source_ids"))
