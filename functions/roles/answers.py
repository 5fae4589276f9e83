"""What the routes of roles answer."""

from typing import Any

from chatbot.answers import Resource
from chatbot.permissions import Permission


class Role(Resource):
    """A set of permissions. System roles come with the workspace and are read-only."""

    name: str
    permissions: list[Permission]
    is_system: bool


ANSWERS: dict[str, Any] = {
    "permissions": Permission,
    "index": Role,
    "create": Role,
    "read": Role,
    "update": Role,
}
