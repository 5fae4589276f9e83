"""Documents over REST: PostgreSQL says who may, DynamoDB holds what there is."""

from typing import Any

import pytest

from chatbot import aws, documents
from chatbot.errors import Forbidden
from chatbot.settings import settings
from functions.documents.handler import handler
from tests.unit.conftest import FakeDatabase
from tests.unit.knowledge.conftest import SOURCE, World
from tests.unit.rest import BOB, WORKSPACE_A, WORKSPACE_B, Answer, event, send

PATH = f"/api/v1/workspaces/{WORKSPACE_A}/documents"
NEW = {"title": "Handbook", "content": "Travel costs are paid back.", "url": "https://a.example/h"}


@pytest.fixture(autouse=True)
def may(world: World, database: FakeDatabase) -> FakeDatabase:
    """Whoever asks may do it, as often as they ask."""
    database.answers = [True] * 50
    return database


def ask(method: str, path: str, body: Any = None, **more: Any) -> Answer:
    return send(handler, event(method, path, body, **more))


def test_document_by_hand_waits_to_be_embedded_when_it_is_made(world: World) -> None:
    answer = ask("POST", PATH, NEW)
    assert answer.status == 201
    made = answer.json
    assert {name: made[name] for name in ("title", "url", "status", "chunk_count")} == {
        "title": "Handbook",
        "url": NEW["url"],
        "status": "pending",
        "chunk_count": 0,
    }
    assert made["source_id"] is made["external_id"] is made["source_updated_at"] is None
    assert answer.headers["ETag"]
    assert set(made) == {
        "id", "source_id", "external_id", "title", "url", "status", "chunk_count",
        "source_updated_at", "created_at", "updated_at",
    }  # fmt: skip
    world.run()
    read = ask("GET", f"{PATH}/{made['id']}").json
    assert (read["status"], read["chunk_count"]) == ("embedded", 1)
    assert world.index.chunks[WORKSPACE_A, made["id"]] == [NEW["content"]]


def test_one_document_is_made_when_a_key_comes_twice() -> None:
    headers = {"idempotency-key": "k"}
    first = ask("POST", PATH, NEW, headers=headers).json
    assert ask("POST", PATH, NEW, headers=headers).json == first
    assert ask("POST", PATH, {**NEW, "title": "x"}, headers=headers).status == 422
    assert ask("POST", PATH, NEW, headers=headers, caller=BOB).json["id"] != first["id"]
    assert len(ask("GET", PATH).json["items"]) == 2


@pytest.mark.parametrize(
    "body",
    [
        {},
        {**NEW, "title": ""},
        {**NEW, "content": ""},
        {**NEW, "content": 7},
        {**NEW, "content": "é" * 524_289},
        {**NEW, "url": "javascript:alert(1)"},
        {**NEW, "source_id": SOURCE},
        {**NEW, "title": "a\0"},
    ],
)
def test_document_is_refused_when_it_is_wrong(world: World, body: dict[str, Any]) -> None:
    assert ask("POST", PATH, body).status == 422
    assert world.rows() == {}


def test_megabyte_of_text_is_taken() -> None:
    assert ask("POST", PATH, {**NEW, "content": "é" * 524_288}).status == 201


def test_list_is_filtered_and_paged(world: World) -> None:
    for number in range(3):
        world.put("Text.", str(number))
    ask("POST", PATH, NEW)
    world.put("This is poison.", "bad")
    world.run()

    def ids(**query: str) -> list[str]:
        found, cursor = [], None
        while True:
            page = ask("GET", PATH, query={**query, "limit": "2", **(cursor or {})}).json
            found += [item["external_id"] for item in page["items"]]
            if page["next_cursor"] is None:
                return found
            cursor = {"cursor": page["next_cursor"]}

    assert sorted(map(str, ids())) == ["0", "1", "2", "None", "bad"]
    assert sorted(ids(source_id=SOURCE)) == ["0", "1", "2", "bad"]
    assert ids(source_id=SOURCE.upper(), status="failed") == ["bad"]
    assert sorted(ids(status="embedded", source_id=SOURCE)) == ["0", "1", "2"]
    assert ids(status="pending") == []


@pytest.mark.parametrize("query", [{"status": "removed"}, {"source_id": "all"}])
def test_filter_is_refused_when_it_is_none(query: dict[str, str]) -> None:
    assert ask("GET", PATH, query=query).status == 422


