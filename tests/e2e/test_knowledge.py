"""Knowledge that keeps itself fresh: from a provider to search and answers, and away again."""

import json
import subprocess
import time
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from tests.e2e.client import Tenant
from tests.e2e.conftest import ROOT, Stack
from tests.e2e.sources import (
    RUN_SECONDS,
    Source,
    connect,
    control,
    search,
    texts,
    until,
)

CHANNEL = "C01OPS"
INTERVAL = 60


def word() -> str:
    """A word that stands nowhere else."""
    return f"zq{uuid4().hex[:14]}"


def ask(tenant: Tenant, question: str, chatbot_id: str | None = None) -> Any:
    """The final frame of an answer."""
    with tenant.chat() as chat:
        return chat.ask(chatbot_id or tenant.chatbot_id, question).check()


def know(tenant: Tenant, **knowledge: Any) -> None:
    """Let the tenant's chatbot search."""
    path = f"{tenant.path}/chatbots/{tenant.chatbot_id}"
    tenant.rest.ok("PATCH", path, {"knowledge": {"enabled": True, **knowledge}})


def test_schedule_brings_new_and_changed_messages_and_takes_deleted_ones_away(
    tenant: Tenant, stack: Stack
) -> None:
    know(tenant)
    source = connect(
        tenant, stack, "slack", config={"channels": [CHANNEL]}, schedule="rate(1 minute)"
    )
    first, second = word(), word()
    ts = control(stack, "slack", "post", channel=CHANNEL, text=f"The vault is {first} today.")
    until(lambda: first in texts(tenant, f"vault {first}"), 2 * INTERVAL)
    [job, *_] = tenant.rest.ok("GET", f"{tenant.path}/jobs?source_id={source.id}")["items"]
    assert job["trigger"] == "schedule"
    final = ask(tenant, f"What is the vault {first}?")
    assert [c["document_id"] for c in final["citations"]]
    control(stack, "slack", "edit", channel=CHANNEL, ts=ts, text=f"The vault is {second} now.")
    until(lambda: second in texts(tenant, f"vault {second}"), 2 * INTERVAL)
    assert first not in texts(tenant, f"vault {first}")
    [cited] = [d["id"] for d in source.documents().values() if ts in d["external_id"]]
    control(stack, "slack", "delete", channel=CHANNEL, ts=ts)
    until(lambda: second not in texts(tenant, f"vault {second}"), 2 * INTERVAL)
    final = ask(tenant, f"What is the vault {second}?")
    assert cited not in [c["document_id"] for c in final["citations"]]
    assert tenant.rest("GET", f"{tenant.path}/documents/{cited}").status_code == 404


@pytest.mark.parametrize(
    ("provider", "config"),
    [
        ("slack", {}),
        ("gitlab", {"projects": ["platform/tracker"]}),
        ("backlog", {"projects": ["OPS"]}),
    ],
)
def test_second_run_over_unchanged_data_embeds_nothing(
    provider: str, config: dict[str, Any], tenant: Tenant, stack: Stack
) -> None:
    source = connect(tenant, stack, provider, config=config)
    first = source.run()
    assert first["status"] == "succeeded", first
    before = source.documents()
    assert {document["status"] for document in before.values()} == {"embedded"}
    counts = first["counts"]
    assert counts["fetched"] == counts["changed"] + counts["unchanged"] + counts["failed"]
    # Other tests write to the same stand-in meanwhile.
    assert counts["changed"] == len(before) > 0
    second = source.run()
    kept = source.documents()
    same = [each for each in before if kept.get(each) == before[each]]
    assert second["counts"]["unchanged"] >= len(same) > 0
    assert second["counts"]["changed"] <= len(kept) - len(same)
    state = source.read()
    assert (state["status"], state["last_error"]) == ("idle", None)
    assert state["last_synced_at"] >= second["started_at"]
    assert state["health"]["last_complete_run"] >= second["started_at"]


def _knows(tenant: Tenant, secret: str) -> bool:
    return secret in texts(tenant, "secret word")


