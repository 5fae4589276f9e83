"""A purge leaves nothing of what was deleted and all of the rest, wherever it is broken off."""

import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from chatbot import (
    aws,
    connections,
    conversations,
    database,
    deletion,
    documents,
    feedback,
    purging,
    sources,
    tables,
)
from chatbot.errors import RetryLater, ServiceUnavailable
from chatbot.feedback import Answered
from chatbot.identifiers import new_id, now_ms, timestamp
from chatbot.settings import settings
from functions.feedback import storage
from functions.purge import handler as purge
from functions.purge import steps
from tests.unit.chat.world import CHATBOT, KEYS, OTHER_USER, USER, WORKSPACE, Killed, World, error
from tests.unit.conftest import fresh_settings

ELSEWHERE = "0190bbbb-0000-7000-8000-000000000000"
STORES = [table for table in KEYS if table != "usage"]
OF_USERS = {"conversations", "turns", "connections", "feedback"}


class Rows:
    """Stands in for the worker's functions of PostgreSQL; others are the world's."""

    def __init__(self, others: Callable[..., Any]) -> None:
        self.others = others
        self.users: list[str] = []
        self.workspaces: list[str] = []
        self.sources: dict[str, list[str]] = {}
        self.more = 0  # how often a workspace's rows are not all gone yet
        self.told: list[tuple[str, Any]] = []

    def call(self, function: str, params: dict[str, Any], **_: bool) -> Any:
        match function:
            case "app.purge_user":
                self.users = [user for user in self.users if user != params["id"]]
                return None
            case "app.purge_workspace":
                self.more -= 1
                if self.more >= 0:
                    return True
                self.workspaces = [w for w in self.workspaces if w != params["id"]]
                return False
            case "app.due_purges":
                due = [{"kind": "user", "id": user} for user in self.users]
                return due + [{"kind": "workspace", "id": w} for w in self.workspaces]
            case "app.workspace_ids":
                known = sorted([WORKSPACE, ELSEWHERE])
                return [w for w in known if w > params.get("after", "")][:1]
        return self.others(function, params)

    def system(
        self, workspace_id: str, statement: str, params: dict[str, Any] | None = None
    ) -> Any:
        if statement == steps.SOURCES:
            return list(self.sources.get(workspace_id, []))
        if statement == steps.FORGET_SOURCE:
            self.sources[workspace_id].remove((params or {})["id"])
            return True
        assert "app.audit_log" in statement
        self.told.append((workspace_id, params))
        return True


@pytest.fixture
def rows(world: World, monkeypatch: pytest.MonkeyPatch) -> Rows:
    world.permissions[OTHER_USER] = ["chat:use", "conversations:read_all"]
    made = Rows(database.call)
    aws.client("s3").create_bucket(
        Bucket=settings().documents_bucket,
        CreateBucketConfiguration={"LocationConstraint": "eu-west-1"},
    )
    monkeypatch.setattr(steps, "WAIT_SECONDS", 0)
    monkeypatch.setattr(database, "call", made.call)
    monkeypatch.setattr(database, "system", made.system)
    return made


def asked(
    world: World, user: str = USER, workspace: str = WORKSPACE, ended: bool = True
) -> dict[str, Any]:
    """A conversation with a turn, a follower and two people's ratings."""
    ack = world.chat(world.connect(f"of-{user}", user))
    if ended:
        world.run(ack["message_id"])
    if workspace != WORKSPACE:
        move(ack, user, workspace)
    answer = Answered(workspace, CHATBOT, ack["conversation_id"], ack["message_id"])
    for rater in (USER, OTHER_USER):
        storage.put(answer, rater, 4, "fine")
    return ack


def move(ack: dict[str, Any], user: str, workspace: str) -> None:
    """Put a conversation into another workspace than the world's one."""
    owner = conversations.owner(workspace, user)
    head = conversations.head_key(ack["conversation_id"])
    change("conversations", head, {"workspace_id": workspace, "owner": owner})
    change("turns", {"message_id": ack["message_id"], "seq": 0}, {"workspace_id": workspace})
    topic = connections.conversation_topic(ack["conversation_id"])
    row = {"topic": topic, "connection_id": f"of-{user}"}
    change("connections", row, {"workspace_id": workspace})


def change(table: str, key: dict[str, Any], values: dict[str, Any]) -> None:
    aws.client("dynamodb").update_item(
        TableName=table,
        Key=tables.pack(key),
        UpdateExpression="SET " + ", ".join(f"#{name} = :{name}" for name in values),
        ExpressionAttributeNames={f"#{name}": name for name in values},
        ExpressionAttributeValues=tables.pack({f":{n}": value for n, value in values.items()}),
    )


