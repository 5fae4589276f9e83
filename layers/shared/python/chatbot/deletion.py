"""The deletion of a conversation as its user sees it: at once. A purge removes what is left."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chatbot import closing, conversations, tables
from chatbot.errors import Conflict, PreconditionFailed
from chatbot.settings import settings
from chatbot.turns import Head, Outcome

ATTEMPTS = 20
DELETING = "DELETING"  # the partition that lists conversations whose purge is due


def mark(conversation_id: str, if_match: Sequence[str] | None = None) -> None:
    """End the running turn, and from then on let nobody find the conversation or open a turn.

    Raises `PreconditionFailed`, and `Conflict` where a new turn comes between each time.
    """
    for attempt in range(ATTEMPTS):
        head = conversations.any_head(conversation_id)
        if head is None or head.get("deleting"):
            return
        if if_match is not None and str(head["version"]) not in if_match:
            raise PreconditionFailed
        if running := head.get("running_turn"):
            closing.end(running, _cancelled)
            if_match = None  # the end of the turn has made a new version of it
        try:
            tables.transact([_closed(conversation_id), _listed(head)])
            return
        except tables.TransactionCanceled:
            tables.back_off(attempt)
    raise Conflict("The conversation is busy.", headers={"Retry-After": "1"})


def _cancelled(_: Head) -> Outcome:
    return Outcome.cancelled()


def _closed(conversation_id: str) -> dict[str, Any]:
    """Out of all indexes, and closed to new turns."""
    return tables.update(
        settings().conversations_table,
        conversations.head_key(conversation_id),
        "SET deleting = :true REMOVE created_key",
        {":true": True},
        "attribute_exists(conversation_id) AND attribute_not_exists(running_turn)",
    )


def _listed(head: Mapping[str, Any]) -> dict[str, Any]:
    entry = _entry(head["conversation_id"])
    whose = {name: head[name] for name in ("workspace_id", "user_id")}
    return {
        "Put": {"TableName": settings().conversations_table, "Item": tables.pack(entry | whose)}
    }


def _entry(conversation_id: str) -> dict[str, str]:
    return {"conversation_id": DELETING, "item": conversation_id}


def due() -> Iterator[dict[str, Any]]:
    """{item: the id, workspace_id, user_id} of the conversations that are marked and not gone."""
    return tables.query(
        settings().conversations_table,
        "conversation_id = :deleting",
        {":deleting": DELETING},
        ConsistentRead=True,
    )


def forget(conversation_id: str) -> None:
    """Remove the head and its mention: the last step."""
    keys = (conversations.head_key(conversation_id), _entry(conversation_id))
    actions = [
        {"Delete": {"TableName": settings().conversations_table, "Key": tables.pack(key)}}
        for key in keys
    ]
    for attempt in range(ATTEMPTS):
        try:
            tables.transact(actions)
            return
        except tables.TransactionCanceled:
            tables.back_off(attempt)
    raise Conflict("The conversation is busy.")