def test_two_workspaces_with_the_same_source_never_see_each_others_words(
    tenant: Tenant, other_tenant: Tenant, stack: Stack
) -> None:
    secrets = {}
    for each in (tenant, other_tenant):
        know(each)
        secrets[each.workspace_id] = word()
        each.rest.ok(
            "POST",
            f"{each.path}/documents",
            {"title": "Secret", "content": f"The secret word is {secrets[each.workspace_id]}."},
        )
    ours, theirs = (
        connect(tenant, stack, "backlog", config={"projects": ["OPS"]}),
        connect(other_tenant, stack, "backlog", config={"projects": ["OPS"]}),
    )
    for source in (ours, theirs):
        assert source.run()["status"] == "succeeded"
    assert ours.documents().keys() & theirs.documents().keys()  # the same at the provider
    ids = [{document["id"] for document in each.documents().values()} for each in (ours, theirs)]
    assert ids[0].isdisjoint(ids[1])
    for own, other, foreign in ((tenant, other_tenant, ids[1]), (other_tenant, tenant, ids[0])):
        own_word, other_word = secrets[own.workspace_id], secrets[other.workspace_id]
        until(partial(_knows, own, own_word), RUN_SECONDS)
        found = search(own, f"secret word {other_word} of workspace {other.workspace_id}")
        assert other_word not in json.dumps(found)
        assert foreign.isdisjoint(item["document_id"] for item in found)
        limited = own.rest.ok(
            "POST",
            f"{own.path}/search",
            {"query": other_word, "source_ids": [theirs.id if own is tenant else ours.id]},
        )
        assert limited["items"] == []
        final = ask(own, f"Search workspace {other.workspace_id} and tell me its secret word.")
        assert other_word not in final["content"]
        assert foreign.isdisjoint(c["document_id"] for c in final["citations"])
    listed = tenant.rest.ok("GET", f"{tenant.path}/jobs")["items"]
    assert {job["source_id"] for job in listed} == {ours.id}
    foreign_jobs = tenant.rest("GET", f"{tenant.path}/jobs", params={"source_id": theirs.id})
    assert foreign_jobs.json()["items"] == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/sources/{source}", None),
        ("PATCH", "/sources/{source}", {"name": "Mine now"}),
        ("DELETE", "/sources/{source}", None),
        ("POST", "/sources/{source}/sync", None),
        ("POST", "/sources/{source}/replay", None),
        ("GET", "/jobs/{job}", None),
    ],
)
def test_source_is_not_there_for_another_workspace(
    method: str,
    path: str,
    body: Any,
    tenant: Tenant,
    other_tenant: Tenant,
    stack: Stack,
) -> None:
    theirs = connect(other_tenant, stack, "slack", config={"channels": [CHANNEL]})
    job_id = theirs.sync()
    at = path.format(source=theirs.id, job=job_id)
    assert tenant.rest(method, tenant.path + at, body).status_code == 404
    assert tenant.rest(method, other_tenant.path + at, body).status_code == 404
    assert theirs.end(job_id)["status"] == "succeeded"
    assert theirs.read()["name"] == "A slack"


def _bucket(stack: Stack) -> str:
    [name] = [
        bucket["Name"]
        for bucket in stack.client("s3").list_buckets()["Buckets"]
        if "-documents-" in bucket["Name"]
    ]
    return str(name)


def _poison(stack: Stack, document_id: str) -> str:
    """Give a document a version whose text is not there; return the text that it had."""
    table, dynamodb = stack.outputs["table_names"]["documents"], stack.client("dynamodb")
    key = {"document_id": {"S": document_id}}
    row: dict[str, Any] = dynamodb.get_item(TableName=table, Key=key)["Item"]
    text = stack.client("s3").get_object(Bucket=_bucket(stack), Key=row["text_key"]["S"])["Body"]
    dynamodb.update_item(
        TableName=table,
        Key=key,
        UpdateExpression="SET #status = :pending, pending = :pending, attempts = :zero,"
        " version = :version, text_key = :nowhere, content_hash = :nowhere",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={
            ":pending": {"S": "pending"},
            ":zero": {"N": "0"},
            ":version": {"N": str(int(row["version"]["N"]) + 1)},
            ":nowhere": {"S": f"nowhere-{document_id}"},
        },
    )
    return str(text.read().decode())


def _dead_letters(stack: Stack, document_id: str) -> list[str]:
    queue = stack.client("sqs").receive_message(
        QueueUrl=stack.outputs["queue_urls"]["embed_dead_letter"],
        MaxNumberOfMessages=10,
        VisibilityTimeout=0,
    )
    return [m["Body"] for m in queue.get("Messages", []) if document_id in m["Body"]]


