"""Ratings of answers: whose, of what, and that their sums stay exact."""

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest

from chatbot import aws, feedback, tables
from chatbot.errors import NotFound
from chatbot.feedback import Answered
from chatbot.principal import Principal
from functions.conversations import handler as conversations
from functions.feedback import handler as ratings
from functions.feedback import storage
from tests.unit.chat.world import CHATBOT, OTHER_USER, USER, WORKSPACE, World
from tests.unit.rest import Answer, event, send

ANN = Principal(USER, 1)
BOB = Principal(OTHER_USER, 1)
HERE = f"/api/v1/workspaces/{WORKSPACE}"
ELSEWHERE = "0190bbbb-0000-7000-8000-000000000000"


@pytest.fixture(autouse=True)
def people(world: World) -> None:
    world.permissions[USER] = ["chat:use", "feedback:read"]
    world.permissions[OTHER_USER] = ["chat:use"]


@pytest.fixture
def turn(world: World) -> dict[str, Any]:
    return ended(world)


def ended(world: World) -> dict[str, Any]:
    ack = world.chat(world.connect("ann"))
    world.run(ack["message_id"])
    return ack


def path(turn: dict[str, Any], message: str = "message_id") -> str:
    return f"{HERE}/conversations/{turn['conversation_id']}/messages/{turn[message]}/feedback"


def call(method: str, path: str, body: Any = None, **options: Any) -> Answer:
    options.setdefault("caller", ANN)
    return send(ratings.handler, event(method, path, body, **options))


def summary(**query: str) -> dict[str, Any]:
    answer = call("GET", f"{HERE}/feedback/summary", query=query)
    assert answer.status == 200
    found: dict[str, Any] = answer.json
    return found


def test_rating_is_stored_when_the_answer_is_the_callers(turn: dict[str, Any]) -> None:
    answer = call("PUT", path(turn), {"rating": 4, "comment": " good "})
    assert answer.status == 200
    made = answer.json
    assert answer.headers["ETag"] == '"1"'
    assert made == {
        "id": made["id"],
        "conversation_id": turn["conversation_id"],
        "message_id": turn["message_id"],
        "chatbot_id": CHATBOT,
        "user_id": USER,
        "rating": 4,
        "comment": " good ",
        "created_at": made["created_at"],
        "updated_at": made["created_at"],
    }
    changed = call("PUT", path(turn), {"rating": 1}).json
    assert (changed["id"], changed["created_at"]) == (made["id"], made["created_at"])
    assert (changed["rating"], changed["comment"]) == (1, None)
    assert call("GET", f"{HERE}/feedback").json == {"items": [changed], "next_cursor": None}
    sums = {"count": 1, "mean": 1.0, "by_rating": {"1": 1, "2": 0, "3": 0, "4": 0, "5": 0}}
    assert summary() == sums | {"by_chatbot": {CHATBOT: sums}}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"rating": 0},
        {"rating": 6},
        {"rating": "5"},
        {"rating": 4.5},
        {"rating": True},
        {"rating": 3, "comment": 5},
        {"rating": 3, "comment": "x" * 4001},
        {"rating": 3, "user_id": OTHER_USER},
    ],
)
def test_rating_is_refused_when_the_body_is_wrong(turn: dict[str, Any], body: Any) -> None:
    assert call("PUT", path(turn), body).status == 422
    assert summary()["count"] == 0


def test_question_is_not_rated(turn: dict[str, Any]) -> None:
    assert call("PUT", path(turn, "user_message_id"), {"rating": 3}).status == 422
    assert call("DELETE", path(turn, "user_message_id")).status == 422


