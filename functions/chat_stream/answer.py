"""Makes one answer: the model's pieces are gathered, stored as frames, and sent."""

import time
from collections.abc import Callable
from typing import Any

from chatbot import connections, log, turns
from chatbot.errors import RetryLater
from chatbot.identifiers import now_ms
from chatbot.turns import Head, Outcome
from functions.chat_stream.delivery import Delivery
from functions.chat_stream.model import Broken, Closed, Event, Reader, Stop, Text, Usage

GATHER_SECONDS = 0.15
TICK_SECONDS = 0.05
RENEW_SECONDS = 1.0
FIRST_TEXT_MS = 45_000  # from the opening of the turn, all retries included
SILENCE_SECONDS = 30.0  # between two events of a stream that has begun
RESERVE_MS = 60_000  # of the Lambda's time, to end in good order
MAX_ANSWER_BYTES = 300_000  # a DynamoDB item holds 400 KB

STALLED = ("model_stalled", "The model fell silent.")
BROKEN = ("model_error", "The model's answer broke off.")


class Answer:
    """A producer at work on a turn that it has claimed. `Lost` goes through to the caller."""

    def __init__(
        self,
        turn: Head,
        producer: str,
        request: dict[str, Any],
        input_estimate: int,
        remaining_ms: Callable[[], int],
    ) -> None:
        self.turn, self.producer = turn, producer
        self.delivery = Delivery(turn.conversation_id, turn.message_id)
        self._request, self._input_estimate = request, input_estimate
        self._remaining_ms = remaining_ms
        self._gathered: list[str] = []
        self._text_bytes = 0
        self._stop: str | None = None
        self._usage: Usage | None = None
        self._flushed_at = self._renewed_at = 0.0
        self._heard_at = time.monotonic()

    def make(self) -> Outcome:
        """Ask the model and work until the answer has come out, one way or another.

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

    def _on_event(self, event: Event | None) -> Outcome | None:
        if event is not None:
            self._heard_at = time.monotonic()
        match event:
            case Text(text) if text:
                if not self._has_text:
                    log.measure(TimeToFirstToken=now_ms() - self.turn.opened_at)
                self._gathered.append(text)
                self._text_bytes += len(text.encode())
                if self._text_bytes > MAX_ANSWER_BYTES:
                    return self._completed("max_tokens")
            case Stop(reason):
                self._stop = reason
            case Usage():
                self._usage = event
            case Closed() | Broken() if self._stop is not None:
                return self._completed(self._stop)
            case Closed():
                return self._broken(Broken("modelstreamerrorexception"))
            case Broken():
                return self._broken(event)
        return None

    def _broken(self, error: Broken) -> Outcome:
        log.logger().warning("stream broke", code=log.Code.MODEL_FAILED, reason=error.code)
        late = now_ms() - self.turn.opened_at > FIRST_TEXT_MS
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
        if self._has_text:
            stalled = now - self._heard_at > SILENCE_SECONDS
        else:
            stalled = now_ms() - self.turn.opened_at > FIRST_TEXT_MS
        return Outcome.failed(*STALLED, self._counted()) if stalled else None

    def _completed(self, reason: str) -> Outcome:
        return Outcome("completed", reason, self._counted())

    def _counted(self) -> dict[str, Any]:
        """The model's own count, or an estimate where it did not get to count, and all before."""
        if self._usage is not None:
            return self.turn.counted(*self._usage, estimated=False)
        return self.turn.counted(self._input_estimate, (self._text_bytes + 3) // 4, estimated=True)

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
