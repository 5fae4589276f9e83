"""What the routes of the platform answer; the page, a media type and no shape."""

from typing import Any, Literal

from chatbot.answers import Shape


class Health(Shape):
    """Which version answers."""

    status: Literal["ok"]
    version: str
    environment: str


class Checks(Shape):
    """Whether each store answers."""

    postgresql: Literal["ok", "failed"]
    dynamodb: Literal["ok", "failed"]


class Readiness(Shape):
    """Whether the stores answer."""

    status: Literal["ok", "failed"]
    version: str
    environment: str
    checks: Checks


ANSWERS: dict[str, Any] = {
    "health": Health,
    "live": Health,
    "ready": {200: Readiness, 503: Readiness},
    "openapi": dict[str, Any],
    "asyncapi": dict[str, Any],
    "docs": "text/html",
}
