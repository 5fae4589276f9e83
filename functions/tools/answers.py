"""What the route of tools answers."""

from typing import Any

from chatbot.answers import Shape


class Tool(Shape):
    """A function that a chatbot may call. With `requires_approval` its user is asked first."""

    name: str
    description: str
    input_schema: dict[str, Any]
    requires_approval: bool


ANSWERS: dict[str, Any] = {"index": Tool}
