"""What the routes of the audit trail answer."""

from typing import Any

from chatbot.answers import Id, Shape, Time


class Entry(Shape):
    """An act, a sign-in or a denial. `changes` tells of each field that changed `from` and `to`, or
    that its value is withheld. Without an actor it was the backend itself, or nobody known."""

    id: Id
    actor_id: Id | None
    action: str
    resource_type: str
    resource_id: Id | None
    changes: dict[str, Any]
    request_id: str | None
    created_at: Time


ANSWERS: dict[str, Any] = {"index": Entry}
