"""What a workspace's answers have used, as the ends of turns add it up by day.

It does not go down when conversations are deleted. Of a deleted user the id stays, which leads to
nobody.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from chatbot import tables
from chatbot.api import Api, Request
from chatbot.parameters import choice, day
from chatbot.settings import settings

FIELDS = {"day": "day", "user": "user_id", "chatbot": "chatbot_id", "model": "model_id"}

api = Api("usage")


@api.get("/workspaces/<workspace_id>/usage", "usage:read")
def read(
    request: Request,
    from_: str | None = day(),
    to: str | None = day(),
    group_by: str | None = choice(*FIELDS),
) -> Any:
    """Add up turns, tokens and cost by day (UTC), user, chatbot or model; both days count in."""
    request.query("SELECT to_jsonb(true)")
    if from_ and to and from_ > to:
        return sums([], "day")
    rows = tables.query(
        settings().usage_table,
        "workspace_id = :workspace AND #item BETWEEN :first AND :last",
        {
            ":workspace": request.workspace_id,
            ":first": f"DAY#{from_ or ''}",
            ":last": f"DAY#{to or ''}~",
        },
        ExpressionAttributeNames={"#item": "item"},
    )
    return sums(rows, FIELDS[group_by or "day"])


def sums(rows: Iterable[dict[str, Any]], field: str) -> dict[str, Any]:
    """{items: [{key, turns, input_tokens, output_tokens, cost}], total}, cost in USD."""
    total = _Sum()
    groups: dict[str, _Sum] = {}
    for row in rows:
        total.add(row)
        groups.setdefault(row[field], _Sum()).add(row)
    items = [{"key": key, **groups[key].json} for key in sorted(groups)]
    return {"items": items, "total": total.json}


class _Sum:
    """Sums over rows of the table; costs there are in millionths of a USD."""

    def __init__(self) -> None:
        self.turns = self.input_tokens = self.output_tokens = 0
        self.cost = Decimal(0)

    def add(self, row: dict[str, Any]) -> None:
        self.turns += row["turns"]
        self.input_tokens += row["input_tokens"]
        self.output_tokens += row["output_tokens"]
        self.cost += row["cost"]

    @property
    def json(self) -> dict[str, Any]:
        return {
            "turns": self.turns,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost": f"{(self.cost / 1_000_000).normalize():f}",
        }


handler = api.handler
