"""Conversations and their messages, one partition each of the table `conversations`.

The head (`HEAD`) holds counts, title and the lock (`running_turn`); messages stand under
`MESSAGE#<id>`, whose order is theirs.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from chatbot import tables
from chatbot.identifiers import created_at
from chatbot.settings import settings

HEAD = "HEAD"
TITLE_LENGTH = 80
READ_ALL = "conversations:read_all"  # the permission to read what others said

_CONVERSATION = ("chatbot_id", "user_id", "title", "message_count", "last_message_at")
_MESSAGE = (
    "role",
    "content",
    "status",
    "seq",
    "parent_id",
    "stop_reason",
    "tool_calls",
    "citations",
    "usage",
)


def head_key(conversation_id: str) -> dict[str, str]:
    return {"conversation_id": conversation_id, "item": HEAD}


def message_key(conversation_id: str, message_id: str) -> dict[str, str]:
    return {"conversation_id": conversation_id, "item": f"MESSAGE#{message_id}"}


def owner(workspace_id: str, user_id: str) -> str:
    """The key of the index by owner."""
    return f"{workspace_id}#{user_id}"


def new_head(
    conversation_id: str, workspace_id: str, user_id: str, chatbot_id: str, title: str | None
) -> dict[str, Any]:
    """The head of a conversation without messages."""
    at = created_at(conversation_id)
    return head_key(conversation_id) | {
        "workspace_id": workspace_id,
        "user_id": user_id,
        "chatbot_id": chatbot_id,
        "title": title,
        "message_count": 0,
        "last_message_at": None,
        "last_message_id": None,
        "created_at": at,
        "updated_at": at,
        "version": 1,
        "owner": owner(workspace_id, user_id),
        "created_key": f"{at}#{conversation_id}",
    }


def new_message(
    conversation_id: str, message_id: str, seq: int, role: str, content: str, **fields: Any
) -> dict[str, Any]:
    """A message as it is stored; `seq` is its place in the conversation, from 1."""
    at = created_at(message_id)
    return message_key(conversation_id, message_id) | {
        "message_id": message_id,
        "seq": seq,
        "role": role,
        "content": content,
        "status": "completed",
        "parent_id": None,
        "stop_reason": None,
        "tool_calls": [],
        "citations": [],
        "usage": None,
        "created_at": at,
        "updated_at": at,
        **fields,
    }


def title_from(content: str) -> str:
    """A title from the first message: its first words, on one line."""
    line = " ".join(content.split())
    if len(line) <= TITLE_LENGTH:
        return line
    cut = line[:TITLE_LENGTH]
    return (cut.rsplit(" ", 1)[0] if " " in cut else cut) + "…"


def any_head(conversation_id: str) -> dict[str, Any] | None:
    """A conversation's head, even if its deletion has begun."""
    return tables.get(settings().conversations_table, head_key(conversation_id))


def head(conversation_id: str) -> dict[str, Any] | None:
    """A conversation's head as it is now; None where there is none, or it is being deleted."""
    item = any_head(conversation_id)
    return None if item is None or item.get("deleting") else item


def message(conversation_id: str, message_id: str) -> dict[str, Any] | None:
    """A stored message, or None."""
    return tables.get(settings().conversations_table, message_key(conversation_id, message_id))


def roles(conversation_id: str) -> Iterator[dict[str, Any]]:
    """{message_id, role} of all messages, oldest first."""
    return tables.query(
        settings().conversations_table,
        "conversation_id = :conversation AND begins_with(#item, :message)",
        {":conversation": conversation_id, ":message": "MESSAGE#"},
        ExpressionAttributeNames={"#item": "item", "#role": "role"},
        ProjectionExpression="message_id, #role",
        ConsistentRead=True,
    )


def messages_before(conversation_id: str, message_id: str) -> Iterator[dict[str, Any]]:
    """The messages before another one, newest first."""
    until = tables.query(
        settings().conversations_table,
        "conversation_id = :conversation AND #item BETWEEN :first AND :last",
        {
            ":conversation": conversation_id,
            ":first": "MESSAGE#",
            ":last": f"MESSAGE#{message_id}",
        },
        ExpressionAttributeNames={"#item": "item"},
        ScanIndexForward=False,
        ConsistentRead=True,
    )
    # BETWEEN counts its ends in.
    return (item for item in until if item["message_id"] != message_id)


def conversation_json(item: Mapping[str, Any]) -> dict[str, Any]:
    """A head as the contract's Conversation, with its `version` for the ETag."""
    return {
        "id": item["conversation_id"],
        **{name: item[name] for name in _CONVERSATION},
        "created_at": item["created_at"],
        "updated_at": item["updated_at"],
        "version": item["version"],
    }


def tool_call_json(call: Mapping[str, Any]) -> dict[str, Any]:
    """A stored call of a tool as the contract's; its input is kept as JSON."""
    names = ("tool_use_id", "tool", "status", "output")
    return {name: call[name] for name in names} | {"input": json.loads(call["input"])}


def message_json(item: Mapping[str, Any]) -> dict[str, Any]:
    """A stored message as the contract's Message."""
    shown = {"id": item["message_id"], **{name: item[name] for name in _MESSAGE}}
    shown["tool_calls"] = [tool_call_json(call) for call in item["tool_calls"]]
    if item.get("error"):
        shown["error"] = item["error"]
    return shown | {"created_at": item["created_at"], "updated_at": item["updated_at"]}