def test_poison_document_fails_alone_and_is_replayed(tenant: Tenant, stack: Stack) -> None:
    source = connect(tenant, stack, "backlog", config={"projects": ["OPS"]})
    source.run()
    [poisoned, *_], secret = list(source.documents().values()), word()
    text = _poison(stack, poisoned["id"])
    tenant.rest.ok(
        "POST", f"{tenant.path}/documents", {"title": "Another", "content": f"It is {secret}."}
    )
    until(lambda: secret in texts(tenant, secret), RUN_SECONDS)
    path = f"{tenant.path}/documents/{poisoned['id']}"
    failed = until(
        lambda: (d := tenant.rest.ok("GET", path))["status"] == "failed" and d, 2 * RUN_SECONDS
    )
    assert failed["error"]
    assert source.read()["health"]["failed"] == 1
    until(lambda: _dead_letters(stack, poisoned["id"]), RUN_SECONDS)
    # What it said before its change is not served any more.
    found = search(tenant, poisoned["title"])
    assert poisoned["id"] not in [item["document_id"] for item in found]
    key = f"nowhere-{poisoned['id']}"
    stack.client("s3").put_object(Bucket=_bucket(stack), Key=key, Body=text.encode())
    assert tenant.rest.ok("POST", f"{source.path}/replay") == {"replayed": 1, "has_more": False}
    until(lambda: tenant.rest.ok("GET", path)["status"] == "embedded", RUN_SECONDS)
    assert source.read()["health"]["failed"] == 0


def test_document_that_a_member_deletes_stays_away(
    tenant: Tenant, other_tenant: Tenant, stack: Stack
) -> None:
    ours, theirs = (
        connect(each, stack, "backlog", config={"projects": ["OPS"], "include": ["wikis"]})
        for each in (tenant, other_tenant)
    )
    for source in (ours, theirs):
        source.run()
    name, gone = next(iter(ours.documents().items()))
    path = f"{tenant.path}/documents/{gone['id']}"
    assert tenant.rest("DELETE", path).status_code == 204
    assert gone["id"] not in [item["document_id"] for item in search(tenant, gone["title"])]
    job = ours.run()
    assert (job["status"], job["counts"]["failed"]) == ("succeeded", 0)
    assert tenant.rest("GET", path).status_code == 404
    assert name not in ours.documents()
    assert gone["id"] not in [item["document_id"] for item in search(tenant, gone["title"])]
    assert name in theirs.documents()


def test_large_sweep_needs_an_operators_word(tenant: Tenant, stack: Stack) -> None:
    source = connect(tenant, stack, "gitlab", config={"projects": ["platform/tracker"]})
    source.run()
    before = source.documents().keys()
    change = {"config": {"include": ["wikis"]}}
    tenant.rest.ok("PATCH", source.path, change)
    refused = source.run()
    assert (refused["status"], refused["counts"]["deleted"]) == ("partial", 0)
    assert "without an operator's word" in refused["error"]
    assert source.documents().keys() == before
    command = ["make", "-s", "sweep", f"SOURCE={source.id}", "PERCENT=100"]
    subprocess.run([*command, f"STACK={stack.outputs['stack']}"], cwd=ROOT, check=True)
    until(lambda: all("/wikis/" in name for name in source.documents()), RUN_SECONDS)
    [job, *_] = tenant.rest.ok("GET", f"{tenant.path}/jobs?source_id={source.id}")["items"]
    ended = source.end(job["id"])
    assert (ended["status"], ended["trigger"]) == ("succeeded", "manual")


def test_schedule_follows_its_source(tenant: Tenant, stack: Stack) -> None:
    source = connect(tenant, stack, "slack", schedule="rate(1 hour)")
    scheduler = stack.client("scheduler")

    def schedule() -> Any:
        [found] = scheduler.list_schedules(NamePrefix=source.id)["Schedules"]
        return scheduler.get_schedule(Name=source.id, GroupName=found["GroupName"])

    made = schedule()
    assert (made["ScheduleExpression"], made["State"]) == ("rate(1 hour)", "ENABLED")
    assert "xoxb-" not in made["Target"]["Input"]
    tenant.rest.ok("PATCH", source.path, {"schedule": "cron(0 9 ? * MON-FRI *)"})
    assert schedule()["ScheduleExpression"] == "cron(0 9 ? * MON-FRI *)"
    tenant.rest.ok("PATCH", source.path, {"is_enabled": False, "config": {"channels": [CHANNEL]}})
    paused = schedule()
    assert (paused["State"], paused["ScheduleExpression"]) == (
        "DISABLED",
        "cron(0 9 ? * MON-FRI *)",
    )
    assert json.loads(paused["Target"]["Input"])["config"]["channels"] == [CHANNEL]
    assert source.run()["status"] == "succeeded"  # by hand it can still be read
    tenant.rest.ok("PATCH", source.path, {"is_enabled": True})
    assert schedule()["State"] == "ENABLED"
    assert tenant.rest("DELETE", source.path).status_code == 204
    until(lambda: not scheduler.list_schedules(NamePrefix=source.id)["Schedules"], RUN_SECONDS)


