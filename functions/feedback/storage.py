"""What the routes read and write of the table `feedback`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from chatbot import conversations, feedback, tables
from chatbot.errors import Conflict, NotFound, PreconditionFailed
from chatbot.feedback import ATTEMPTS, RATINGS, Answered
from chatbot.identifiers import created_at, new_id, now_ms, timestamp
from chatbot.paging import Page
from chatbot.settings import settings

_SHOWN = (
    "id",
    "conversation_id",
    "message_id",
    "chatbot_id",
    "user_id",
    "rating",
    "comment",
    "created_at",
    "updated_at",
    "version",
)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which ratings are asked for: of a chatbot, of one number of points, of a time.

    `since` and `until` are as `parameters.moment` reads them, both counted in.
    """

    workspace_id: str
    chatbot_id: str | None
    rating: int | None
    since: str | None
    until: str | None


def put(answer: Answered, user_id: str, rating: int, comment: str | None) -> dict[str, Any]:
    """Store a user's rating in the place of an earlier one. Raises `NotFound`, `Conflict`."""
    for attempt in range(ATTEMPTS):
        old = tables.get(settings().feedback_table, answer.key(user_id))
        new = _rated(answer, user_id, old) | {"rating": rating, "comment": comment}
        if feedback.write(old, new):
            return _json(new)
        if conversations.head(answer.conversation_id) is None:
            raise NotFound
        tables.back_off(attempt)
    raise _busy()


def delete(answer: Answered, user_id: str, if_match: Sequence[str] | None) -> None:
    """Remove a user's rating. Raises `NotFound`, `PreconditionFailed`, `Conflict`."""
    for attempt in range(ATTEMPTS):
        old = tables.get(settings().feedback_table, answer.key(user_id))
        if old is None:
            raise NotFound
        if if_match is not None and str(old["version"]) not in if_match:
            raise PreconditionFailed
        if feedback.write(old, None):
            return
        tables.back_off(attempt)
    raise _busy()


def _rated(answer: Answered, user_id: str, old: Mapping[str, Any] | None) -> dict[str, Any]:
    """The item of a rating, without what the user says."""
    if old is not None:
        return {**old, "version": old["version"] + 1, "updated_at": timestamp(now_ms())}
    feedback_id = new_id()
    at = created_at(feedback_id)
    return answer.key(user_id) | {
        "id": feedback_id,
        "conversation_id": answer.conversation_id,
        "message_id": answer.message_id,
        "chatbot_id": answer.chatbot_id,
        "user_id": user_id,
        "created_at": at,
        "updated_at": at,
        "version": 1,
        "created_key": f"{at}#{feedback_id}",
        "chatbot": f"{answer.workspace_id}#{answer.chatbot_id}",
    }


def _busy() -> Conflict:
    return Conflict("Others rate the same answers.", headers={"Retry-After": "1"})


def _json(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: item[name] for name in _SHOWN}


def listed(chosen: Selection, page: Page) -> dict[str, Any]:
    """A page of the chosen ratings, newest first: {items, more}."""
    rows = list(islice(_rows(chosen, page), page.limit + 1))
    return {"items": [_json(row) for row in rows[: page.limit]], "more": len(rows) > page.limit}


def _rows(chosen: Selection, page: Page | None = None) -> Iterator[dict[str, Any]]:
    """The chosen ratings, newest first; of a page those after it, and about as many as it takes."""
    index, attribute, value = "by_workspace", "workspace_id", chosen.workspace_id
    if chosen.chatbot_id is not None:
        index, attribute = "by_chatbot", "chatbot"
        value = f"{chosen.workspace_id}#{chosen.chatbot_id}"
    last = f"{chosen.until or ''}~"
    if page is not None and page.after is not None:
        last = min(last, "#".join(page.after))
    first = chosen.since or ""
    if first >= last:
        return iter(())
    options: dict[str, Any] = {"IndexName": index, "ScanIndexForward": False}
    values: dict[str, Any] = {":value": value, ":first": first or "0", ":last": last}
    if chosen.rating is not None:
        options["FilterExpression"] = "rating = :rating"
        values[":rating"] = chosen.rating
    elif page is not None:
        options["Limit"] = page.limit + 2  # BETWEEN counts the last page's end in
    rows = tables.query(
        settings().feedback_table,
        f"{attribute} = :value AND created_key BETWEEN :first AND :last",
        values,
        **options,
    )
    return (row for row in rows if row["created_key"] != last)


def summary(chosen: Selection) -> dict[str, Any]:
    """Counts of the chosen ratings, in all and by chatbot.

    Of all times they are counters, in step with the ratings; of a time the ratings are counted.
    """
    by_chatbot: dict[str, dict[int, int]] = {}
    if chosen.since is None and chosen.until is None:
        for row in _summaries(chosen):
            counts = {rating: row.get(f"rated_{rating}", 0) for rating in RATINGS}
            if chosen.rating is not None:
                counts = {chosen.rating: counts[chosen.rating]}
            if any(counts.values()):
                by_chatbot[row["chatbot_id"]] = counts
    else:
        for row in _rows(chosen):
            counts = by_chatbot.setdefault(row["chatbot_id"], {})
            counts[row["rating"]] = counts.get(row["rating"], 0) + 1
    total = {r: sum(counts.get(r, 0) for counts in by_chatbot.values()) for r in RATINGS}
    chatbots = {chatbot_id: _counts(by_chatbot[chatbot_id]) for chatbot_id in sorted(by_chatbot)}
    return _counts(total) | {"by_chatbot": chatbots}


def _summaries(chosen: Selection) -> Iterator[dict[str, Any]]:
    one = chosen.chatbot_id
    return tables.query(
        settings().feedback_table,
        f"workspace_id = :workspace AND {'#item = :item' if one else 'begins_with(#item, :item)'}",
        {":workspace": chosen.workspace_id, ":item": f"SUMMARY#{one or ''}"},
        ExpressionAttributeNames={"#item": "item"},
        ConsistentRead=True,
    )


def _counts(by_rating: Mapping[int, int]) -> dict[str, Any]:
    count = sum(by_rating.values())
    points = sum(rating * number for rating, number in by_rating.items())
    return {
        "count": count,
        "mean": points / count if count else None,
        "by_rating": {str(rating): by_rating.get(rating, 0) for rating in RATINGS},
    }