def everything() -> list[dict[str, Any]]:
    """All items of the stores, each with its table."""
    found = []
    for table in STORES:
        items = aws.client("dynamodb").scan(TableName=table, ConsistentRead=True)["Items"]
        found += [{"table": table, **tables.unpack(item)} for item in items]
    return found


def mentions(*ids: str) -> list[dict[str, Any]]:
    return [
        item for item in everything() if any(each in json.dumps(item, default=str) for each in ids)
    ]


def run(kind: str, resource_id: str = "") -> int:
    """The machine's way: call until there is no more. Returns the number of calls."""
    event = {"kind": kind, "id": resource_id, "cursor": "", "request_id": "request"}
    for calls in range(1, 1000):
        event = json.loads(json.dumps(purge.handler(event, None)))
        assert (event["kind"], event["id"], event["request_id"]) == (kind, resource_id, "request")
        if not event["has_more"]:
            return calls
    raise AssertionError("the purge has no end")


def count(workspace: str = WORKSPACE) -> int:
    chosen = storage.Selection(workspace, None, None, None, None)
    number: int = storage.summary(chosen)["count"]
    return number


def test_nothing_of_a_conversation_is_left_and_all_of_another(world: World, rows: Rows) -> None:
    gone, kept = asked(world), asked(world)
    whole = mentions(kept["conversation_id"], kept["message_id"])
    run("conversation", gone["conversation_id"])
    assert mentions(gone["conversation_id"], gone["message_id"]) == []
    assert mentions(kept["conversation_id"], kept["message_id"]) == whole
    assert count() == 2
    run("conversation", gone["conversation_id"])
    run("conversation", str(uuid4()))
    assert mentions(kept["conversation_id"], kept["message_id"]) == whole


def test_nothing_of_a_user_is_left_and_all_of_another(world: World, rows: Rows) -> None:
    for where in (WORKSPACE, ELSEWHERE):
        asked(world, USER, where)
        asked(world, OTHER_USER, where)
    rows.users = [USER, OTHER_USER]
    days = [item for item in usage() if item["item"].startswith("DAY#")]
    run("user", USER)
    assert mentions(USER) == []
    assert rows.users == [OTHER_USER]
    assert (count(), count(ELSEWHERE)) == (1, 1)
    left = mentions(OTHER_USER)
    assert {item["table"] for item in left} == OF_USERS
    assert [item for item in usage() if item["item"].startswith("DAY#")] == days
    run("user", USER)
    assert mentions(OTHER_USER) == left


def usage() -> list[dict[str, Any]]:
    items = aws.client("dynamodb").scan(TableName="usage", ConsistentRead=True)["Items"]
    return [tables.unpack(item) for item in items]


def test_nothing_of_a_workspace_is_left_and_all_of_another(world: World, rows: Rows) -> None:
    gone = [asked(world, user)["conversation_id"] for user in (USER, OTHER_USER)]
    kept = [asked(world, user, ELSEWHERE)["conversation_id"] for user in (USER, OTHER_USER)]
    whole = mentions(*kept)
    aws.client("dynamodb").put_item(
        TableName="usage",
        Item=tables.pack({"workspace_id": ELSEWHERE, "item": "RUNNING", "turns": 0}),
    )
    rows.workspaces, rows.more = [WORKSPACE, ELSEWHERE], 2
    run("workspace", WORKSPACE)
    assert mentions(WORKSPACE, *gone) == []
    assert [item["workspace_id"] for item in usage()] == [ELSEWHERE]
    assert rows.workspaces == [ELSEWHERE]
    assert mentions(*kept) == whole
    assert (count(), count(ELSEWHERE)) == (0, 4)
    run("workspace", WORKSPACE)
    assert mentions(*kept) == whole


def stock(workspace: str, rows: Rows) -> str:
    """A source with a secret, a schedule, a job and a document."""
    source_id = str(uuid4())
    row = {
        "id": source_id,
        "provider": "slack",
        "config": {},
        "schedule": "rate(1 hour)",
        "is_enabled": True,
    }
    sources.provide(workspace, row, {"bot_token": "token"})
    rows.sources.setdefault(workspace, []).append(source_id)
    documents.put(workspace, source_id, "1", "Title", None, "Text", None, "run")
    put = aws.client("dynamodb").put_item
    put(
        TableName="jobs",
        Item=tables.pack({"source_id": source_id, "job_id": "1", "workspace_id": workspace}),
    )
    return source_id


