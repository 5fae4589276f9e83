"""What the routes of accounts answer."""

from typing import Any

from chatbot.answers import User

ANSWERS: dict[str, Any] = {"read": User, "update": User}
