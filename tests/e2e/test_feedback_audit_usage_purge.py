"""Feedback, the audit trail, usage; and that a purge takes all of one tenant, none of another."""

import json
import os
import random
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from boto3.dynamodb.types import TypeSerializer

from tests.e2e.client import PASSWORD, Rest, Tenant, Turn
from tests.e2e.conftest import Stack


def asked(tenant: Tenant, content: str = "hello", **fields: Any) -> Turn:
    with tenant.chat() as chat:
        turn = chat.ask(tenant.chatbot_id, content, **fields)
    assert turn.check()["status"] == "completed"
    return turn


def rating(tenant: Tenant, turn: Turn) -> str:
    conversation = f"{tenant.path}/conversations/{turn.ack['conversation_id']}"
    return f"{conversation}/messages/{turn.message_id}/feedback"


def joined(tenant: Tenant, person: Tenant, role: str) -> None:
    """Make another tenant's user a member."""
    roles = {r["name"]: r["id"] for r in tenant.rest.ok("GET", f"{tenant.path}/roles")["items"]}
    body = {"email": person.email, "role_id": roles[role]}
    assert tenant.rest.ok("POST", f"{tenant.path}/invitations", body)["status"] == "accepted"


def test_sums_are_exact_when_20_rate_and_take_back_at_once(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    joined(tenant, other_tenant, "admin")
    turns = [asked(tenant) for _ in range(2)]
    tenant.rest.ok("PUT", rating(tenant, turns[0]), {"rating": 3})

    def write(number: int) -> int:
        chance = random.Random(number)
        rest = Rest(tenant.rest.api_url, (tenant, other_tenant)[number % 2].tokens["access_token"])
        path = rating(tenant, turns[number // 2 % 2])
        if chance.random() < 0.6:
            return rest("PUT", path, {"rating": chance.randint(1, 5)}).status_code
        return rest("DELETE", path).status_code

    with ThreadPoolExecutor(20) as pool:
        statuses = list(pool.map(write, range(60)))
    assert set(statuses) <= {200, 204, 404}
    listed = tenant.rest.ok("GET", f"{tenant.path}/feedback", params={"limit": "100"})["items"]
    numbers = {str(n): sum(item["rating"] == n for item in listed) for n in range(1, 6)}
    sums = tenant.rest.ok("GET", f"{tenant.path}/feedback/summary")
    assert (sums["count"], sums["by_rating"]) == (len(listed), numbers)
    day = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 86400))
    since = tenant.rest.ok("GET", f"{tenant.path}/feedback/summary", params={"from": day})
    assert since == sums


def test_ratings_of_one_tenant_are_none_of_the_others(tenant: Tenant, other_tenant: Tenant) -> None:
    turns = {id(owner): asked(owner) for owner in (tenant, other_tenant)}
    for owner in (tenant, other_tenant):
        path = rating(owner, turns[id(owner)])
        made = owner.rest.ok("PUT", path, {"rating": 5, "comment": "good"})
        assert made["message_id"] == turns[id(owner)].message_id
    assert (
        tenant.rest("PUT", rating(other_tenant, turns[id(other_tenant)]), {"rating": 1}).status_code
        == 404
    )
    smuggled = rating(other_tenant, turns[id(other_tenant)]).replace(
        other_tenant.workspace_id, tenant.workspace_id
    )
    assert tenant.rest("PUT", smuggled, {"rating": 1}).status_code == 404
    assert tenant.rest("DELETE", smuggled).status_code == 404
    for way in ("feedback", "feedback/summary", "audit", "usage", "models"):
        assert tenant.rest("GET", f"{other_tenant.path}/{way}").status_code == 404
    for owner in (tenant, other_tenant):
        listed = owner.rest.ok("GET", f"{owner.path}/feedback")["items"]
        assert [item["message_id"] for item in listed] == [turns[id(owner)].message_id]
        assert owner.rest.ok("GET", f"{owner.path}/feedback/summary")["by_chatbot"] == {
            owner.chatbot_id: {
                "count": 1,
                "mean": 5.0,
                "by_rating": {"1": 0, "2": 0, "3": 0, "4": 0, "5": 1},
            }
        }


def test_usage_adds_up_and_stays_when_the_conversation_goes(
    stack: Stack, tenant: Tenant, other_tenant: Tenant
) -> None:
    asked(other_tenant)
    turn = asked(tenant, "one two three")
    final = turn.check()["usage"]
    usage = tenant.rest.ok("GET", f"{tenant.path}/usage")
    assert usage["total"]["turns"] == 1
    assert usage["total"]["input_tokens"] == final["input_tokens"]
    assert usage["total"]["output_tokens"] == final["output_tokens"]
    assert float(usage["total"]["cost"]) > 0
    for group, key in (("user", tenant.user["id"]), ("chatbot", tenant.chatbot_id)):
        grouped = tenant.rest.ok("GET", f"{tenant.path}/usage", params={"group_by": group})
        assert grouped["items"] == [{"key": key, **usage["total"]}]
    conversation = turn.ack["conversation_id"]
    assert tenant.rest("DELETE", f"{tenant.path}/conversations/{conversation}").status_code == 204
    purged(stack, "conversation", conversation)
    assert mentions(stack, conversation, turn.message_id) == []
    assert tenant.rest.ok("GET", f"{tenant.path}/usage") == usage


def test_trail_tells_of_sign_ins_denials_and_deletions(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    joined(tenant, other_tenant, "viewer")
    conversation = tenant.rest.ok(
        "POST", f"{tenant.path}/conversations", {"chatbot_id": tenant.chatbot_id}
    )["id"]
    tenant.rest.ok("DELETE", f"{tenant.path}/conversations/{conversation}")
    chatbot = f"{tenant.path}/chatbots/{tenant.chatbot_id}"
    assert other_tenant.rest("DELETE", chatbot).status_code == 403
    anyone = Rest(tenant.rest.api_url)
    login = {"email": tenant.email, "password": PASSWORD}
    anyone.ok("POST", "/auth/login", login)
    assert anyone("POST", "/auth/login", login | {"password": "x" * 12}).status_code == 401
    trail = tenant.rest.ok("GET", f"{tenant.path}/audit", params={"limit": "100"})["items"]
    told = [(e["action"], e["resource_type"], e["resource_id"], e["actor_id"]) for e in trail]
    assert [entry[:2] for entry in told[:4]] == [
        ("sign_in_refused", "user"),
        ("sign_in", "session"),
        ("denied", "route"),
        ("delete", "conversation"),
    ]
    assert told[2][2:] == (tenant.chatbot_id, other_tenant.user["id"])
    assert told[3][2:] == (conversation, tenant.user["id"])
    text = json.dumps(trail)
    assert tenant.email not in text
    assert PASSWORD not in text
    assert other_tenant.rest("GET", f"{tenant.path}/audit").status_code == 403
    theirs = other_tenant.rest.ok("GET", f"{other_tenant.path}/audit", params={"limit": "100"})
    assert {e["id"] for e in theirs["items"]} & {e["id"] for e in trail} == set()


def test_models_are_those_that_chatbots_may_use(tenant: Tenant) -> None:
    models = tenant.rest.ok("GET", f"{tenant.path}/models")["items"]
    for model in models:
        body = {"name": "Assistant", "model_id": model["model_id"]}
        tenant.rest.ok("POST", f"{tenant.path}/chatbots", body)


# --- Purges


def execution(stack: Stack, name: str) -> str:
    machine: str = stack.outputs["state_machine_arns"]["purge"]
    return f"{machine.replace(':stateMachine:', ':execution:')}:{name}"


def finished(stack: Stack, arn: str, timeout: float = 120) -> str:
    """The status of an execution after its end."""
    deadline = time.monotonic() + timeout
    while True:
        status: str = stack.client("stepfunctions").describe_execution(executionArn=arn)["status"]
        if status != "RUNNING":
            return status
        assert time.monotonic() < deadline, f"{arn} still runs"
        time.sleep(0.2)


def purged(stack: Stack, kind: str, resource_id: str) -> None:
    assert finished(stack, execution(stack, f"{kind}-{resource_id}")) == "SUCCEEDED"


def started_again(stack: Stack, kind: str, resource_id: str) -> str:
    """Another execution, as a person who tries again starts one."""
    event = {"kind": kind, "id": resource_id, "cursor": "", "request_id": str(uuid4())}
    machine: str = stack.outputs["state_machine_arns"]["purge"]
    return started(stack, machine, json.dumps(event))


def started_daily(stack: Stack) -> str:
    """The execution that the daily schedule starts, now."""
    [listed] = stack.client("scheduler").list_schedules(NamePrefix="chatbot-local-purge")[
        "Schedules"
    ]
    schedule = stack.client("scheduler").get_schedule(Name=listed["Name"])
    assert schedule["State"] == "ENABLED"
    return started(stack, schedule["Target"]["Arn"], schedule["Target"]["Input"])


def started(stack: Stack, machine: str, event: str) -> str:
    answer = stack.client("stepfunctions").start_execution(
        stateMachineArn=machine, name=f"test-{uuid4()}", input=event
    )
    arn: str = answer["executionArn"]
    return arn


def mentions(stack: Stack, *ids: str) -> list[str]:
    """All items of DynamoDB and rows of PostgreSQL in which one of the ids stands, but for guards,
    which expire by themselves, and the audit trail."""
    found = []
    for table, name in stack.outputs["table_names"].items():
        if table == "guards":
            continue
        for page in stack.client("dynamodb").get_paginator("scan").paginate(TableName=name):
            found += [f"{table} {json.dumps(item)}" for item in page["Items"]]
    found += [json.dumps(row) for row in stack.sql(ROWS, ids=json.dumps(ids))]
    return [text for text in found if any(each in text for each in ids)]


ROWS = """
SELECT text FROM (
    SELECT to_jsonb(found)::text AS text FROM app.users AS found
    UNION ALL SELECT to_jsonb(found)::text FROM app.workspaces AS found
    UNION ALL SELECT to_jsonb(found)::text FROM app.roles AS found
    UNION ALL SELECT to_jsonb(found)::text FROM app.memberships AS found
    UNION ALL SELECT to_jsonb(found)::text FROM app.invitations AS found
    UNION ALL SELECT to_jsonb(found)::text FROM app.chatbots AS found
    UNION ALL SELECT to_jsonb(found)::text FROM app.refresh_tokens AS found
    UNION ALL SELECT to_jsonb(found)::text FROM app.idempotency_keys AS found
    UNION ALL SELECT to_jsonb(found)::text FROM app.purges AS found
) AS rows
WHERE EXISTS (SELECT FROM jsonb_array_elements_text(:ids::jsonb) AS id WHERE strpos(text, id) > 0)
"""


def trail(stack: Stack, workspace_id: str) -> list[dict[str, Any]]:
    return stack.sql(  # type: ignore[no-any-return]
        "SELECT to_jsonb(entry)::text FROM app.audit_log AS entry"
        " WHERE workspace_id = :workspace_id::uuid",
        workspace_id=workspace_id,
    )


def lived(tenant: Tenant) -> Turn:
    """A turn in a workspace, rated."""
    turn = asked(tenant)
    tenant.rest.ok("PUT", rating(tenant, turn), {"rating": 2, "comment": "so so"})
    return turn


def whole(stack: Stack, tenant: Tenant) -> list[str]:
    """What there is of a tenant, but for connections, which come and go."""
    ids = (tenant.workspace_id, tenant.user["id"])
    return sorted(text for text in mentions(stack, *ids) if not text.startswith("connections"))


def test_nothing_of_a_workspace_is_left_and_all_of_another(
    stack: Stack, tenant: Tenant, other_tenant: Tenant
) -> None:
    turn = lived(tenant)
    lived(other_tenant)
    before = whole(stack, other_tenant)
    assert {text.split()[0] for text in mentions(stack, tenant.workspace_id)} >= {
        "conversations",
        "feedback",
        "turns",
        "usage",
    }
    closed = tenant.rest("DELETE", tenant.path)
    assert (closed.status_code, closed.json()["status"]) == (202, "deleting")
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/conversations"), ("GET", "/usage")):
        assert tenant.rest(method, tenant.path + path).status_code == 404
    assert tenant.rest.ok("GET", "/workspaces")["items"] == []
    purged(stack, "workspace", tenant.workspace_id)
    gone = (tenant.workspace_id, turn.ack["conversation_id"], turn.message_id)
    assert mentions(stack, *gone) == []
    entries = trail(stack, tenant.workspace_id)
    assert ("delete", "workspace") in {(e["action"], e["resource_type"]) for e in entries}
    assert {json.dumps(entry["changes"]) for entry in entries} == {"{}"}
    assert finished(stack, started_again(stack, "workspace", tenant.workspace_id)) == "SUCCEEDED"
    assert mentions(stack, *gone) == []
    assert whole(stack, other_tenant) == before
    tenant.rest.ok("GET", "/users/me")


def test_nothing_of_a_user_is_left_and_all_of_another(
    stack: Stack, tenant: Tenant, other_tenant: Tenant
) -> None:
    joined(other_tenant, tenant, "viewer")
    guest = Tenant(
        tenant.email,
        tenant.user,
        tenant.tokens,
        tenant.rest,
        other_tenant.workspace_id,
        other_tenant.chatbot_id,
        tenant.websocket_url,
    )
    turns = [lived(tenant), lived(guest)]
    kept = lived(other_tenant)
    assert tenant.rest("DELETE", "/users/me").status_code == 409  # its workspace keeps an owner
    assert tenant.rest("DELETE", tenant.path).status_code == 202
    assert tenant.rest("DELETE", "/users/me").status_code == 204
    assert tenant.rest("GET", "/users/me").status_code == 401
    purged(stack, "user", tenant.user["id"])
    gone = [turn.ack["conversation_id"] for turn in turns] + [turn.message_id for turn in turns]
    assert mentions(stack, tenant.email, *gone) == []
    left = mentions(stack, tenant.user["id"])
    assert {text.split()[0] for text in left} <= {"usage"}
    sums = other_tenant.rest.ok("GET", f"{other_tenant.path}/feedback/summary")
    assert sums["by_rating"] == {"1": 0, "2": 1, "3": 0, "4": 0, "5": 0}
    [conversation] = other_tenant.rest.ok("GET", f"{other_tenant.path}/conversations")["items"]
    assert conversation["id"] == kept.ack["conversation_id"]
    assert other_tenant.rest.ok("GET", f"{other_tenant.path}/usage")["total"]["turns"] == 2
    assert tenant.email not in json.dumps(trail(stack, other_tenant.workspace_id))
    assert finished(stack, started_again(stack, "user", tenant.user["id"])) == "SUCCEEDED"
    assert whole(stack, other_tenant) != []


def test_daily_run_purges_what_an_aborted_execution_left(
    stack: Stack, tenant: Tenant, other_tenant: Tenant
) -> None:
    turn = lived(tenant)
    lived(other_tenant)
    before = whole(stack, other_tenant)
    tenant.rest.ok("DELETE", tenant.path)
    arn = execution(stack, f"workspace-{tenant.workspace_id}")
    stack.client("stepfunctions").stop_execution(executionArn=arn)
    assert finished(stack, arn) == "ABORTED"
    assert mentions(stack, turn.ack["conversation_id"]) != []
    assert finished(stack, started_daily(stack)) == "SUCCEEDED"
    assert mentions(stack, tenant.workspace_id, turn.ack["conversation_id"]) == []
    assert whole(stack, other_tenant) == before


def fill(stack: Stack, tenant: Tenant, conversations: int, messages: int) -> list[str]:
    """Conversations with many messages, written past the API. Returns their ids."""
    pack = TypeSerializer().serialize
    like = asked(tenant).ack["conversation_id"]
    table = stack.outputs["table_names"]["conversations"]
    client = stack.client("dynamodb")
    head = client.get_item(
        TableName=table, Key={"conversation_id": {"S": like}, "item": {"S": "HEAD"}}
    )["Item"]
    made = []
    for _ in range(conversations):
        made.append(str(uuid4()))
        own = {"conversation_id": pack(made[-1])}
        items = [head | own]
        for _ in range(messages):
            message_id = str(uuid4())
            fields = {
                "item": f"MESSAGE#{message_id}",
                "message_id": message_id,
                "role": "assistant",
            }
            items.append(own | {name: pack(value) for name, value in fields.items()})
        for start in range(0, len(items), 25):
            puts = [{"PutRequest": {"Item": item}} for item in items[start : start + 25]]
            client.batch_write_item(RequestItems={table: puts})
    return [like, *made]


def workers(stack: Stack) -> list[int]:
    """Process ids of the local stack's workers that purge. Only this test may use them up: what
    others purge is tried again by its machine."""
    port = urlsplit(stack.outputs["gateway_url"]).port
    mark = f"ministack-lambda-{stack.outputs['function_names']['purge']}-{port}-".encode()
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and mark in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def test_purge_goes_on_when_its_worker_is_killed_in_the_middle(
    stack: Stack, tenant: Tenant, new_tenant: Callable[[], Tenant]
) -> None:
    other = new_tenant()
    lived(other)
    before = whole(stack, other)
    made = fill(stack, tenant, 20, 100)
    tenant.rest.ok("DELETE", tenant.path)
    arn = execution(stack, f"workspace-{tenant.workspace_id}")
    kills, left = 0, len(made)
    while kills < 2 and left:
        answer = stack.client("dynamodb").query(
            TableName=stack.outputs["table_names"]["conversations"],
            IndexName="by_workspace",
            KeyConditionExpression="workspace_id = :workspace",
            ExpressionAttributeValues={":workspace": {"S": tenant.workspace_id}},
            Select="COUNT",
        )
        if answer["Count"] < left:
            left = answer["Count"]
            for process in workers(stack):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            kills += 1
        time.sleep(0.02)
    assert kills == 2
    assert finished(stack, arn, timeout=180) == "SUCCEEDED"
    history = stack.client("stepfunctions").get_execution_history(executionArn=arn)["events"]
    assert any(event["type"].endswith("Failed") for event in history)
    assert mentions(stack, tenant.workspace_id, *made) == []
    assert whole(stack, other) == before