def test_others_rate_when_they_may_read_the_conversation(
    world: World, turn: dict[str, Any]
) -> None:
    for method, body in (("PUT", {"rating": 2}), ("DELETE", None)):
        assert call(method, path(turn), body, caller=BOB).status == 404
    world.permissions[OTHER_USER].append("conversations:read_all")
    call("PUT", path(turn), {"rating": 5})
    assert call("PUT", path(turn), {"rating": 2}, caller=BOB).json["user_id"] == OTHER_USER
    assert summary()["by_rating"] == {"1": 0, "2": 1, "3": 0, "4": 0, "5": 1}
    assert call("DELETE", path(turn), caller=BOB).status == 204
    assert summary()["by_rating"] == {"1": 0, "2": 0, "3": 0, "4": 0, "5": 1}


def test_answer_is_not_there_when_it_is_unknown_or_anothers(
    world: World, turn: dict[str, Any]
) -> None:
    other = ended(world)
    for wrong in (
        turn | {"conversation_id": other["conversation_id"]},
        turn | {"message_id": str(uuid4())},
        turn | {"conversation_id": str(uuid4())},
        turn | {"message_id": "x"},
    ):
        assert call("PUT", path(wrong), {"rating": 3}).status == 404
        assert call("DELETE", path(wrong)).status == 404
    elsewhere = path(turn).replace(WORKSPACE, ELSEWHERE)
    assert call("PUT", elsewhere, {"rating": 3}).status == 404
    assert call("DELETE", path(turn)).status == 404  # nothing rated yet


def test_conversation_is_not_there_when_its_workspace_is_another(turn: dict[str, Any]) -> None:
    aws.client("dynamodb").update_item(
        TableName="conversations",
        Key=tables.pack({"conversation_id": turn["conversation_id"], "item": "HEAD"}),
        UpdateExpression="SET workspace_id = :other",
        ExpressionAttributeValues=tables.pack({":other": ELSEWHERE}),
    )
    assert call("PUT", path(turn), {"rating": 3}).status == 404


def test_lists_are_forbidden_when_the_permission_lacks(turn: dict[str, Any]) -> None:
    for way in ("feedback", "feedback/summary"):
        assert call("GET", f"{HERE}/{way}", caller=BOB).status == 403
        assert call("GET", f"/api/v1/workspaces/{ELSEWHERE}/{way}").status == 404


def test_rating_is_taken_back_when_the_version_is_the_one_that_was_read(
    turn: dict[str, Any],
) -> None:
    call("PUT", path(turn), {"rating": 3})
    call("PUT", path(turn), {"rating": 3})
    assert call("DELETE", path(turn), headers={"if-match": '"1"'}).status == 412
    assert call("DELETE", path(turn), headers={"if-match": '"2"'}).status == 204
    assert call("DELETE", path(turn)).status == 404
    assert summary() == {
        "count": 0,
        "mean": None,
        "by_rating": {"1": 0, "2": 0, "3": 0, "4": 0, "5": 0},
        "by_chatbot": {},
    }


def test_nothing_is_rated_when_the_conversation_is_being_deleted(turn: dict[str, Any]) -> None:
    answer = Answered(WORKSPACE, CHATBOT, turn["conversation_id"], turn["message_id"])
    way = f"{HERE}/conversations/{turn['conversation_id']}"
    assert send(conversations.handler, event("DELETE", way, caller=ANN)).status == 204
    with pytest.raises(NotFound):
        storage.put(answer, USER, 5, None)
    assert summary()["count"] == 0


