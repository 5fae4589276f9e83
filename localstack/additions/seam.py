"""How an addition takes hold of MiniStack: only where what it replaces is as it was when pinned."""

import inspect
from types import ModuleType
from typing import Any

PINNED = "1.5.33"


class SeamMissing(RuntimeError):
    """MiniStack no longer has what an addition replaces or calls."""


def require(module: ModuleType, name: str, *parameters: str) -> Any:
    """The function of that name, which must take exactly these parameters.

    Raises SeamMissing, naming the pinned version, if it is gone or takes others.
    """
    found = getattr(module, name, None)
    taken = list(inspect.signature(found).parameters) if callable(found) else None
    if taken != list(parameters):
        there = "nothing" if taken is None else f"({', '.join(taken)})"
        raise SeamMissing(
            f"{module.__name__}.{name}({', '.join(parameters)}) is expected of MiniStack {PINNED}, "
            f"found {there}: pin ministack=={PINNED} or adapt the addition."
        )
    return found


def replace(module: ModuleType, name: str, replacement: Any) -> Any:
    """Put a function of the same parameters in its place; returns what was there."""
    stock = require(module, name, *inspect.signature(replacement).parameters)
    setattr(module, name, replacement)
    return stock
