"""Marks are planted where secrets and words go in, well and ill, and are then looked for where
they must not come out: logs, histories of state machines, queues, schedules, metrics, the audit
trail, answers that refuse, Terraform's plan and state. What stores them by design is not looked at:
the tables, the database, the bucket, the mail with its link.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
import requests
from websockets.exceptions import InvalidStatus

from layers.build import host_architecture
from localstack import stack as local_stack
from localstack import terraform as local_terraform
from localstack.layout import current
from tests.e2e import sources
from tests.e2e.client import Chat, Rest, Tenant
from tests.e2e.conftest import Stack
from tests.e2e.test_members_and_mail import token_in, wait_for_mail


@dataclass
class Planted:
    """What was planted, by what it is, and every answer that refused."""

    secrets: dict[str, str] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)
    # What must be found, or the looking is at the wrong place: by the place.
    controls: dict[str, str] = field(default_factory=dict)

    def mark(self, what: str) -> str:
        """A new mark to be planted as `what`; with all that a password must have."""
        self.secrets[what] = f"Planted-{uuid4().hex}"
        return self.secrets[what]

    def found_in(self, text: str) -> list[str]:
        return [what for what, secret in self.secrets.items() if secret in text]

    def tried(self, answer: requests.Response) -> requests.Response:
        if not answer.ok:
            self.refusals.append(f"{answer.text} {answer.headers}")
        return answer


@pytest.fixture(scope="module")
def planted() -> Planted:
    return Planted()


# --- Where they are planted ----------------------------------------------------------------------


def sign_in(stack: Stack, tenant: Tenant, planted: Planted) -> None:
    """Passwords and tokens of every kind, right and wrong."""
    rest = Rest(stack.outputs["api_url"])
    email, password = f"{uuid4().hex}@example.com", planted.mark("password")
    person = {"email": email, "username": uuid4().hex[:12], "full_name": "P", "password": password}
    rest.ok("POST", "/auth/register", person)
    planted.tried(rest("POST", "/auth/register", person))
    tokens = rest.ok("POST", "/auth/login", {"email": email, "password": password})
    planted.secrets |= {"access token": tokens["access_token"]}
    planted.secrets |= {"refresh token": tokens["refresh_token"]}
    signed_in = Rest(stack.outputs["api_url"], tokens["access_token"])

    wrong = {"email": email, "password": planted.mark("wrong password")}
    planted.tried(rest("POST", "/auth/login", wrong))
    long = {"email": email, "password": planted.mark("long password") * 3}
    planted.tried(rest("POST", "/auth/login", long))
    planted.tried(
        rest("POST", "/auth/register", {**person, "password": planted.mark("short")[:11]})
    )
    extra = {"current_password": password, planted.mark("name of a field"): 1}
    planted.tried(signed_in("POST", "/users/me/password", extra))
    new = planted.mark("new password")
    body = {"current_password": planted.mark("current password"), "new_password": new}
    planted.tried(signed_in("POST", "/users/me/password", body))

    for forged in (planted.mark("forged token"), f"{tokens['access_token'][:-3]}abc"):
        planted.tried(Rest(stack.outputs["api_url"], forged)("GET", "/users/me"))
    planted.tried(rest("POST", "/auth/refresh", {"refresh_token": planted.mark("no token")}))
    fresh = rest.ok("POST", "/auth/refresh", {"refresh_token": tokens["refresh_token"]})
    planted.secrets |= {"second access token": fresh["access_token"]}
    planted.tried(rest("POST", "/auth/refresh", {"refresh_token": tokens["refresh_token"]}))
    for name in ("verify-email", "password/reset"):
        once = {"token": planted.mark(f"token for {name}"), "password": password}
        planted.tried(rest("POST", f"/auth/{name}", once))
    rest.ok("POST", "/auth/password/forgot", {"email": email})
    planted.secrets["mailed token"] = token_in(wait_for_mail(stack, email))
    reset = {"token": planted.secrets["mailed token"], "password": planted.mark("reset password")}
    rest.ok("POST", "/auth/password/reset", reset)

    ticket = tenant.rest.ok("POST", "/auth/ws-ticket")["ticket"]
    planted.secrets["ticket"] = ticket
    Chat(tenant.websocket_url, ticket=ticket).socket.close()
    for shown in ({"ticket": ticket}, {"token": planted.mark("token of a handshake")}):
        with pytest.raises(InvalidStatus):
            Chat(tenant.websocket_url, **shown)


def chat(stack: Stack, tenant: Tenant, planted: Planted) -> None:
    """Prompts, messages and answers, and frames of every kind of wrong."""
    path = f"{tenant.path}/chatbots"
    prompt = {"name": "P", "system_prompt": f"You help. {planted.mark('prompt')}"}
    bots = [tenant.rest.ok("POST", path, prompt)["id"]]
    for bad in ("{{ user.nobody.x }}", "{{ 'a' + 1 }}", "{{ 1 / 0 }}"):
        text = f"{planted.mark(f'prompt with {bad}')} {bad}"
        bots.append(tenant.rest.ok("POST", path, {"name": "P", "system_prompt": text})["id"])
    broken = {
        "name": "P",
        "system_prompt": "{{ " + planted.mark("prompt that compiles not") + " %}",
    }
    planted.tried(tenant.rest("POST", path, broken))

    with tenant.chat() as socket:
        for bot in bots:
            socket.ask(bot, planted.mark(f"message to {bot}"))
        for directive in (
            "[[text {}]]",
            "[[break 2]] {}",
            "[[throttle 9]] {}",
            "[[max-tokens]] {}",
        ):
            socket.ask(bots[0], directive.format(planted.mark(f"message with {directive}")))
        turn = socket.start(bots[0], f"[[words 300]] {planted.mark('message of a cancelled turn')}")
        socket.follow(turn, frames=1)
        socket.send({"type": "cancel", "message_id": turn.message_id})
        socket.follow(turn)
        for frame in (
            planted.mark("no JSON"),
            json.dumps({"type": planted.mark("type of a frame")}),
            json.dumps({"type": "ping", planted.mark("field of a frame"): 1}),
            json.dumps({"type": "chat", "chatbot_id": planted.mark("id"), "content": "x"}),
            json.dumps({"type": "chat", "chatbot_id": bots[0], "content": [planted.mark("list")]}),
            json.dumps({"type": "chat", "content": planted.mark("too large") * 1000}),
        ):
            socket.send(frame)
            planted.refusals.append(json.dumps(socket.receive()))
        fails_inside(stack, tenant, socket, bots[0], planted)


def fails_inside(stack: Stack, tenant: Tenant, socket: Chat, bot: str, planted: Planted) -> None:
    """A bug of ours, logged with its stack trace: a stored message that has lost a part."""
    turn = socket.ask(bot, planted.mark("message that gets damaged"))
    conversation_id = turn.ack["conversation_id"]
    table = {"TableName": "chatbot-local-conversations"}
    dynamodb = stack.client("dynamodb")
    items = dynamodb.query(
        **table,
        KeyConditionExpression="conversation_id = :c",
        ExpressionAttributeValues={":c": {"S": conversation_id}},
    )["Items"]
    for item in items:
        for lost in ("citations", "created_at", "role", "status"):
            if "content" in item and lost in item:
                key = {name: item[name] for name in ("conversation_id", "item")}
                names = {"#lost": lost}
                dynamodb.update_item(
                    **table,
                    Key=key,
                    UpdateExpression="REMOVE #lost",
                    ExpressionAttributeNames=names,
                )
    messages = f"/api/v1{tenant.path}/conversations/{conversation_id}/messages"
    planted.controls = {"log groups": f"control-{uuid4().hex}", "executions": turn.message_id}
    headers = {"X-Request-Id": planted.controls["log groups"]}
    answer = tenant.rest.session.get(tenant.rest.api_url + messages, headers=headers, timeout=60)
    assert planted.tried(answer).status_code == 500
    after = planted.mark("message after the damaged one")
    failed = socket.ask(bot, after, conversation_id=conversation_id)
    assert failed.check()["status"] == "failed"


def write(tenant: Tenant, planted: Planted) -> None:
    """Documents, searches, comments, titles, and values in the wrong place."""
    rest, path = tenant.rest, tenant.path
    document = {"title": planted.mark("title of a document"), "content": planted.mark("document")}
    rest.ok("POST", f"{path}/documents", document)
    planted.tried(rest("POST", f"{path}/documents", {**document, "url": planted.mark("link")}))
    rest.ok("POST", f"{path}/search", {"query": planted.mark("query")})
    planted.tried(rest("POST", f"{path}/search", {"query": [planted.mark("query in a list")]}))
    key = {"Idempotency-Key": planted.mark("idempotency key")}
    rest.ok("POST", f"{path}/chatbots", {"name": "I"}, headers=key)
    planted.tried(rest("POST", f"{path}/chatbots", {"name": "J"}, headers=key))
    planted.tried(rest("GET", f"{path}/chatbots", params={"cursor": planted.mark("cursor")}))
    planted.tried(rest("GET", f"{path}/chatbots/{planted.mark('id in a path')}"))
    data = '{"name": "' + planted.mark("body that ends early")
    headers = {"Content-Type": "application/json"}
    url = f"{rest.api_url}/api/v1{path}/chatbots"
    planted.tried(rest.session.post(url, data=data, headers=headers, timeout=60))


def connect(stack: Stack, tenant: Tenant, planted: Planted) -> None:
    """Credentials of sources whose providers take them, refuse them, fail and talk nonsense."""
    keys = {"slack": "bot_token", "gitlab": "private_token", "backlog": "api_key"}
    configs = {"gitlab": {"projects": ["platform/tracker"]}, "backlog": {"projects": ["OPS"]}}
    faults: list[dict[str, Any]] = [
        {},
        {"kind": "status", "status": 500},
        {"kind": "garbage"},
        {"kind": "cut"},
    ]
    for fault in faults:
        found = []
        for provider, name in keys.items():
            if fault:
                sources.fault(stack, provider, path="/", **fault)
            credentials = {name: planted.mark(f"{provider} {fault.get('kind')}")}
            config = configs.get(provider, {})
            found.append(
                sources.connect(tenant, stack, provider, config=config, credentials=credentials)
            )
        jobs = [(source, source.sync()) for source in found]
        for source, job in jobs:
            planted.refusals.append(json.dumps(source.end(job, 180)))
        sources.reset(stack)
    wrong = {"credentials": {"bot_token": [planted.mark("token in a list")]}}
    planted.tried(tenant.rest("PATCH", found[0].path, wrong))
    planted.refusals.append(json.dumps([source.read() for source in found]))


def without_database(stack: Stack, tenant: Tenant, planted: Planted) -> None:
    """The same while PostgreSQL is away."""
    rest = Rest(stack.outputs["api_url"])
    with tenant.chat() as socket, database_away():
        login = {"email": tenant.email, "password": planted.mark("password without a database")}
        planted.tried(rest("POST", "/auth/login", login))
        prompt = {"name": "P", "system_prompt": planted.mark("prompt without a database")}
        planted.tried(tenant.rest("POST", f"{tenant.path}/chatbots", prompt))
        frame = {"type": "chat", "chatbot_id": tenant.chatbot_id}
        socket.send({**frame, "content": planted.mark("message without a database")})
        planted.refusals.append(json.dumps(socket.receive()))


@contextmanager
def database_away() -> Iterator[None]:
    local_stack.stop_database()
    try:
        yield
    finally:
        local_stack.start_database()


# --- Where they must not come out ----------------------------------------------------------------


def log_groups(stack: Stack) -> Iterator[tuple[str, str]]:
    """Functions, access to the APIs, executions: every log group, EMF metrics among the lines."""
    logs = stack.client("logs")
    for page in logs.get_paginator("describe_log_groups").paginate():
        for group in page["logGroups"]:
            name = group["logGroupName"]
            pages = logs.get_paginator("filter_log_events").paginate(logGroupName=name)
            lines = [event["message"] for each in pages for event in each["events"]]
            yield name, "\n".join(lines)


def process_logs(_: Stack) -> Iterator[tuple[str, str]]:
    """What the stack's own processes write."""
    for file in sorted((current().folder / "logs").iterdir()):
        yield file.name, file.read_text(encoding="utf-8", errors="replace")


