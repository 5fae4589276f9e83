"""Workers killed in the middle: other tests' turns would die with them, so nothing else may run."""

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

import pytest
import requests

from tests.e2e.client import Rest, Tenant, Turn
from tests.e2e.conftest import Stack
from tests.e2e.sources import connect, until
from tests.e2e.test_quotas import month, row
from tests.e2e.test_tools import approve, equip, until_waiting, use
from tests.e2e.test_turn_faults import ENDS_WITHIN, check_conversation_goes_on


def workers(stack: Stack, function: str) -> list[int]:
    """Process ids of the local stack's workers of a function."""
    port = urlsplit(stack.outputs["gateway_url"]).port
    mark = f"ministack-lambda-{stack.outputs['function_names'][function]}-{port}-".encode()
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and mark in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.3, 0.8, 1.5, 2.2])
def test_turn_ends_failed_or_completed_when_chat_stream_is_killed(
    delay: float, tenant: Tenant, stack: Stack
) -> None:
    words = "[[words 150]] [[pace 10]]"
    with tenant.chat() as chat:
        turn = chat.start(tenant.chatbot_id, words)
        time_to_kill = time.monotonic() + delay
        with suppress(TimeoutError):
            while turn.final is None:
                turn.take(chat.receive(max(time_to_kill - time.monotonic(), 0.001)))
        for process in workers(stack, "chat_stream"):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        chat.follow(turn, timeout=ENDS_WITHIN)
    check_conversation_goes_on(tenant, turn, words)


def test_every_turn_ends_once_when_workers_are_killed_at_random(
    new_tenant: Callable[[], Tenant], stack: Stack
) -> None:
    chance = random.Random(7)
    tenants = [new_tenant() for _ in range(4)]
    words = "[[words 120]] [[pace 10]]"

    def one(tenant: Tenant) -> Turn:
        with tenant.chat() as chat:
            return chat.follow(chat.start(tenant.chatbot_id, words), timeout=ENDS_WITHIN)

    with ThreadPoolExecutor(8) as pool:
        turns = [pool.submit(one, tenant) for tenant in tenants * 2]
        while not all(turn.done() for turn in turns):
            for process in workers(stack, chance.choice(["chat_stream", "chat_end"])):
                if chance.random() < 0.3:
                    with suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)
            time.sleep(chance.uniform(0.3, 1.2))  # the rate of faults is the input here
    for tenant, turn in zip(tenants * 2, turns, strict=True):
        check_conversation_goes_on(tenant, turn.result(), words)
    for tenant in tenants:
        total = tenant.rest.ok("GET", f"{tenant.path}/usage")["total"]
        assert total["turns"] == 4, "two that were killed, two after them"
        assert month(stack, tenant)["tokens"] == total["input_tokens"] + total["output_tokens"]
        assert row(stack, tenant, "RUNNING")["turns"] == 0


def kill(stack: Stack, function: str) -> None:
    """Kill the workers of a function, as soon as there are some."""
    for process in until(lambda: workers(stack, function), 20, 0.02):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


@pytest.mark.parametrize("delay", [0.0, 1.5])
def test_reading_tool_is_tried_again_when_its_worker_is_killed(
    delay: float, tenant: Tenant, stack: Stack
) -> None:
    equip(tenant, "web_search")
    words = use("web_search", query="tea [[slow 4]]")
    with tenant.chat() as chat:
        turn = chat.follow(chat.start(tenant.chatbot_id, words), frames=1)
        time.sleep(delay)  # when the fault comes is the input here
        kill(stack, "tool_web_search")
        chat.follow(turn, timeout=ENDS_WITHIN)
    assert turn.tools == [("web_search", "started"), ("web_search", "completed")]
    check_conversation_goes_on(tenant, turn, words)


@pytest.mark.parametrize("delay", [0.0, 0.2, 0.5, 1.0])
def test_issue_is_created_at_most_once_when_the_tools_worker_is_killed(
    delay: float, tenant: Tenant, stack: Stack
) -> None:
    connect(tenant, stack, "backlog", config={"projects": ["OPS"]})
    equip(tenant, "backlog_create")
    summary = f"Killed{tenant.user['username']}"
    words = use("backlog_create", project_key="OPS", summary=summary)
    with tenant.chat() as chat:
        turn = chat.start(tenant.chatbot_id, words)
        chat.send(approve(turn, until_waiting(chat, turn)))
        time.sleep(delay)  # when the fault comes is the input here
        kill(stack, "tool_backlog_create")
        chat.follow(turn, timeout=ENDS_WITHIN)
    [call] = tenant.messages(turn.ack["conversation_id"])[-1]["tool_calls"]
    found = requests.get(
        f"{stack.outputs['providers_url']}/backlog/api/v2/issues",
        params={"apiKey": "backlog-local", "keyword": summary},
        timeout=10,
    ).json()
    assert len(found) <= 1
    assert call["status"] == "failed" or len(found) == 1
    assert call["status"] == "completed" or "not known" in call["output"]
    check_conversation_goes_on(tenant, turn, words)


def test_one_resource_when_workers_are_killed_between_write_and_answer(
    tenant: Tenant, stack: Stack
) -> None:
    path = f"{tenant.path}/chatbots"
    for delay in (0.0, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12):
        body = {"name": f"Killed after {delay}"}
        headers = {"Idempotency-Key": body["name"]}

        def create(_: int, body: Any = body, headers: Any = headers) -> Any:
            rest = Rest(tenant.rest.api_url, tenant.tokens["access_token"])
            return rest.session.post(f"{rest.api_url}/api/v1{path}", json=body, headers=headers)

        with ThreadPoolExecutor(4) as pool:
            answers = [pool.submit(create, number) for number in range(4)]
            time.sleep(delay)  # when the fault comes is the input here
            for process in workers(stack, "chatbots"):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            made = [answer.result().json() for answer in answers if answer.result().ok]
        made.append(tenant.rest.ok("POST", path, body, headers=headers))
        listed = tenant.rest.ok("GET", path, params={"limit": "100"})["items"]
        assert made == [item for item in listed if item["name"] == body["name"]] * len(made)
