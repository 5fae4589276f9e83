"""The requests that the stand-in got, kept so that tests can see what the model was really sent."""

import time
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

_KEPT = 1000


@dataclass
class Request:
    """One call. `outcome` is `running`, `completed`, `refused`, `broken` or `aborted` (the client
    hung up); times are seconds since the epoch."""

    operation: str
    model_id: str
    body: dict[str, Any]
    started_at: float = field(default_factory=time.time)
    ended_at: float | None = None
    outcome: str = "running"
    pieces: int = 0

    def end(self, outcome: str) -> None:
        """Only the first end counts."""
        if self.ended_at is None:
            self.ended_at, self.outcome = time.time(), outcome


class Kept:
    """The last thousand requests, oldest first."""

    def __init__(self) -> None:
        self._requests: deque[Request] = deque(maxlen=_KEPT)

    def add(self, operation: str, model_id: str, body: dict[str, Any]) -> Request:
        request = Request(operation, model_id, body)
        self._requests.append(request)
        return request

    def forget(self) -> None:
        self._requests.clear()

    def as_json(self) -> list[dict[str, Any]]:
        return [asdict(request) for request in self._requests]
