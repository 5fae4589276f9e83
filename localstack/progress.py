"""Progress on standard error: one line a step, with the seconds it took."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_EVERY_SECONDS = 15


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def step(name: str) -> Iterator[Callable[[str], None]]:
    """Show `name` now and its seconds when it is done.

    What it yields shows how far the step is, on the same line in a terminal and now and then on a
    line of its own elsewhere.
    """
    started = shown = time.monotonic()
    in_terminal = sys.stderr.isatty()

    def seconds() -> str:
        return f"{time.monotonic() - started:6.1f} s"

    def report(state: str) -> None:
        nonlocal shown
        if in_terminal:
            print(f"\r{seconds()}  {name}: {state}\033[K", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - shown > _EVERY_SECONDS:
            shown = time.monotonic()
            say(f"{seconds()}  {name}: {state}")

    if in_terminal:
        print(f"          {name} …", end="", file=sys.stderr, flush=True)
    try:
        yield report
    except BaseException:
        if in_terminal:
            print(file=sys.stderr)
        raise
    if in_terminal:
        print("\r", end="", file=sys.stderr)
    say(f"{seconds()}  {name}" + ("\033[K" if in_terminal else ""))