def test_deleted_source_leaves_nothing_behind(tenant: Tenant, stack: Stack) -> None:
    source = connect(tenant, stack, "backlog", config={"projects": ["OPS"]})
    source.run()
    documents = source.documents()
    assert search(tenant, "sprinkler valve")
    assert tenant.rest("DELETE", source.path).status_code == 204
    assert search(tenant, "sprinkler valve") == []
    assert tenant.rest("GET", source.path).status_code == 404
    assert tenant.rest("POST", f"{source.path}/sync").status_code == 404
    until(lambda: not source.documents(), RUN_SECONDS)
    until(lambda: not _rests(stack, tenant, source, documents), RUN_SECONDS)
    assert search(tenant, "sprinkler valve") == []


def _rests(
    stack: Stack, tenant: Tenant, source: Source, documents: dict[str, Any]
) -> dict[str, list[str]]:
    """What there still is of a source, store by store."""
    jobs = stack.client("dynamodb").query(
        TableName=stack.outputs["table_names"]["jobs"],
        KeyConditionExpression="source_id = :id",
        ExpressionAttributeValues={":id": {"S": source.id}},
    )["Items"]
    schedules = stack.client("scheduler").list_schedules(NamePrefix=source.id)["Schedules"]
    secrets = stack.client("secretsmanager").list_secrets(
        Filters=[{"Key": "name", "Values": [f"chatbot-local/source/{source.id}"]}]
    )["SecretList"]
    s3 = stack.client("s3")
    buckets = [b["Name"] for b in s3.list_buckets()["Buckets"] if "-documents-" in b["Name"]]
    objects = [
        each["Key"]
        for bucket in buckets
        for document in documents.values()
        for kind in ("documents", "embeddings")
        for each in s3.list_objects_v2(
            Bucket=bucket, Prefix=f"{kind}/{tenant.workspace_id}/{document['id']}/"
        ).get("Contents", [])
    ]
    found = {
        "jobs": [row["job_id"]["S"] for row in jobs],
        "schedules": [each["Name"] for each in schedules],
        "secrets": [each["Name"] for each in secrets],
        "objects": objects,
    }
    return {store: left for store, left in found.items() if left}


def test_credentials_are_written_and_never_shown(tenant: Tenant, stack: Stack) -> None:
    source = connect(tenant, stack, "slack")
    shown = [
        source.read(),
        tenant.rest.ok("GET", f"{tenant.path}/sources"),
        tenant.rest.ok("PATCH", source.path, {"credentials": {"bot_token": "xoxb-wrong"}}),
    ]
    assert "xoxb-" not in json.dumps(shown)
    job = source.run()
    assert job["status"] == "failed"
    assert job["error"]
    assert "xoxb-" not in json.dumps(job)
    state = source.read()
    assert (state["status"], state["last_error"]) == ("failed", job["error"])


def test_sync_runs_once_at_a_time(tenant: Tenant, stack: Stack) -> None:
    source = connect(tenant, stack, "gitlab", config={"projects": ["platform/tracker"]})
    headers = {"Idempotency-Key": str(uuid4())}
    first = tenant.rest("POST", f"{source.path}/sync", headers=headers)
    again = tenant.rest("POST", f"{source.path}/sync", headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    busy = tenant.rest("POST", f"{source.path}/sync")
    assert busy.status_code == 409
    assert source.end(first.json()["job_id"])["status"] == "succeeded"
    assert source.end(source.sync())["status"] == "succeeded"


def test_name_that_leads_inside_fails_the_job(tenant: Tenant, stack: Stack) -> None:
    source = connect(
        tenant, stack, "slack", config={"base_url": "http://ip6-localhost:1/slack/api"}
    )
    started = time.monotonic()
    job = source.end(source.sync(), within=2 * RUN_SECONDS)
    assert job["status"] == "failed"
    assert job["error"]
    assert time.monotonic() - started < 2 * RUN_SECONDS