def executions(stack: Stack) -> Iterator[tuple[str, str]]:
    """Inputs, outputs, errors and every event of all executions."""
    machines = stack.client("stepfunctions")
    for machine in machines.list_state_machines()["stateMachines"]:
        arn = machine["stateMachineArn"]
        for page in machines.get_paginator("list_executions").paginate(stateMachineArn=arn):
            for each in page["executions"]:
                held = {"executionArn": each["executionArn"]}
                told: list[Any] = [machines.describe_execution(**held)]
                told += machines.get_paginator("get_execution_history").paginate(**held)
                yield each["executionArn"], json.dumps(told, default=str)


def queues(stack: Stack) -> Iterator[tuple[str, str]]:
    """Messages that wait or are dead, which stay where they are."""
    sqs = stack.client("sqs")
    for url in sqs.list_queues()["QueueUrls"]:
        messages = None
        while messages != []:
            got = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=20)
            messages = got.get("Messages", [])
            yield url, json.dumps(messages)


def schedules(stack: Stack) -> Iterator[tuple[str, str]]:
    scheduler = stack.client("scheduler")
    for page in scheduler.get_paginator("list_schedules").paginate():
        for each in page["Schedules"]:
            names = {"Name": each["Name"], "GroupName": each["GroupName"]}
            yield each["Name"], json.dumps(scheduler.get_schedule(**names), default=str)