def test_nothing_is_touched_when_the_caller_may_not(world: World, may: FakeDatabase) -> None:
    world.put("Text.")
    path = f"{PATH}/{world.row()['document_id']}"
    may.answers = [Forbidden()] * 4
    answers = [
        ask("GET", PATH), ask("GET", path), ask("DELETE", path), ask("POST", PATH, NEW)
    ]  # fmt: skip
    assert [answer.status for answer in answers] == [403] * 4
    assert len(world.rows()) == 1


def test_other_workspaces_documents_are_not_there(world: World) -> None:
    world.put("Ours.")
    theirs = PATH.replace(WORKSPACE_A, WORKSPACE_B)
    document_id = world.row()["document_id"]
    assert ask("GET", theirs).json["items"] == []
    assert ask("GET", f"{theirs}/{document_id}").status == 404
    assert ask("DELETE", f"{theirs}/{document_id}").status == 404
    assert ask("GET", f"{PATH}/{document_id}").status == 200


def test_document_leaves_the_search_before_the_answer_when_it_is_deleted(
    world: World, may: FakeDatabase
) -> None:
    world.put("Text.")
    row = world.row()
    path = f"{PATH}/{row['document_id']}"
    assert ask("DELETE", path).status == 204
    asked = may.asked[-1]
    assert "app.remove_document" in asked["statement"]
    assert asked["params"] == {"id": row["document_id"], "version": row["version"]}
    assert (asked["workspace_id"], asked["permission"]) == (WORKSPACE_A, "documents:write")
    assert documents.find(row["document_id"]) is None
    assert ask("DELETE", path).status == 404


def test_document_stays_when_it_has_changed_since_it_was_read(world: World) -> None:
    world.put("Text.")
    path = f"{PATH}/{world.row()['document_id']}"
    tag = ask("GET", path).headers["ETag"]
    world.put("Other text.")
    assert ask("DELETE", path, headers={"if-match": tag}).status == 412
    tag = ask("GET", path).headers["ETag"]
    assert ask("DELETE", path, headers={"if-match": tag}).status == 204


def test_deleted_document_of_a_source_stays_away_when_a_run_reads_it_again(world: World) -> None:
    world.put("Text.")
    path = f"{PATH}/{world.row()['document_id']}"
    assert ask("DELETE", path).status == 204
    assert world.put("Text.", run="2") == "unchanged"
    assert world.put("Text, changed.", run="3") == "unchanged"
    assert world.rows() == {}
    assert ask("GET", path).status == 404
    assert world.put("Another.", "2") == "changed"


def test_deleted_document_by_hand_leaves_no_note(world: World) -> None:
    made = ask("POST", PATH, NEW).json
    assert ask("DELETE", f"{PATH}/{made['id']}").status == 204
    jobs = aws.client("dynamodb").scan(TableName=settings().jobs_table)["Items"]
    assert jobs == []


def test_search_is_one_statement_in_the_checked_workspace(may: FakeDatabase, world: World) -> None:
    may.answers = [[{"content": "found"}]]
    path = f"/api/v1/workspaces/{WORKSPACE_A}/search"
    answer = ask("POST", path, {"query": "costs", "top_k": 3, "source_ids": [SOURCE.upper()]})
    assert answer.json == {"items": [{"content": "found"}]}
    (asked,) = may.asked
    assert (asked["workspace_id"], asked["permission"]) == (WORKSPACE_A, "chat:use")
    params = dict(asked["params"])
    assert len(params.pop("embedding")) == 1024
    assert params == {"text": "costs", "top_k": 3, "source_ids": [SOURCE]}
    assert world.titan.texts == ["costs"]


@pytest.mark.parametrize(
    "body", [{}, {"query": ""}, {"query": "x", "top_k": 51}, {"query": "x", "source_ids": ["1"]}]
)
def test_search_is_refused_when_it_is_wrong(body: dict[str, Any], world: World) -> None:
    assert ask("POST", f"/api/v1/workspaces/{WORKSPACE_A}/search", body).status == 422
    assert world.titan.texts == []


def test_search_asks_to_come_again_when_the_model_is_busy(world: World) -> None:
    world.titan.busy = 1
    answer = ask("POST", f"/api/v1/workspaces/{WORKSPACE_A}/search", {"query": "x"})
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
