"""What the routes of workspaces answer."""

from typing import Any

from chatbot.answers import Workspace

ANSWERS: dict[str, Any] = {
    "index": Workspace,
    "create": Workspace,
    "read": Workspace,
    "update": Workspace,
    "delete": Workspace,
}
