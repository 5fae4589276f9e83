"""Renders a chatbot's system prompt, a template that its editors wrote and nobody checked."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from chatbot.errors import BadInput

MAX_SECONDS = 2.0
MAX_CHARACTERS = 100_000


def render(context: dict[str, Any]) -> str:
    """The system prompt for {user, workspace, chatbot}, with `now` (aware, UTC) beside them.

    Raises `BadInput` where the template fails, or takes too long, or grows too large.
    """
    template: str = context["chatbot"]["system_prompt"]
    if "{" not in template:
        return template
    with _limited():
        return _rendered(template, context)


def _rendered(template: str, context: dict[str, Any]) -> str:
    from jinja2 import TemplateError

    from chatbot.templates import environment

    names = {
        "user": context["user"],
        "workspace": {k: v for k, v in context["workspace"].items() if k != "quota"},
        "chatbot": {
            k: context["chatbot"].get(k) for k in ("id", "name", "description", "model_id")
        },
        "now": datetime.now(UTC),
    }
    found, size = [], 0
    try:
        for part in environment().from_string(template).generate(names):
            size += len(part)
            if size > MAX_CHARACTERS:
                raise BadInput("the system prompt grows too large")
            found.append(part)
    except (
        TemplateError,
        ArithmeticError,
        LookupError,
        TypeError,
        ValueError,
        RecursionError,
        AttributeError,
        MemoryError,
    ) as error:  # whatever an expression of theirs may raise
        raise BadInput(f"the system prompt does not render: {type(error).__name__}") from None
    return "".join(found)


@contextmanager
def _limited() -> Iterator[None]:
    """Break off what runs too long. Python code only stops for a signal, and Lambda's handlers
    run in the main thread, where signals arrive."""

    def stop(*_: object) -> None:
        raise BadInput("the system prompt takes too long to render")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, MAX_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
