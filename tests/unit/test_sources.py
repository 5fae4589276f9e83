"""Sources over REST: what is refused, what is made beside the row, and in which order."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from moto import mock_aws

from chatbot import aws, documents, sources, tables
from chatbot import database as data_api
from chatbot.errors import NotFound, ServiceUnavailable
from chatbot.identifiers import created_at, new_id, now_ms
from functions.remove_source import handler as removal
from functions.sources.handler import handler
from tests.unit.conftest import FakeDatabase, fresh_settings
from tests.unit.rest import BOB, WORKSPACE_A, WORKSPACE_B, Answer, event, send

PATH = f"/api/v1/workspaces/{WORKSPACE_A}/sources"
JOBS = f"/api/v1/workspaces/{WORKSPACE_A}/jobs"
SOURCE = "0190aaaa-0000-4000-8000-000000000001"
OTHER = "0190bbbb-0000-4000-8000-000000000002"
SLACK = {
    "provider": "slack",
    "name": "Chat",
    "config": {},
    "credentials": {"bot_token": "xoxb-secret"},
    "schedule": "rate(15 minutes)",
}
ROW: dict[str, Any] = {
    "id": SOURCE,
    "provider": "slack",
    "name": "Chat",
    "config": {},
    "schedule": "rate(15 minutes)",
    "is_enabled": True,
    "created_at": "2026-11-24T00:00:00.000000Z",
    "updated_at": "2026-11-24T00:00:00.000000Z",
    "version": 1,
}


def _table(name: str, keys: list[str], **indexes: list[str]) -> None:
    def schema(names: list[str]) -> list[dict[str, str]]:
        kinds = zip(names, ("HASH", "RANGE"), strict=False)
        return [{"AttributeName": each, "KeyType": kind} for each, kind in kinds]

    made = [
        {
            "IndexName": index,
            "KeySchema": schema(names),
            "Projection": {"ProjectionType": "ALL"},
        }
        for index, names in indexes.items()
    ]
    attributes = {*keys, *(each for names in indexes.values() for each in names)}
    aws.client("dynamodb").create_table(
        TableName=name,
        KeySchema=schema(keys),
        AttributeDefinitions=[
            {"AttributeName": each, "AttributeType": "S"} for each in sorted(attributes)
        ],
        BillingMode="PAY_PER_REQUEST",
        **({"GlobalSecondaryIndexes": made} if made else {}),
    )


@pytest.fixture(autouse=True)
def stores(database: FakeDatabase, environment: pytest.MonkeyPatch) -> Iterator[None]:
    """Every store that a source is in, and two machines that do nothing."""
    aws.client.cache_clear()
    with mock_aws():
        _table("guards", ["guard"])
        _table("jobs", ["source_id", "job_id"], by_workspace=["workspace_id", "created_key"])
        _table(
            "documents",
            ["document_id"],
            by_source=["source_id", "external_id"],
            by_status=["source_id", "status"],
        )
        aws.client("scheduler").create_schedule_group(Name="sources")
        for machine in ("ingest", "remove"):
            aws.client("stepfunctions").create_state_machine(
                name=machine,
                definition=json.dumps({"StartAt": "Do", "States": {"Do": {"Type": "Succeed"}}}),
                roleArn="arn:aws:iam::123456789012:role/test",
            )
        yield
    aws.client.cache_clear()


def ask(method: str, path: str, body: Any = None, **request: Any) -> Answer:
    return send(handler, event(method, path, body, **request))


def secret(source_id: str = SOURCE) -> Any:
    name = f"chatbot-test/source/{source_id}"
    found = aws.client("secretsmanager").get_secret_value(SecretId=name)
    return json.loads(found["SecretString"])


def schedules() -> dict[str, Any]:
    scheduler = aws.client("scheduler")
    listed = scheduler.list_schedules(GroupName="sources")["Schedules"]
    return {
        each["Name"]: scheduler.get_schedule(Name=each["Name"], GroupName="sources")
        for each in listed
    }


def executions(machine: str) -> list[Any]:
    states = aws.client("stepfunctions")
    arn = f"arn:aws:states:eu-west-1:123456789012:stateMachine:{machine}"
    return [
        json.loads(states.describe_execution(executionArn=each["executionArn"])["input"])
        for each in states.list_executions(stateMachineArn=arn)["executions"]
    ]


def put_lock(source_id: str = SOURCE, **fields: Any) -> None:
    item = {**sources.lock_key(source_id), "workspace_id": WORKSPACE_A, **fields}
    aws.client("dynamodb").put_item(TableName="jobs", Item=tables.pack(item))


def put_document(document_id: str, status: str, source_id: str = SOURCE) -> None:
    row = {
        "document_id": document_id,
        "source_id": source_id,
        "external_id": document_id,
        "status": status,
    }
    aws.client("dynamodb").put_item(TableName="documents", Item=tables.pack(row))


# --- What is refused -----------------------------------------------------------------------------


def gitlab(**config: Any) -> dict[str, Any]:
    return {
        **SLACK,
        "provider": "gitlab",
        "config": config,
        "credentials": {"private_token": "t"},
    }


def backlog(**config: Any) -> dict[str, Any]:
    return {**SLACK, "provider": "backlog", "config": config, "credentials": {"api_key": "k"}}


SPACE = "https://space.backlog.com/api/v2"


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({**SLACK, "provider": "jira"}, ["provider"]),
        ({**SLACK, "name": ""}, ["name"]),
        ({**SLACK, "schedule": "rate(0 minutes)"}, ["schedule"]),
        ({**SLACK, "is_enabled": "yes"}, ["is_enabled"]),
        ({**SLACK, "status": "idle"}, ["status"]),
        ({**SLACK, "credentials": {}}, ["credentials", "bot_token"]),
        ({**SLACK, "credentials": {"bot_token": 1}}, ["credentials", "bot_token"]),
        ({**SLACK, "credentials": {"bot_token": "a\nb"}}, ["credentials", "bot_token"]),
        ({**SLACK, "credentials": {"private_token": "x"}}, ["credentials", "bot_token"]),
        ({**SLACK, "config": {"page_size": 0}}, ["config", "page_size"]),
        ({**SLACK, "config": {"page_size": "15"}}, ["config", "page_size"]),
        ({**SLACK, "config": {"page_size": True}}, ["config", "page_size"]),
        ({**SLACK, "config": {"channels": "C1"}}, ["config", "channels"]),
        ({**SLACK, "config": {"channels": [1]}}, ["config", "channels", 0]),
        ({**SLACK, "config": {"channels": None}}, ["config", "channels"]),
        ({**SLACK, "config": {"include_bots": 1}}, ["config", "include_bots"]),
        ({**SLACK, "config": {"projects": ["a/b"]}}, ["config", "projects"]),
        (gitlab(), ["config", "projects"]),
        (gitlab(projects=[]), ["config", "projects"]),
        (gitlab(projects=["a b/c"]), ["config", "projects", 0]),
        (gitlab(projects=["a/b"], include=["pipelines"]), ["config", "include", 0]),
        (gitlab(projects=["a/b"], ref=None), ["config", "ref"]),
        (backlog(projects=["KEY"]), ["config", "base_url"]),
        (backlog(base_url=SPACE, projects=["key"]), ["config", "projects", 0]),
        (backlog(base_url=SPACE, projects=["KEY"], include=["files"]), ["config", "include", 0]),
    ],
)
def test_source_is_refused_with_the_place_of_the_fault(
    body: dict[str, Any], loc: list[Any], database: FakeDatabase
) -> None:
    answer = ask("POST", PATH, body)
    assert answer.status == 422
    assert ["body", *loc] in [fault["loc"] for fault in answer.json["errors"]]
    assert database.asked == []
    assert schedules() == {}


@pytest.mark.parametrize(
    "base_url",
    [
        "http://127.0.0.1/api",
        "http://127.1/api",
        "http://2130706433/api",
        "http://0x7f.0.0.1/api",
        "http://0177.0.0.1/api",
        "http://[::1]/api",
        "http://[::ffff:10.0.0.1]/api",
        "http://[fe80::1]/api",
        "http://0.0.0.0/api",
        "http://[::]/api",
        "http://10.1.2.3/api",
        "http://169.254.169.254/latest",
        "http://192.168.0.1:8080/api",
        "http://user:pass@example.com/api",
        "ftp://example.com/api",
        "example.com/api",
        "http:///api",
    ],
)
def test_base_url_is_refused_when_it_leads_inside_or_nowhere(
    base_url: str, database: FakeDatabase
) -> None:
    answer = ask("POST", PATH, {**SLACK, "config": {"base_url": base_url}})
    assert answer.status == 422
    assert answer.json["errors"][0]["loc"] == ["body", "config", "base_url"]
    database.answers = [ROW]
    assert ask("PATCH", f"{PATH}/{SOURCE}", {"config": {"base_url": base_url}}).status == 422
    assert len(database.asked) == 1  # what it was; nothing is written


# --- What is made --------------------------------------------------------------------------------


def test_source_gets_a_secret_and_a_schedule_and_shows_no_credentials(
    database: FakeDatabase,
) -> None:
    database.answers = [ROW]
    answer = ask("POST", PATH, SLACK)
    assert answer.status == 201
    assert "xoxb-secret" not in answer.text
    assert (answer.json["status"], answer.json["last_synced_at"]) == ("idle", None)
    assert "xoxb-secret" not in json.dumps(database.asked[0]["params"])
    assert secret() == {"bot_token": "xoxb-secret"}
    made = schedules()[SOURCE]
    assert (made["ScheduleExpression"], made["State"]) == ("rate(15 minutes)", "ENABLED")
    assert json.loads(made["Target"]["Input"]) == {
        "workspace_id": WORKSPACE_A,
        "source_id": SOURCE,
        "provider": "slack",
        "config": {},
        "trigger": "schedule",
    }


def test_repeated_creation_changes_nothing_and_brings_no_deleted_source_back(
    database: FakeDatabase,
) -> None:
    headers = {"idempotency-key": "k"}
    database.answers = [ROW, ROW]
    assert ask("POST", PATH, SLACK, headers=headers).status == 201
    later = {**SLACK, "credentials": {"bot_token": "other"}}
    database.answers = [ROW, ROW]
    assert ask("POST", PATH, later, headers=headers).status == 201
    assert secret() == {"bot_token": "xoxb-secret"}
    sources.remove(SOURCE)
    database.answers = [ROW, None]
    assert ask("POST", PATH, SLACK, headers=headers).status == 201
    assert schedules() == {}


def test_change_reaches_the_schedule_and_the_secret(database: FakeDatabase) -> None:
    database.answers = [ROW]
    ask("POST", PATH, SLACK)
    changed = {**ROW, "schedule": "rate(1 hour)", "is_enabled": False, "config": {"page_size": 15}}
    database.answers = [ROW, changed]
    body = {
        "schedule": "rate(1 hour)",
        "is_enabled": False,
        "config": {"page_size": 15, "channels": None},
        "credentials": {"bot_token": "new"},
    }
    answer = ask("PATCH", f"{PATH}/{SOURCE}", body)
    assert answer.status == 200
    assert '"new"' not in answer.text
    assert "new" not in json.dumps(database.asked[2]["params"]["changes"].get("config"))
    assert secret() == {"bot_token": "new"}
    made = schedules()[SOURCE]
    assert (made["ScheduleExpression"], made["State"]) == ("rate(1 hour)", "DISABLED")
    assert json.loads(made["Target"]["Input"])["config"] == {"page_size": 15}


def test_change_mends_a_source_whose_creation_broke_off(database: FakeDatabase) -> None:
    database.answers = [ROW, ROW]
    body = {"credentials": {"bot_token": "again"}}
    assert ask("PATCH", f"{PATH}/{SOURCE}", body).status == 200
    assert secret() == {"bot_token": "again"}
    assert [*schedules()] == [SOURCE]


@pytest.mark.parametrize(
    "body",
    [
        {"provider": "gitlab"},
        {"name": None},
        {"credentials": {"private_token": "x"}},
        {"config": {"projects": ["a/b"]}},
        {"config": {"page_size": 1000}},
        {"config": None},
    ],
)
def test_change_is_refused_when_it_does_not_fit_the_provider(
    body: dict[str, Any], database: FakeDatabase
) -> None:
    database.answers = [ROW]
    assert ask("PATCH", f"{PATH}/{SOURCE}", body).status == 422
    assert schedules() == {}


def test_required_configuration_cannot_be_taken_away(database: FakeDatabase) -> None:
    database.answers = [{**ROW, "provider": "gitlab", "config": {"projects": ["a/b"]}}]
    assert ask("PATCH", f"{PATH}/{SOURCE}", {"config": {"projects": None}}).status == 422


def test_deletion_starts_the_machine_before_the_row_goes(database: FakeDatabase) -> None:
    database.answers = [ROW, ServiceUnavailable(retry_after=1)]
    assert ask("DELETE", f"{PATH}/{SOURCE}").status == 503
    [order] = executions("remove")
    assert (order["workspace_id"], order["source_id"]) == (WORKSPACE_A, SOURCE)
    database.answers = [ROW]
    stale = ask("DELETE", f"{PATH}/{SOURCE}", headers={"if-match": '"7"'})
    assert stale.status == 412
    database.answers = [None]
    assert ask("DELETE", f"{PATH}/{SOURCE}").status == 404
    assert len(executions("remove")) == 1


# --- Runs ----------------------------------------------------------------------------------------


def sync(database: FakeDatabase, **request: Any) -> Answer:
    database.answers = [ROW]
    return ask("POST", f"{PATH}/{SOURCE}/sync", **request)


def test_sync_takes_the_lock_and_starts_one_run(database: FakeDatabase) -> None:
    first = sync(database)
    assert first.status == 202
    [order] = executions("ingest")
    assert order["job_id"] == first.json["job_id"]
    assert order["trigger"] == "manual"
    second = sync(database)
    assert (second.status, second.headers["Retry-After"]) == (409, "5")
    assert len(executions("ingest")) == 1
    database.answers = [{"items": [ROW], "more": False}]
    [listed] = ask("GET", PATH).json["items"]
    assert listed["status"] == "running"


def test_sync_answers_the_same_job_when_its_key_is_repeated(database: FakeDatabase) -> None:
    headers = {"idempotency-key": "k"}
    first = sync(database, headers=headers)
    assert sync(database, headers=headers).json == first.json
    assert len(executions("ingest")) == 1
    other = sync(database, headers=headers, caller=BOB)
    assert other.status == 409


def test_sync_leaves_nothing_when_the_machine_cannot_be_started(
    database: FakeDatabase, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("INGEST_STATE_MACHINE_ARN", "arn:aws:states:eu-west-1:1:stateMachine:none")
    fresh_settings()
    assert sync(database).status == 503
    rows = aws.client("dynamodb").scan(TableName="jobs")["Items"]
    assert [row for row in rows if "holder" in row or row["job_id"]["S"] != "LOCK"] == []


def test_sync_takes_over_a_lock_whose_lease_has_run_out(database: FakeDatabase) -> None:
    put_lock(holder=new_id(), lease_until=now_ms() - 1)
    assert sync(database).status == 202
    put_lock(deleting=True)
    assert sync(database).status == 409


def test_jobs_are_listed_by_source_and_by_workspace_newest_first(database: FakeDatabase) -> None:
    ids: list[str] = []
    for _ in range(3):
        ids.insert(0, sync(database).json["job_id"])
        put_lock()
    for query in ({}, {"source_id": SOURCE}):
        database.answers = [True]
        page = ask("GET", JOBS, query={**query, "limit": "2"}).json
        assert [job["id"] for job in page["items"]] == ids[:2]
        database.answers = [True]
        rest = ask("GET", JOBS, query={**query, "limit": "2", "cursor": page["next_cursor"]}).json
        assert [job["id"] for job in rest["items"]] == ids[2:]
        assert rest["next_cursor"] is None
    database.answers = [False]
    assert ask("GET", JOBS, query={"source_id": OTHER}).json["items"] == []
    assert ask("GET", JOBS, query={"source_id": "x"}).status == 422


def test_job_is_shown_to_its_workspace_only(database: FakeDatabase) -> None:
    job_id = sync(database).json["job_id"]
    database.answers = [True]
    job = ask("GET", f"{JOBS}/{job_id}").json
    assert (job["id"], job["source_id"], job["status"]) == (job_id, SOURCE, "running")
    assert job["started_at"] == created_at(job_id)
    assert job["counts"] == {
        "fetched": 0,
        "changed": 0,
        "unchanged": 0,
        "deleted": 0,
        "failed": 0,
    }
    theirs = f"/api/v1/workspaces/{WORKSPACE_B}/jobs"
    database.answers = [True]
    assert ask("GET", f"{theirs}/{job_id}", caller=BOB).status == 404
    database.answers = [True]
    assert ask("GET", theirs, caller=BOB).json["items"] == []


@pytest.mark.parametrize("job_id", ["f" * 8 + "-ffff-7fff-bfff-" + "f" * 12, SOURCE])
def test_job_is_not_found_when_the_id_is_none_of_ours(job_id: str, database: FakeDatabase) -> None:
    database.answers = [True]
    assert ask("GET", f"{JOBS}/{job_id}").status == 404


def test_job_without_a_living_run_is_shown_as_failed(database: FakeDatabase) -> None:
    job_id = sync(database).json["job_id"]
    aws.client("dynamodb").update_item(
        TableName="jobs",
        Key=tables.pack({"source_id": SOURCE, "job_id": job_id}),
        UpdateExpression="SET lease_until = :past",
        ExpressionAttributeValues=tables.pack({":past": now_ms() - 1}),
    )
    database.answers = [True]
    job = ask("GET", f"{JOBS}/{job_id}").json
    assert (job["status"], job["error"]) == ("failed", "The run was interrupted.")


def test_members_without_the_permission_see_no_job(database: FakeDatabase) -> None:
    job_id = sync(database).json["job_id"]
    for path in (JOBS, f"{JOBS}/{job_id}"):
        database.answers = [NotFound()]
        assert ask("GET", path).status == 404
        assert database.asked[-1]["permission"] == "sources:read"


# --- Health --------------------------------------------------------------------------------------


def test_health_tells_the_last_complete_run_and_what_waits_or_failed(
    database: FakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = created_at(new_id())
    put_lock(
        last_status="failed",
        last_error="the token was revoked",
        last_synced_at=begun,
        complete_from=begun,
    )
    for number in range(3):
        put_document(f"pending-{number}", "pending")
        put_document(f"done-{number}", "embedded")
    put_document("broken", "failed")
    put_document("theirs", "failed", OTHER)
    database.answers = [ROW]
    source = ask("GET", f"{PATH}/{SOURCE}").json
    assert (source["status"], source["last_error"]) == ("failed", "the token was revoked")
    assert source["last_synced_at"] == begun
    assert source["health"].pop("lag_seconds") in range(60)
    assert source["health"] == {"last_complete_run": begun, "pending": 3, "failed": 1}
    replayed: list[str] = []
    monkeypatch.setattr("functions.sources.states.documents.replay", replayed.append)
    database.answers = [ROW]
    answer = ask("POST", f"{PATH}/{SOURCE}/replay")
    assert (answer.status, answer.json) == (202, {"replayed": 1, "has_more": False})
    assert replayed == ["broken"]


def test_status_of_every_source_comes_from_its_own_lock(database: FakeDatabase) -> None:
    put_lock(holder="j", lease_until=now_ms() + 60_000)
    put_lock(OTHER, last_status="failed", last_error="why")
    idle = "0190cccc-0000-4000-8000-000000000003"
    items = [{**ROW, "id": each} for each in (SOURCE, OTHER, idle)]
    database.answers = [{"items": items, "more": False}]
    found = ask("GET", PATH).json["items"]
    assert [each["status"] for each in found] == ["running", "failed", "idle"]
    database.answers = [{"items": [], "more": False}]
    assert ask("GET", PATH).json == {"items": [], "next_cursor": None}


# --- Removal -------------------------------------------------------------------------------------

ORDER = {"workspace_id": WORKSPACE_A, "source_id": SOURCE, "request_id": "r"}


def test_removal_leaves_nothing_of_a_source_and_all_of_another(
    database: FakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_api, "system", lambda *_: None)
    sources.provide(WORKSPACE_A, ROW, {"bot_token": "x"})
    sources.provide(WORKSPACE_A, {**ROW, "id": OTHER}, {"bot_token": "y"})
    put_document("mine", "embedded")
    put_document("theirs", "embedded", OTHER)
    sync(database)
    assert removal.handler(ORDER, None) == {"has_more": True, "wait_seconds": 5}  # a run is on
    assert schedules().keys() == {SOURCE, OTHER}
    put_lock(OTHER)
    put_lock(deleting=True)
    assert removal.handler(ORDER, None) == {"has_more": True, "wait_seconds": 5}
    assert removal.handler(ORDER, None) == {"has_more": True, "wait_seconds": 5}
    put_document("late", "embedded")  # what the index has not shown until now
    assert removal.handler(ORDER, None) == {"has_more": True, "wait_seconds": 5}
    for _ in range(2):  # the whole removal may also be begun again
        while removal.handler(ORDER, None)["has_more"]:
            assert [*schedules()] == [OTHER]
    assert documents.find("mine") is documents.find("late") is None
    assert documents.find("theirs") is not None
    assert [*schedules()] == [OTHER]
    assert secret(OTHER) == {"bot_token": "y"}
    with pytest.raises(aws.client("secretsmanager").exceptions.ResourceNotFoundException):
        secret()
    rows = aws.client("dynamodb").scan(TableName="jobs")["Items"]
    assert [row["source_id"]["S"] for row in rows] == [OTHER]