def knowledge() -> list[str]:
    """What is in the bucket, and the names of secrets and schedules."""
    objects = aws.client("s3").list_objects_v2(Bucket=settings().documents_bucket)
    secrets = aws.client("secretsmanager").list_secrets()["SecretList"]
    schedules = aws.client("scheduler").list_schedules(GroupName=settings().source_schedule_group)
    names = [item["Key"] for item in objects.get("Contents", [])]
    names += [secret["Name"] for secret in secrets]
    return names + [schedule["Name"] for schedule in schedules["Schedules"]]


def test_sources_and_documents_of_a_workspace_go_and_those_of_another_stay(
    world: World, rows: Rows
) -> None:
    aws.client("scheduler").create_schedule_group(Name=settings().source_schedule_group)
    gone, kept = stock(WORKSPACE, rows), stock(ELSEWHERE, rows)
    whole = mentions(kept)
    rows.workspaces = [WORKSPACE, ELSEWHERE]
    run("workspace", WORKSPACE)
    assert mentions(WORKSPACE, gone) == []
    assert [name for name in knowledge() if WORKSPACE in name or gone in name] == []
    assert mentions(kept) == whole
    assert len([name for name in knowledge() if ELSEWHERE in name or kept in name]) == 3
    assert rows.sources == {WORKSPACE: [], ELSEWHERE: [kept]}
    run("workspace", WORKSPACE)
    assert mentions(kept) == whole


