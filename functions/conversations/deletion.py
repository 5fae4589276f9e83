"""Deletes a conversation: its running turn is ended first, its head goes last."""

from collections.abc import Sequence

from botocore.exceptions import ClientError

from chatbot import closing, connections, conversations, tables
from chatbot.aws import client
from chatbot.errors import Conflict, PreconditionFailed
from chatbot.settings import settings
from chatbot.turns import Head, Outcome
from functions.conversations import storage

ATTEMPTS = 5


def delete(conversation_id: str, if_match: Sequence[str] | None) -> None:
    """Delete all of it. Broken off in the middle, the next call goes on.

    Raises `PreconditionFailed`, and `Conflict` where a new turn comes between each time.
    """
    _mark(conversation_id, if_match)
    table = settings().conversations_table
    rows = list(
        tables.query(
            table,
            "conversation_id = :conversation AND begins_with(#item, :message)",
            {":conversation": conversation_id, ":message": "MESSAGE#"},
            ExpressionAttributeNames={"#item": "item", "#role": "role"},
            ProjectionExpression="message_id, #role",
            ConsistentRead=True,
        )
    )
    for message_id in (row["message_id"] for row in rows if row["role"] == "assistant"):
        _delete_turn(message_id)
    tables.delete_all(
        table, [conversations.message_key(conversation_id, row["message_id"]) for row in rows]
    )
    followers = [f.connection_id for f in connections.followers(conversation_id)]
    connections.unfollow(conversation_id, followers)
    client("dynamodb").delete_item(
        TableName=table, Key=tables.pack(conversations.head_key(conversation_id))
    )


def _mark(conversation_id: str, if_match: Sequence[str] | None) -> None:
    """End the running turn, and from then on let nobody find the conversation or open a turn."""
    for _ in range(ATTEMPTS):
        head = storage.any_head(conversation_id)
        if head is None or head.get("deleting"):
            return
        if if_match is not None and str(head["version"]) not in if_match:
            raise PreconditionFailed
        if running := head.get("running_turn"):
            closing.end(running, _cancelled)
            if_match = None  # the end of the turn has made a new version of it
        if _marked(conversation_id):
            return
    raise Conflict("The conversation is busy.", headers={"Retry-After": "1"})


def _cancelled(_: Head) -> Outcome:
    return Outcome.cancelled()


def _marked(conversation_id: str) -> bool:
    """Out of both indexes, and closed to new turns; False where one has just been opened."""
    try:
        client("dynamodb").update_item(
            TableName=settings().conversations_table,
            Key=tables.pack(conversations.head_key(conversation_id)),
            UpdateExpression="SET deleting = :true REMOVE created_key",
            ConditionExpression="attribute_exists(conversation_id)"
            " AND attribute_not_exists(running_turn)",
            ExpressionAttributeValues=tables.pack({":true": True}),
        )
    except ClientError as error:
        if not tables.is_condition_failure(error):
            raise
        return False
    return True


def _delete_turn(message_id: str) -> None:
    keys = tables.query(
        settings().turns_table,
        "message_id = :turn",
        {":turn": message_id},
        ProjectionExpression="message_id, seq",
        ConsistentRead=True,
    )
    tables.delete_all(settings().turns_table, list(keys))