def many(turn: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Ratings of one answer by many users, of two chatbots, oldest first."""
    made = []
    for number in range(count):
        chatbot = CHATBOT if number % 2 else ELSEWHERE
        answer = Answered(WORKSPACE, chatbot, turn["conversation_id"], turn["message_id"])
        made.append(storage.put(answer, str(uuid4()), 1 + number % 5, None))
    return made


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_every_rating_is_listed_once_newest_first_when_paged(
    turn: dict[str, Any], limit: int
) -> None:
    made = many(turn, 7)
    found: list[str] = []
    query = {"limit": str(limit)}
    while True:
        page = call("GET", f"{HERE}/feedback", query=query).json
        assert len(page["items"]) <= limit
        found += [item["id"] for item in page["items"]]
        if len(found) == 3:  # what comes and goes amid the pages moves nothing
            many(turn, 1)
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert found == [item["id"] for item in made[::-1]]


def test_ratings_are_chosen_by_number_chatbot_and_time(turn: dict[str, Any]) -> None:
    made = many(turn, 12)
    first, last = made[3]["created_at"], made[8]["created_at"]
    queries: list[tuple[dict[str, str], Any]] = [
        ({"rating": "2"}, lambda item: item["rating"] == 2),
        ({"chatbot_id": CHATBOT.upper()}, lambda item: item["chatbot_id"] == CHATBOT),
        (
            {"chatbot_id": CHATBOT, "rating": "4"},
            lambda item: item["chatbot_id"] == CHATBOT and item["rating"] == 4,
        ),
        ({"chatbot_id": str(uuid4())}, lambda _: False),
        ({"from": first}, lambda item: item["created_at"] >= first),
        ({"to": last}, lambda item: item["created_at"] <= last),
        (
            {"from": first.replace("Z", "+00:00"), "to": last},
            lambda item: first <= item["created_at"] <= last,
        ),
        ({"from": last, "to": first}, lambda item: last <= item["created_at"] <= first),
        (
            {"from": first[:10], "to": first[:10]},
            lambda item: item["created_at"][:10] == first[:10],
        ),
        ({"from": "2999-01-01"}, lambda _: False),
        ({"to": "1999-12-31", "rating": "2"}, lambda _: False),
    ]
    for query, wanted in queries:
        chosen = [item for item in made[::-1] if wanted(item)]
        listed = call("GET", f"{HERE}/feedback", query=query | {"limit": "100"}).json["items"]
        assert [item["id"] for item in listed] == [item["id"] for item in chosen], query
        counted = summary(**query)
        assert counted["count"] == len(chosen), query
        assert sum(part["count"] for part in counted["by_chatbot"].values()) == len(chosen)
        for rating in range(1, 6):
            number = sum(item["rating"] == rating for item in chosen)
            assert counted["by_rating"][str(rating)] == number, query
        if chosen:
            points = sum(item["rating"] for item in chosen)
            assert counted["mean"] == pytest.approx(points / len(chosen))


def test_filter_is_a_422_when_it_is_wrong() -> None:
    for query in (
        {"rating": "0"},
        {"rating": "6"},
        {"rating": "five"},
        {"rating": "\u0665"},
        {"chatbot_id": "x"},
        {"from": "yesterday"},
        {"from": "2026-02-30"},
        {"to": "2026-01-01T00:00:00"},
        {"to": "0001-01-01T00:00:00+23:00"},
    ):
        for way in ("feedback", "feedback/summary"):
            answer = call("GET", f"{HERE}/{way}", query=query)
            assert answer.status == 422, query
            assert answer.json["errors"][0]["loc"] == ["query", *query]


def test_sums_are_exact_when_20_write_at_once(world: World, turn: dict[str, Any]) -> None:
    answer = Answered(WORKSPACE, CHATBOT, turn["conversation_id"], turn["message_id"])
    users = [USER, OTHER_USER, str(uuid4())]
    chance = random.Random(7)

    def write(number: int) -> None:
        user = users[number % 3]
        if chance.random() < 0.6:
            storage.put(answer, user, chance.randint(1, 5), None)
        else:
            with suppress(NotFound):
                storage.delete(answer, user, None)

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(write, range(60)))
    left = list(feedback.of_conversation(WORKSPACE, turn["conversation_id"]))
    assert 0 < len(left) <= 3
    counted = summary()
    assert counted["count"] == len(left)
    for rating in range(1, 6):
        assert counted["by_rating"][str(rating)] == sum(item["rating"] == rating for item in left)