def metrics(stack: Stack) -> Iterator[tuple[str, str]]:
    for page in stack.client("cloudwatch").get_paginator("list_metrics").paginate():
        yield "metrics", json.dumps(page["Metrics"], default=str)


def functions(stack: Stack) -> Iterator[tuple[str, str]]:
    """Settings of the functions, as whoever may list functions reads them."""
    for page in stack.client("lambda").get_paginator("list_functions").paginate():
        for each in page["Functions"]:
            yield each["FunctionName"], json.dumps(each, default=str)


def terraform(_stack: Stack) -> Iterator[tuple[str, str]]:
    """The plan, and the state, which holds more than the plan shows."""
    _, plan = local_terraform.plan(current(), host_architecture())
    yield "plan", plan
    yield "state", local_terraform.run(current(), "show", "-json").stdout


PLACES: dict[str, Callable[[Stack], Iterator[tuple[str, str]]]] = {
    "log groups": log_groups,
    "process logs": process_logs,
    "executions": executions,
    "queues": queues,
    "schedules": schedules,
    "metrics": metrics,
    "functions": functions,
    "terraform": terraform,
}


@pytest.fixture(scope="module")
def searched(
    stack: Stack, new_tenant: Callable[[], Tenant], planted: Planted
) -> tuple[Planted, Tenant]:
    """Everything planted, and the stack's own secrets beside it."""
    tenant = new_tenant()
    sign_in(stack, tenant, planted)
    chat(stack, tenant, planted)
    write(tenant, planted)
    connect(stack, tenant, planted)
    without_database(stack, tenant, planted)
    store = stack.client("secretsmanager")
    for page in store.get_paginator("list_secrets").paginate():
        for secret in page["SecretList"]:
            with suppress(store.exceptions.ResourceNotFoundException):
                text = store.get_secret_value(SecretId=secret["ARN"])["SecretString"]
                for number, value in enumerate(strings(json.loads(text))):
                    planted.secrets[f"{secret['Name']} {number}"] = value
    return planted, tenant


