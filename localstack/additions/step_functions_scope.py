"""What a running execution waits on, so that an end of it interrupts every wait at once.

A scope is one execution, or one branch or iteration within it. MiniStack keeps a thread for each;
the threads find their scope in a context variable, which MiniStack already copies into the
threads that it starts.
"""

import contextvars
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Any


class Ended(BaseException):
    """The scope has ended: leave without touching the execution. No error handler may catch it."""


class TimedOut(Exception):
    """The work did not finish in time; it goes on unseen, as a Lambda does on AWS."""


class Scope:
    """Something that runs until it is ended, by itself or together with what it is part of."""

    def __init__(self, parent: "Scope | None" = None) -> None:
        self._lock = threading.Lock()
        self._wakes: set[threading.Event] = set()
        self._parts: list[Scope] = []
        self.ended = False
        if parent is not None:
            parent._add(self)

    def _add(self, part: "Scope") -> None:
        with self._lock:
            self._parts = [each for each in self._parts if not each.ended]
            self._parts.append(part)
            ended = self.ended
        if ended:
            part.end()

    def end(self) -> None:
        """End this scope and all its parts, and wake whoever waits in them."""
        with self._lock:
            self.ended = True
            wakes, parts = list(self._wakes), list(self._parts)
        for wake in wakes:
            wake.set()
        for part in parts:
            part.end()

    def check(self) -> None:
        """Raise Ended if the scope has ended."""
        if self.ended:
            raise Ended

    @contextmanager
    def wake(self) -> Iterator[threading.Event]:
        """An event that is set when the scope ends; the caller sets it for its own reasons too."""
        event = threading.Event()
        with self._lock:
            self._wakes.add(event)
            if self.ended:
                event.set()
        try:
            yield event
        finally:
            with self._lock:
                self._wakes.discard(event)

    def sleep(self, seconds: float) -> None:
        """Wait, or raise Ended as soon as the scope ends."""
        if seconds > 0:
            with self.wake() as event:
                event.wait(seconds)
        self.check()


_scope: contextvars.ContextVar[Scope | None] = contextvars.ContextVar("scope", default=None)


def current() -> Scope:
    """The scope of this thread; outside of an execution (TestState) one that never ends."""
    return _scope.get() or Scope()


@contextmanager
def within(scope: Scope | None) -> Iterator[None]:
    """Make this the thread's scope; None leaves the execution that the thread belongs to."""
    token = _scope.set(scope)
    try:
        yield
    finally:
        _scope.reset(token)


def part() -> Scope:
    """A new scope that ends with the thread's own."""
    return Scope(_scope.get())


def _start(work: Callable[[], None]) -> None:
    threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True).start()


def call(work: Callable[[], Any], seconds: float | None) -> Any:
    """The result of the work, done in a thread of its own.

    Raises what the work raises, TimedOut after so many seconds, Ended when the scope ends first.
    """
    outcome: list[tuple[Any, BaseException | None]] = []
    scope = current()
    with scope.wake() as wake:

        def run() -> None:
            try:
                outcome.append((work(), None))
            except BaseException as error:  # noqa: BLE001 - handed to the waiting thread
                outcome.append((None, error))
            wake.set()

        _start(run)
        wake.wait(seconds)
    scope.check()
    if not outcome:
        raise TimedOut
    result, error = outcome[0]
    if error is not None:
        raise error
    return result


def side_by_side(jobs: list[Callable[[], Any]], limit: int) -> list[Any]:
    """The results of the jobs, in their order, at most so many at a time.

    The first job to fail ends the others and is raised at once, without waiting for them.
    """
    results: list[Any] = [None] * len(jobs)
    failures: list[BaseException] = []
    waiting: SimpleQueue[int] = SimpleQueue()
    for index in range(len(jobs)):
        waiting.put(index)
    left, lock = len(jobs), threading.Lock()
    scope, inner = current(), part()
    with scope.wake() as wake:

        def run() -> None:
            nonlocal left
            with within(inner), suppress(Empty, Ended):
                while True:
                    inner.check()
                    index = waiting.get_nowait()
                    try:
                        results[index] = jobs[index]()
                    except Exception as error:  # noqa: BLE001 - raised by the waiting thread
                        failures.append(error)
                        inner.end()
                        wake.set()
                        return
                    with lock:
                        left -= 1
                        done = left == 0
                    if done:
                        wake.set()

        for _ in range(min(len(jobs), limit)):
            _start(run)
        if jobs:
            wake.wait()
    inner.end()
    scope.check()
    if failures:
        raise failures[0]
    return results