def test_purge_finds_what_the_index_does_not_show_and_what_is_stored_meanwhile(
    world: World, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws.client("scheduler").create_schedule_group(Name=settings().source_schedule_group)
    rows.workspaces = [WORKSPACE]
    source_id = stock(WORKSPACE, rows)
    document_id = documents.document_id(source_id, "1")
    query = tables.query

    def lagging(table: str, *arguments: Any, **options: Any) -> Any:
        if (table, options.get("IndexName")) == ("documents", "by_workspace"):
            return iter(())
        return query(table, *arguments, **options)

    late = f"embeddings/{WORKSPACE}/{document_id}/1-late.jsonl.gz"

    def embed_ends(_: float) -> None:
        monkeypatch.setattr("functions.purge.steps.time.sleep", lambda _: None)
        aws.client("s3").put_object(Bucket=settings().documents_bucket, Key=late, Body=b"")

    monkeypatch.setattr(tables, "query", lagging)
    monkeypatch.setattr("functions.purge.steps.time.sleep", embed_ends)
    run("workspace", WORKSPACE)
    assert mentions(WORKSPACE, source_id) == []
    assert knowledge() == ["signing"]


def test_running_turn_is_ended_when_its_workspace_is_purged(world: World, rows: Rows) -> None:
    ack = asked(world, ended=False)
    run("workspace", WORKSPACE)
    assert [frame["status"] for frame in world.frames(f"of-{USER}", ack["message_id"])] == [
        "cancelled"
    ]
    assert mentions(WORKSPACE, ack["message_id"]) == []
    assert world.end({"message_id": ack["message_id"], "request_id": "r"})["status"] == "deleted"
    assert mentions(ack["message_id"]) == []


@pytest.mark.parametrize("kind", ["conversation", "user", "workspace"])
def test_purge_goes_on_when_it_was_killed_at_any_write(
    kind: str, world: World, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at the first write, next time at the second, and so on, until one gets through."""
    kept = asked(world, OTHER_USER, ELSEWHERE)
    whole = [item for item in mentions(kept["conversation_id"]) if not of_user_or_sum(item)]
    kills = Kills(monkeypatch)
    while True:
        world.gateway.gone.clear()
        gone = asked(world)
        ids = {"conversation": gone["conversation_id"], "user": USER, "workspace": WORKSPACE}
        rows.users, rows.workspaces = [USER], [WORKSPACE]
        killed = kills.next(lambda ids=ids: run(kind, ids[kind]))  # type: ignore[misc]
        run(kind, ids[kind])
        assert mentions(gone["conversation_id"], gone["message_id"]) == []
        assert list(deletion.due()) == []
        assert count() == 0
        left = mentions(kept["conversation_id"])
        assert [item for item in left if not of_user_or_sum(item)] == whole
        stored = list(feedback.of_conversation(ELSEWHERE, kept["conversation_id"]))
        assert count(ELSEWHERE) == len(stored) == (1 if kind == "user" else 2)
        if not killed:
            break
    assert kills.at > 5


def of_user_or_sum(item: dict[str, Any]) -> bool:
    return item.get("user_id") == USER or item.get("item", "").startswith("SUMMARY")


class Kills:
    """Kills what writes to DynamoDB, each time one write later."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at, self.left = -1, 10**9
        call = aws.client("dynamodb")._make_api_call

        def dying(name: str, values: dict[str, Any]) -> Any:
            if name not in ("Query", "GetItem", "Scan"):
                self.left -= 1
                if self.left < 0:
                    raise Killed
            return call(name, values)

        monkeypatch.setattr(aws.client("dynamodb"), "_make_api_call", dying)

    def next(self, work: Callable[[], Any]) -> bool:
        """Whether the work was killed before its end."""
        self.at += 1
        self.left = self.at
        try:
            work()
        except Killed:
            return True
        finally:
            self.left = 10**9
        return False


def test_work_is_cut_into_calls_when_it_takes_long(
    world: World, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "WORK_SECONDS", 0)
    made = [asked(world)["conversation_id"] for _ in range(3)]
    rows.workspaces, rows.more = [WORKSPACE], 2
    assert run("workspace", WORKSPACE) > 6
    assert mentions(WORKSPACE, *made) == []
    assert rows.workspaces == []


def test_call_is_retried_when_the_database_wakes(
    rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise ServiceUnavailable(retry_after=5)

    monkeypatch.setattr(database, "call", away)
    with pytest.raises(RetryLater):
        run("workspace", WORKSPACE)


def test_daily_run_does_what_is_due_when_starts_were_lost(world: World, rows: Rows) -> None:
    conversation, kept = asked(world, OTHER_USER), asked(world, OTHER_USER, ELSEWHERE)
    mine = asked(world, USER, ELSEWHERE)
    deletion.mark(conversation["conversation_id"])
    rows.users = [USER]
    run("due")
    assert mentions(USER, conversation["conversation_id"], mine["conversation_id"]) == []
    assert mentions(kept["conversation_id"]) != []
    assert rows.users == []
    rows.workspaces = [ELSEWHERE]
    run("due")
    assert mentions(kept["conversation_id"]) == []
    assert run("due") == 1


def test_others_are_purged_and_the_run_fails_when_one_fails(
    world: World, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = asked(world, OTHER_USER), asked(world, USER)
    for ack in (first, second):
        deletion.mark(ack["conversation_id"])
    real = conversations.roles

    def broken(conversation_id: str) -> Iterator[dict[str, Any]]:
        if conversation_id == first["conversation_id"]:
            raise RuntimeError("broken")
        return real(conversation_id)

    with monkeypatch.context() as patch:
        patch.setattr(conversations, "roles", broken)
        with pytest.raises(steps.NotPurged):
            run("due")
    assert [entry["item"] for entry in deletion.due()] == [first["conversation_id"]]
    run("due")
    assert mentions(first["conversation_id"], second["conversation_id"]) == []


def age(conversation_id: str, days: float, silent: bool = True) -> None:
    at = timestamp(now_ms() - int(days * 86_400_000))
    values = {"created_key": f"{at}#{conversation_id}"} | (
        {"last_message_at": at} if silent else {}
    )
    change("conversations", conversations.head_key(conversation_id), values)


def test_conversations_go_when_they_were_silent_longer_than_the_setting_says(
    world: World, rows: Rows, environment: pytest.MonkeyPatch
) -> None:
    old, young, active = (asked(world)["conversation_id"] for _ in range(3))
    older = asked(world, USER, ELSEWHERE)["conversation_id"]
    empty = conversations.new_head(new_id(), WORKSPACE, USER, CHATBOT, None)
    head = {**empty, "created_key": f"2020-01-01T00:00:00.000000Z#{empty['conversation_id']}"}
    aws.client("dynamodb").put_item(TableName="conversations", Item=tables.pack(head))
    age(old, 31)
    age(older, 400)
    age(young, 29)
    age(active, 400, silent=False)
    before = everything()
    run("due")
    assert everything() == before
    environment.setenv("CONVERSATION_RETENTION_DAYS", "30")
    fresh_settings()
    run("due")
    assert mentions(old, older, empty["conversation_id"]) == []
    for kept in (young, active):
        assert conversations.head(kept)
    told = {(workspace, params["id"]) for workspace, params in rows.told}
    assert told == {(WORKSPACE, old), (WORKSPACE, empty["conversation_id"]), (ELSEWHERE, older)}


def test_start_is_made_once_and_never_fails(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        purging.start("user", USER)
    assert list(world.purges.inputs) == [f"user-{USER}"]
    assert world.purges.inputs[f"user-{USER}"]["cursor"] == ""
    world.purges.lost = True
    purging.start("workspace", WORKSPACE)

    def refuse(**_: Any) -> None:
        refusal: ClientError = error("ThrottlingException")
        raise refusal

    monkeypatch.setattr(world.purges, "start_execution", refuse)
    purging.start("workspace", WORKSPACE)
    assert list(world.purges.inputs) == [f"user-{USER}"]
