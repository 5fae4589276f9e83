"""What the routes of accounts answer."""

from typing import Any

from chatbot.answers import User

ANSWERS: dict[str, Any] = {
    "read": User,
    "update": User,
    "index": User,
    "create_user": User,
    "read_user": User,
    "update_user": User,
}