def strings(value: Any) -> Iterator[str]:
    """What may be secret of a secret's text: its long strings that are no names or addresses."""
    if isinstance(value, dict):
        for each in value.values():
            yield from strings(each)
    elif isinstance(value, str) and len(value) >= 20 and not value.startswith(("arn:", "http")):
        yield value


@pytest.mark.parametrize("place", PLACES)
def test_planted_secret_is_found_nowhere(
    place: str, stack: Stack, searched: tuple[Planted, Tenant]
) -> None:
    planted, _ = searched
    texts = list(PLACES[place](stack))
    assert any(planted.controls.get(place, "") in text for _, text in texts)
    assert {(what, name) for name, text in texts for what in planted.found_in(text)} == set()


def test_planted_secret_is_in_no_refusal(searched: tuple[Planted, Tenant]) -> None:
    planted, _ = searched
    assert len(planted.refusals) > 20
    told = {what for text in planted.refusals for what in planted.found_in(text)}
    # Whoever sends a field that there is not is told which one.
    assert told - {"name of a field", "field of a frame"} == set()


def test_planted_secret_is_not_in_the_audit_trail(searched: tuple[Planted, Tenant]) -> None:
    planted, tenant = searched
    query, trail = {"limit": "100"}, ""
    while True:
        page = tenant.rest.ok("GET", f"{tenant.path}/audit", params=query)
        trail += json.dumps(page["items"])
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    titles = {"title of a document"}
    assert "chatbot" in trail
    assert set(planted.found_in(trail)) - titles == set()
