"""Conversations over REST: whose they are, their pages, their end."""

import time
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import EndpointConnectionError

from chatbot import aws, connections, deletion, tables, turns
from chatbot import conversations as conversation_store
from chatbot.principal import Principal
from functions.conversations import handler as conversations
from functions.conversations import storage
from tests.unit.chat.world import CHATBOT, OTHER_USER, USER, WORKSPACE, World
from tests.unit.rest import Answer, event, send

ANN = Principal(USER, 1)
BOB = Principal(OTHER_USER, 1)
PATH = f"/api/v1/workspaces/{WORKSPACE}/conversations"
ELSEWHERE = "/api/v1/workspaces/0190bbbb-0000-7000-8000-000000000000/conversations"


@pytest.fixture(autouse=True)
def bob(world: World) -> None:
    world.permissions[OTHER_USER] = ["chat:use"]


def call(method: str, path: str, body: Any = None, **options: Any) -> Answer:
    options.setdefault("caller", ANN)
    return send(conversations.handler, event(method, path, body, **options))


def create(**options: Any) -> dict[str, Any]:
    answer = call("POST", PATH, {"chatbot_id": CHATBOT}, **options)
    assert answer.status == 201
    made: dict[str, Any] = answer.json
    return made


def test_conversation_is_made_when_the_chatbot_is_known() -> None:
    answer = call("POST", PATH, {"chatbot_id": CHATBOT, "title": " Kitchen "})
    assert answer.status == 201
    made = answer.json
    assert answer.headers["ETag"] == '"1"'
    assert made == {
        "id": made["id"],
        "chatbot_id": CHATBOT,
        "user_id": USER,
        "title": " Kitchen ",
        "message_count": 0,
        "last_message_at": None,
        "created_at": made["created_at"],
        "updated_at": made["created_at"],
    }
    read = call("GET", f"{PATH}/{made['id']}")
    assert (read.status, read.json) == (200, made)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"chatbot_id": str(uuid4())}, 404),
        ({"chatbot_id": "x"}, 422),
        ({}, 422),
        ({"chatbot_id": CHATBOT, "title": ""}, 422),
        ({"chatbot_id": CHATBOT, "title": 5}, 422),
        ({"chatbot_id": CHATBOT, "user_id": OTHER_USER}, 422),
    ],
)
def test_nothing_is_made_when_the_body_is_wrong(body: dict[str, Any], status: int) -> None:
    assert call("POST", PATH, body).status == status
    assert call("GET", PATH).json["items"] == []


def test_one_is_made_when_the_key_is_repeated() -> None:
    first = create(headers={"idempotency-key": "k"})
    assert create(headers={"idempotency-key": "k"}) == first
    other = call(
        "POST", PATH, {"chatbot_id": CHATBOT, "title": "x"}, headers={"idempotency-key": "k"}
    )
    assert other.status == 422
    assert create(headers={"idempotency-key": "k"}, caller=BOB)["id"] != first["id"]
    assert len(call("GET", PATH).json["items"]) == 1


def test_first_message_gives_the_title_when_none_was_set(world: World) -> None:
    ann = world.connect("ann")
    for title, shown in [(None, "Where is the kitchen?"), ("Mine", "Mine")]:
        made = call("POST", PATH, {"chatbot_id": CHATBOT, "title": title}).json
        ack = world.chat(ann, "Where is\nthe kitchen?", conversation_id=made["id"])
        world.run(ack["message_id"])
        read = call("GET", f"{PATH}/{made['id']}").json
        assert (read["title"], read["message_count"]) == (shown, 2)
        assert read["last_message_at"] > made["created_at"]


def test_every_conversation_is_listed_once_newest_first_when_paged(world: World) -> None:
    made = [create()["id"] for _ in range(5)]
    create(caller=BOB)
    found: list[str] = []
    query = {"limit": "2"}
    while True:
        page = call("GET", PATH, query=query).json
        assert len(page["items"]) <= 2
        assert all("version" not in item for item in page["items"])
        found += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert found == made[::-1]
    assert call("GET", PATH, query={"cursor": query["cursor"]}, caller=BOB).status == 400
    world.permissions[OTHER_USER].append("conversations:read_all")
    everybodys = call("GET", PATH, query={"all": "true"}, caller=BOB).json["items"]
    assert len(everybodys) == 6
    assert len(call("GET", PATH, query={"all": "false"}, caller=BOB).json["items"]) == 1


