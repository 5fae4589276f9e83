"""What a connection's user may do, asked in PostgreSQL for each frame: a connection outlives its
access token, but not its user, membership or permission."""

from typing import Any

from chatbot import database
from chatbot.connections import Connection


def chat_context(connection: Connection, chatbot_id: str) -> dict[str, Any]:
    """{user, workspace, chatbot} for a chat with a chatbot in one of the user's workspaces.

    Raises `Unauthorized` (no active user of that token version), `Forbidden`, `NotFound`.
    """
    params = {
        "user_id": connection.user_id,
        "token_version": connection.token_version,
        "chatbot_id": chatbot_id,
    }
    context: dict[str, Any] = database.call("app.chat_context", params, repeatable=True)
    return context


def permissions(connection: Connection, workspace_id: str) -> list[str]:
    """The user's permissions in a workspace where they may chat. Raises as `chat_context` does."""
    held: list[str] = database.query(
        connection, "SELECT app.permissions()", workspace_id=workspace_id, permission="chat:use"
    )
    return held
