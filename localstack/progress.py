"""Progress on standard error: one line a step, with the seconds it took."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Show `name` now and its seconds when it is done."""
    started = time.monotonic()
    is_terminal = sys.stderr.isatty()
    if is_terminal:
        print(f"  {name} …", end="", file=sys.stderr, flush=True)
    try:
        yield
    except BaseException:
        if is_terminal:
            print(file=sys.stderr)
        raise
    seconds = f"{time.monotonic() - started:6.1f} s"
    start = "\r" if is_terminal else ""
    print(f"{start}{seconds}  {name}  ", file=sys.stderr, flush=True)