def test_all_are_forbidden_when_the_permission_lacks() -> None:
    assert call("GET", PATH, query={"all": "true"}).status == 403
    assert call("GET", PATH, query={"all": "yes"}).status == 422


def ways(conversation_id: str, base: str = PATH) -> list[tuple[str, str, Any]]:
    path = f"{base}/{conversation_id}"
    return [
        ("GET", path, None),
        ("GET", f"{path}/messages", None),
        ("PATCH", path, {"title": "x"}),
        ("DELETE", path, None),
    ]


def test_anothers_conversation_is_not_there_when_asked_for(world: World) -> None:
    made = create()
    for method, path, body in ways(made["id"]):
        assert call(method, path, body, caller=BOB).status == 404
    world.permissions[OTHER_USER].append("conversations:read_all")
    statuses = [call(m, p, b, caller=BOB).status for m, p, b in ways(made["id"])]
    assert statuses == [200, 200, 403, 403]


def test_conversation_is_not_there_when_its_workspace_is_another(world: World) -> None:
    made = create()
    aws.client("dynamodb").update_item(
        TableName="conversations",
        Key=tables.pack({"conversation_id": made["id"], "item": "HEAD"}),
        UpdateExpression="SET workspace_id = :other",
        ExpressionAttributeValues=tables.pack({":other": "0190bbbb-0000-7000-8000-000000000000"}),
    )
    world.permissions[USER].append("conversations:read_all")
    for base in (PATH, ELSEWHERE):
        for method, path, body in ways(made["id"], base):
            assert call(method, path, body).status == 404


def test_title_changes_when_the_version_is_the_one_that_was_read() -> None:
    made = create()
    path = f"{PATH}/{made['id']}"
    changed = call("PATCH", path, {"title": "New"}, headers={"if-match": '"1"'})
    assert (changed.status, changed.json["title"]) == (200, "New")
    assert changed.headers["ETag"] == '"2"'
    assert changed.json["updated_at"] > made["updated_at"]
    stale = call("PATCH", path, {"title": "Old"}, headers={"if-match": '"1"'})
    assert stale.status == 412
    assert call("DELETE", path, headers={"if-match": '"1"'}).status == 412
    assert call("PATCH", path, {"title": None}).status == 422
    assert call("PATCH", path, {"user_id": OTHER_USER}).status == 422
    assert call("PATCH", path, {}).json["title"] == "New"


def test_version_is_compared_when_it_changes_between_reading_and_writing() -> None:
    made = create()
    from chatbot.errors import NotFound, PreconditionFailed

    head = conversation_store.any_head(made["id"])
    assert head is not None
    call("PATCH", f"{PATH}/{made['id']}", {"title": "first"})
    with pytest.raises(PreconditionFailed):
        storage.retitled(head, "second", as_read=True)
    assert storage.retitled(head, "second", as_read=False)["title"] == "second"
    call("DELETE", f"{PATH}/{made['id']}")
    with pytest.raises(NotFound):
        storage.retitled(head, "third", as_read=False)


def test_messages_are_listed_oldest_first_when_paged(world: World) -> None:
    ann = world.connect("ann")
    ack = world.chat(ann, "one")
    world.run(ack["message_id"])
    second = world.chat(ann, "two", conversation_id=ack["conversation_id"])
    path = f"{PATH}/{ack['conversation_id']}/messages"
    first_page = call("GET", path, query={"limit": "3"}).json
    cursor = first_page["next_cursor"]
    last_page = call("GET", path, query={"limit": "3", "cursor": cursor}).json
    assert last_page["next_cursor"] is None
    listed = first_page["items"] + last_page["items"]
    assert [m["seq"] for m in listed] == [1, 2, 3, 4]
    assert [m["status"] for m in listed] == ["completed", "completed", "completed", "streaming"]
    assert listed[1] == {
        "id": ack["message_id"],
        "role": "assistant",
        "content": "Hello there.",
        "status": "completed",
        "seq": 2,
        "parent_id": ack["user_message_id"],
        "stop_reason": "end_turn",
        "tool_calls": [],
        "citations": [],
        "usage": {"input_tokens": 11, "output_tokens": 7, "estimated": False},
        "created_at": listed[1]["created_at"],
        "updated_at": listed[1]["updated_at"],
    }
    assert listed[3]["id"] == second["message_id"]


