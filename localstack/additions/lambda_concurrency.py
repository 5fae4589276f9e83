"""How many calls of one function run at a time; the others wait, where AWS would start more.

500 sockets that call a function at once would start 300 workers, 9 GB, on a machine whose cores
are busy with eight. But calls that last, such as those that stream answers, mostly wait: AWS runs
fifty of them side by side, and so does this.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SHORT_CALLS = 8
ALL_CALLS = 64
# A call that runs for longer no longer keeps the next one from starting.
SHORT_SECONDS = 1.5


class Places:
    """The running calls of one function."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._begun: list[float] = []

    @contextmanager
    def one(self) -> Iterator[None]:
        """Wait for a place, and keep it meanwhile."""
        with self._changed:
            while (wait := self._seconds_to_wait()) > 0:
                self._changed.wait(wait)
            begun = time.monotonic()
            self._begun.append(begun)
        try:
            yield
        finally:
            with self._changed:
                self._begun.remove(begun)
                self._changed.notify()

    def _seconds_to_wait(self) -> float:
        """0 if there is a place, else until one may come without any call's end."""
        if len(self._begun) >= ALL_CALLS:
            return SHORT_SECONDS
        latest = self._begun[-SHORT_CALLS:]
        if len(latest) < SHORT_CALLS:
            return 0
        return latest[0] + SHORT_SECONDS - time.monotonic()
