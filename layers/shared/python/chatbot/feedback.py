"""Feedback in the table `feedback`, one partition a workspace, and the sums of its ratings.

Under `FEEDBACK#<conversation>#<message>#<user>` stands one user's rating of one answer, under
`SUMMARY#<chatbot>` how many there are of each rating (`rated_1` to `rated_5`). Both change in one
transaction, so the sums are exact whoever writes at the same time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chatbot import conversations, tables
from chatbot.errors import RetryLater
from chatbot.settings import settings

ATTEMPTS = 60
RATINGS = (1, 2, 3, 4, 5)


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer that is rated."""

    workspace_id: str
    chatbot_id: str
    conversation_id: str
    message_id: str

    def key(self, user_id: str) -> dict[str, str]:
        """The key of a user's rating of it."""
        item = f"{prefix(self.conversation_id)}{self.message_id}#{user_id}"
        return {"workspace_id": self.workspace_id, "item": item}


def prefix(conversation_id: str) -> str:
    """What all ratings of a conversation's answers begin with in their sort key."""
    return f"FEEDBACK#{conversation_id}#"


def summary_key(workspace_id: str, chatbot_id: str) -> dict[str, str]:
    return {"workspace_id": workspace_id, "item": f"SUMMARY#{chatbot_id}"}


def write(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> bool:
    """Replace an item by another (None: there is none) with the sums; False if it has changed.

    A new item is stored only while its conversation is there.
    """
    found = new or old
    if found is None:
        return True
    table, key = settings().feedback_table, {name: found[name] for name in ("workspace_id", "item")}
    condition = "attribute_not_exists(workspace_id)"
    values: dict[str, Any] = {}
    if old is not None:
        # With the id: one that was taken back and given again has the first version too.
        condition = "id = :id AND version = :version"
        values = {":id": old["id"], ":version": old["version"]}
    change: dict[str, Any] = {"TableName": table, "ConditionExpression": condition}
    if values:
        change["ExpressionAttributeValues"] = tables.pack(values)
    if new is None:
        actions = [{"Delete": change | {"Key": tables.pack(key)}}]
    else:
        actions = [{"Put": change | {"Item": tables.pack(new)}}, _conversation_stands(new)]
    if step := _step(old, new):
        actions.append(_count(found["workspace_id"], found["chatbot_id"], step))
    try:
        tables.transact(actions)
    except tables.TransactionCanceled:
        return False
    return True


def _step(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> dict[int, int]:
    """By how much the count of each rating changes."""
    step: dict[int, int] = {}
    for item, by in ((old, -1), (new, 1)):
        if item is not None:
            step[item["rating"]] = step.get(item["rating"], 0) + by
    return {rating: by for rating, by in step.items() if by}


def _count(workspace_id: str, chatbot_id: str, step: Mapping[int, int]) -> dict[str, Any]:
    sums = ", ".join(f"rated_{rating} :by_{rating}" for rating in step)
    return {
        "Update": {
            "TableName": settings().feedback_table,
            "Key": tables.pack(summary_key(workspace_id, chatbot_id)),
            "UpdateExpression": f"SET chatbot_id = :chatbot ADD {sums}",
            "ExpressionAttributeValues": tables.pack(
                {":chatbot": chatbot_id} | {f":by_{rating}": by for rating, by in step.items()}
            ),
        }
    }


def _conversation_stands(item: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "ConditionCheck": {
            "TableName": settings().conversations_table,
            "Key": tables.pack(conversations.head_key(item["conversation_id"])),
            "ConditionExpression": "attribute_exists(conversation_id)"
            " AND attribute_not_exists(deleting)",
        }
    }


def of_conversation(workspace_id: str, conversation_id: str) -> Iterator[dict[str, Any]]:
    """All ratings of a conversation's answers."""
    return tables.query(
        settings().feedback_table,
        "workspace_id = :workspace AND begins_with(#item, :prefix)",
        {":workspace": workspace_id, ":prefix": prefix(conversation_id)},
        ExpressionAttributeNames={"#item": "item"},
        ConsistentRead=True,
    )


def of_user(user_id: str) -> Iterator[dict[str, Any]]:
    """All ratings of a user, in every workspace."""
    return tables.query(
        settings().feedback_table, "user_id = :user", {":user": user_id}, IndexName="by_user"
    )


def remove(items: Sequence[Mapping[str, Any]]) -> None:
    """Remove ratings and their part of the sums; ones that have gone already count for nothing."""
    for item in items:
        key = {name: item[name] for name in ("workspace_id", "item")}
        for attempt in range(ATTEMPTS):
            stored = tables.get(settings().feedback_table, key)
            if write(stored, None):
                break
            tables.back_off(attempt)
        else:
            raise RetryLater("others rate the same answers")