def test_page_is_short_when_messages_are_large(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "PAGE_BYTES", 1000)
    ann = world.connect("ann")
    ack = world.chat(ann, "x" * 900)
    path = f"{PATH}/{ack['conversation_id']}/messages"
    page = call("GET", path).json
    assert len(page["items"]) == 1
    rest = call("GET", path, query={"cursor": page["next_cursor"]}).json
    assert [m["id"] for m in rest["items"]] == [ack["message_id"]]


def everything_of(conversation_id: str, message_id: str) -> list[Any]:
    found = list(tables.query("conversations", "conversation_id = :id", {":id": conversation_id}))
    found += tables.query("turns", "message_id = :id", {":id": message_id})
    return found + connections.followers(conversation_id)


def test_nothing_is_left_when_a_conversation_is_deleted(world: World) -> None:
    ann = world.connect("ann")
    ack = world.chat(ann)
    world.run(ack["message_id"])
    path = f"{PATH}/{ack['conversation_id']}"
    assert call("DELETE", path).status == 204
    world.purge()
    assert everything_of(ack["conversation_id"], ack["message_id"]) == []
    for method, way, body in ways(ack["conversation_id"]):
        assert call(method, way, body).status == 404
    [error] = world.send(ann, {"type": "resume", "message_id": ack["message_id"], "after_seq": 0})
    assert error["code"] == "not_found"
    assert world.chat(ann, conversation_id=ack["conversation_id"])["code"] == "not_found"


def test_turn_stops_and_nothing_comes_back_when_deleted_in_the_middle(world: World) -> None:
    ann = world.connect("ann")
    ack = world.chat(ann)
    path = f"{PATH}/{ack['conversation_id']}"
    statuses: list[int] = []
    world.model.says(
        "a", 0.1, lambda: statuses.append(call("DELETE", path).status), 0.3, "b", 0.2, "c"
    )
    # The machine's end comes before, amid or after the deletion.
    assert world.run(ack["message_id"])["status"] in {"deleted", "cancelled"}
    deadline = time.monotonic() + 10
    while not statuses and time.monotonic() < deadline:
        time.sleep(0.01)
    assert statuses == [204]
    world.purge()
    left = everything_of(ack["conversation_id"], ack["message_id"])
    assert left == []
    shown = world.frames(ann, ack["message_id"])
    assert [frame["status"] for frame in shown] == ["streaming", "cancelled"]
    assert world.usage("RUNNING")["turns"] == 0
    world.watch(ack["message_id"])
    world.die(ack["message_id"])
    assert everything_of(ack["conversation_id"], ack["message_id"]) == []


def test_conversation_is_purged_later_when_the_start_is_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ack = world.chat(world.connect("ann"))
    world.run(ack["message_id"])
    path = f"{PATH}/{ack['conversation_id']}"

    def lost(**_: Any) -> None:
        raise EndpointConnectionError(endpoint_url="states")

    with monkeypatch.context() as patch:
        patch.setattr(world.purges, "start_execution", lost)
        assert call("DELETE", path).status == 204
    assert call("GET", path).status == 404
    assert call("GET", PATH).json["items"] == []
    assert [entry["item"] for entry in deletion.due()] == [ack["conversation_id"]]
    assert call("DELETE", path).status == 204
    world.purge()
    assert everything_of(ack["conversation_id"], ack["message_id"]) == []
    assert list(deletion.due()) == []


def test_deletion_is_told_once_it_is_done(world: World) -> None:
    made = create()
    world.audited.clear()
    assert call("DELETE", f"{PATH}/{made['id']}", caller=BOB).status == 404
    assert world.audited == []
    assert call("DELETE", f"{PATH}/{made['id']}").status == 204
    assert world.audited == [
        {
            "action": "delete",
            "resource_type": "conversation",
            "resource_id": made["id"],
            "changes": {},
        }
    ]


def test_deletion_waits_for_no_turn_that_is_dead(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ack = world.chat(world.connect("ann"))
    monkeypatch.setattr(turns, "FIRST_LEASE_MS", -1)
    assert call("DELETE", f"{PATH}/{ack['conversation_id']}").status == 204
    world.purge()
    assert everything_of(ack["conversation_id"], ack["message_id"]) == []
