"""What the routes of usage answer."""

from typing import Any

from chatbot.answers import Count, Money, Shape


class Sum(Shape):
    """What answers have used."""

    turns: Count
    input_tokens: Count
    output_tokens: Count
    cost: Money


class Group(Sum):
    """The sum of one day, user, chatbot or model."""

    key: str


class Usage(Shape):
    """Sums by what was asked for, in the order of their keys, and over all."""

    items: list[Group]
    total: Sum


ANSWERS: dict[str, Any] = {"read": Usage}
