"""Makes one answer: the model's pieces are gathered, stored as frames, and sent."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from chatbot import connections, log, turns
from chatbot.errors import RetryLater
from chatbot.identifiers import now_ms
from chatbot.turns import Head, Outcome
from functions.chat_stream.delivery import Delivery
from functions.chat_stream.model import Broken, Closed, Event, Reader, Stop, Text, Usage
from functions.chat_stream.tool_use import Use

GATHER_SECONDS = 0.15
TICK_SECONDS = 0.05
RENEW_SECONDS = 1.0
FIRST_TEXT_MS = 45_000  # from the beginning of the round, all retries included
SILENCE_SECONDS = 30.0  # between two events of a stream that has begun
RESERVE_MS = 60_000  # of the Lambda's time, to end in good order
MAX_ANSWER_BYTES = 300_000  # a DynamoDB item holds 400 KB

STALLED = ("model_stalled", "The model fell silent.")
PARAGRAPH = "\n\n"  # between what the model says before and after its use of tools

BROKEN = ("model_error", "The model's answer broke off.")


class Asked(NamedTuple):
    """The model stopped to use tools. `usage` is the turn's so far."""

    uses: list[Use]
    usage: dict[str, Any]


class Answer:
    """A producer at work on a round of a turn that it has claimed; the rounds before have left
    their frames with the delivery. `Lost` goes through to the caller."""

    def __init__(
        self,
        turn: Head,
        producer: str,
        request: dict[str, Any],
        input_estimate: int,
        delivery: Delivery,
        began_at: int,
        remaining_ms: Callable[[], int],
    ) -> None:
        self.turn, self.producer, self.delivery = turn, producer, delivery
        self._request, self._input_estimate = request, input_estimate
        self._began_at, self._remaining_ms = began_at, remaining_ms
        self._before = turns.text_of(delivery.frames)
        self._uses: list[Use] = []
        self._gathered: list[str] = []
        self._is_alive = False
        self._text_bytes = 0
        self._stop: str | None = None
        self._usage: Usage | None = None
        self._flushed_at = self._renewed_at = 0.0
        self._heard_at = time.monotonic()

    def make(self) -> Outcome | Asked:
        """Ask the model and work until the round has come out, one way or another.

        Raises `RetryLater` where the model could not begin now, `Lost` where the turn is another's.
        """
        reader = Reader(self._request)
        try:
            while True:
                outcome = self._on_event(reader.next(TICK_SECONDS)) or self._on_time()
                self._flush(at_once=outcome is not None)
                self.delivery.pump()
                if outcome is not None:
                    return outcome
        finally:
            reader.stop()

    @property
    def _has_text(self) -> bool:
        return self._text_bytes > 0

    def _on_event(self, event: Event | None) -> Outcome | Asked | None:
        if event is not None:
            self._heard_at = time.monotonic()
            self._is_alive = True
        match event:
            case Text(text) if text:
                return self._on_text(text)
            case Use():
                self._uses.append(event)
            case Stop(reason):
                self._stop = reason
            case Usage():
                self._usage = event
            case Closed() | Broken() if self._stop == "tool_use" and self._uses:
                return Asked(self._uses, self._counted())
            case Closed() | Broken() if self._stop is not None:
                return self._completed("end_turn" if self._stop == "tool_use" else self._stop)
            case Closed():
                return self._broken(Broken("modelstreamerrorexception"))
            case Broken():
                return self._broken(event)
        return None

    def _on_text(self, text: str) -> Outcome | None:
        if self._before and not self._has_text:
            self._gathered.append(PARAGRAPH)
        elif not self._has_text:
            log.measure(TimeToFirstToken=now_ms() - self.turn.opened_at)
        self._gathered.append(text)
        self._text_bytes += len(text.encode())
        whole = len(self._before.encode()) + len(PARAGRAPH) + self._text_bytes
        return self._completed("max_tokens") if whole > MAX_ANSWER_BYTES else None

    def _broken(self, error: Broken) -> Outcome:
        log.logger().warning("stream broke", code=log.Code.MODEL_FAILED, reason=error.code)
        late = now_ms() - self._began_at > FIRST_TEXT_MS
        if error.is_temporary and not self._has_text and not late:
            raise RetryLater(error.code)
        return Outcome.failed(*BROKEN, self._counted())

    def _on_time(self) -> Outcome | None:
        now = time.monotonic()
        if now - self._renewed_at >= RENEW_SECONDS:
            self._renewed_at = now
            head = turns.renew(self.turn.message_id, self.producer, self._input_estimate)
            self.delivery.follow(connections.followers(self.turn.conversation_id))
            if head.cancel_requested:
                return Outcome.cancelled(self._counted())
        if self._remaining_ms() < RESERVE_MS:
            return self._completed("time_limit")
        if self._is_alive:
            stalled = now - self._heard_at > SILENCE_SECONDS
        else:
            stalled = now_ms() - self._began_at > FIRST_TEXT_MS
        return Outcome.failed(*STALLED, self._counted()) if stalled else None

    def _completed(self, reason: str) -> Outcome:
        return Outcome("completed", reason, self._counted())

    def _counted(self) -> dict[str, Any]:
        """The model's own count, or an estimate where it did not get to count, and all before."""
        if self._usage is not None:
            return self.turn.counted(*self._usage, estimated=False)
        return self.turn.counted(self._input_estimate, (self._text_bytes + 3) // 4, estimated=True)

    @property
    def text(self) -> str:
        """What the model has said in this round."""
        return turns.text_of(self.delivery.frames)[len(self._before) :]

    def _flush(self, at_once: bool) -> None:
        """Store what was gathered as frames; the delivery sends them. Raises `Lost`."""
        now = time.monotonic()
        if not self._gathered or not (at_once or now - self._flushed_at >= GATHER_SECONDS):
            return
        self._flushed_at = now
        text = "".join(self._gathered)
        self._gathered.clear()
        for piece in turns.pieces(text):
            seq = len(self.delivery.frames) + 1
            frame = turns.encode(
                {
                    "type": "assistant",
                    "status": "streaming",
                    "message_id": self.turn.message_id,
                    "conversation_id": self.turn.conversation_id,
                    "seq": seq,
                    "content": piece,
                    "request_id": self.turn.request_id,
                }
            )
            turns.append(self.turn.message_id, seq, frame, self.producer)
            self.delivery.frames.append(frame)
