"""What a workspace's answers used, from the rows that the ends of turns add to."""

from typing import Any

import pytest

from chatbot import aws, tables
from chatbot.principal import Principal
from functions.conversations import handler as conversations
from functions.usage import handler as usage
from tests.unit.chat.world import CHATBOT, OTHER_USER, USER, WORKSPACE, World
from tests.unit.rest import Answer, event, send

ANN = Principal(USER, 1)
ELSEWHERE = "0190bbbb-0000-7000-8000-000000000000"
PATH = f"/api/v1/workspaces/{WORKSPACE}"
MODEL = "amazon.nova-lite-v1:0"


@pytest.fixture(autouse=True)
def people(world: World) -> None:
    world.permissions[USER] = ["chat:use", "usage:read"]
    world.permissions[OTHER_USER] = ["chat:use"]


def call(path: str = f"{PATH}/usage", **query: str) -> Answer:
    return send(usage.handler, event("GET", path, caller=ANN, query=query))


def used(
    day: str, user: str, chatbot: str, model: str, numbers: int, workspace: str = WORKSPACE
) -> None:
    row = {
        "workspace_id": workspace,
        "item": f"DAY#{day}#{user}#{chatbot}#{model}",
        "day": day,
        "user_id": user,
        "chatbot_id": chatbot,
        "model_id": model,
        "turns": numbers,
        "input_tokens": numbers * 10,
        "output_tokens": numbers * 100,
        "cost": numbers * 1_500_000,
    }
    aws.client("dynamodb").put_item(TableName="usage", Item=tables.pack(row))


def numbers(key: str, count: int) -> dict[str, Any]:
    return {"key": key, **total(count)}


def total(count: int) -> dict[str, Any]:
    cost = f"{count * 1.5:g}"
    tokens = {"input_tokens": count * 10, "output_tokens": count * 100}
    return {"turns": count, **tokens, "cost": cost}


@pytest.fixture
def days() -> None:
    used("2026-01-31", "ann", "kitchen", "small", 1)
    used("2026-02-01", "ann", "kitchen", "large", 2)
    used("2026-02-01", "bob", "garden", "small", 4)
    used("2026-02-02", "bob", "kitchen", "small", 8)
    used("2026-02-01", "ann", "kitchen", "small", 1000, ELSEWHERE)


@pytest.mark.parametrize(
    ("group", "groups"),
    [
        ("day", {"2026-01-31": 1, "2026-02-01": 6, "2026-02-02": 8}),
        ("user", {"ann": 3, "bob": 12}),
        ("chatbot", {"garden": 4, "kitchen": 11}),
        ("model", {"large": 2, "small": 13}),
    ],
)
def test_usage_is_added_up_by_what_is_asked(days: None, group: str, groups: dict[str, int]) -> None:
    items = [numbers(key, count) for key, count in groups.items()]
    assert call(group_by=group).json == {"items": items, "total": total(15)}
    if group == "day":
        assert call().json["items"] == items


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"from": "2026-02-01"}, 14),
        ({"to": "2026-02-01"}, 7),
        ({"from": "2026-02-01", "to": "2026-02-01"}, 6),
        ({"from": "2026-01-31T23:59:59Z", "to": "2026-02-01T00:00:00Z"}, 7),
        ({"from": "2026-02-02", "to": "2026-02-01"}, 0),
        ({"from": "2027-01-01"}, 0),
    ],
)
def test_days_at_both_ends_count_in(days: None, query: dict[str, str], count: int) -> None:
    answer = call(**query).json
    assert answer["total"] == total(count)
    assert sum(item["turns"] for item in answer["items"]) == count


def test_query_is_a_422_when_it_is_wrong() -> None:
    for query in ({"group_by": "hour"}, {"from": "2026-13-01"}, {"to": "now"}):
        assert call(**query).status == 422


def test_usage_is_what_turns_cost_and_stays_when_their_conversation_is_deleted(
    world: World,
) -> None:
    ack = world.chat(world.connect("ann"))
    world.run(ack["message_id"])
    before = call(group_by="model").json
    spent = {"turns": 1, "input_tokens": 11, "output_tokens": 7, "cost": "0.00000234"}
    assert before == {"items": [{"key": MODEL, **spent}], "total": spent}
    assert [item["key"] for item in call(group_by="chatbot").json["items"]] == [CHATBOT]
    way = f"{PATH}/conversations/{ack['conversation_id']}"
    assert send(conversations.handler, event("DELETE", way, caller=ANN)).status == 204
    world.purge()
    assert call(group_by="model").json == before


def test_usage_is_refused_when_the_caller_may_not_read_it() -> None:
    bob = Principal(OTHER_USER, 1)
    assert send(usage.handler, event("GET", f"{PATH}/usage", caller=bob)).status == 403
    assert call(f"/api/v1/workspaces/{ELSEWHERE}/usage").status == 404
