"""AWS fails, and nothing is lost.

`make test` runs the quick scenarios; `make faults` all, or those whose names match `FAULTS`.
"""

import os
import random
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

import pytest

from localstack import faults, layout
from localstack import stack as local_stack
from localstack.postgres import Postgres
from tests.e2e.client import Tenant
from tests.e2e.conftest import Stack
from tests.e2e.exclusive.faults.scenarios import SCENARIOS, Scenario
from tests.e2e.sources import reset, until

HANGS = 10  # seconds after which a statement or a transaction that is still open is stuck
KILLED = ("chat-stream", "chat-end", "ws-message", "embed", "documents", "chatbots", "authorizer")
WANTED = os.environ.get("FAULTS")
CHOSEN = [s for s in SCENARIOS if (re.search(WANTED, s.name) if WANTED else s.quick)]


@pytest.fixture(scope="module")
def proxied(stack: Stack) -> Iterator[layout.Stack]:
    """The stack, before which there are proxies after the first scenario's start."""
    found = layout.current()
    reset(stack)
    yield found
    faults.stop(found)
    reset(stack)


def kill(stack: layout.Stack, over: Event) -> int:
    """Every worker of a function, then of another. Returns how many there were."""
    killed = faults.kill_workers(stack, f"chatbot-local-{random.choice(KILLED)}")
    over.wait(random.uniform(0.3, 1.0))
    return killed


def restart(stack: layout.Stack, over: Event) -> int:
    local_stack.stop_database(stack)
    over.wait(1)
    local_stack.start_database(stack)
    over.wait(4)
    return 1


MEANWHILE: dict[str, Callable[[layout.Stack, Event], int]] = {"kill": kill, "restart": restart}


@contextmanager
def failing(stack: layout.Stack, scenario: Scenario) -> Iterator[None]:
    """The faults of a scenario, for its time or as long as the body takes. Each must be met."""
    over = Event()

    def last() -> int:
        end, struck = time.monotonic() + scenario.seconds, 0
        while not over.is_set() and time.monotonic() < end:
            if scenario.meanwhile:
                struck += MEANWHILE[scenario.meanwhile](stack, over)
            else:
                over.wait(end - time.monotonic())
        faults.lift(stack)
        return struck

    faults.set_rules(stack, scenario.rules)
    with ThreadPoolExecutor(1) as pool:
        lasting = pool.submit(last)
        try:
            yield
        finally:
            over.set()
            struck = lasting.result()
    met = {event["service"] for event in faults.fired(stack)}
    assert all(
        met if rule["service"] == "*" else {rule["service"]} <= met for rule in scenario.rules
    )
    assert struck or not scenario.meanwhile


def hanging(stack: layout.Stack) -> list[tuple[str, str]]:
    """(state, statement) of what PostgreSQL has had open for too long."""
    connection = Postgres(stack.folder, stack.ports.postgres).connect("postgres")
    try:
        cursor = connection.cursor()
        cursor.execute(
            "SELECT state, left(query, 80) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            f" AND xact_start < now() - interval '{HANGS} seconds'"
        )
        return [tuple(row) for row in cursor.fetchall()]
    finally:
        connection.close()


def dead_letters(stack: Stack) -> dict[str, int]:
    """How many messages lie in each dead-letter queue."""
    sqs, found = stack.client("sqs"), {}
    for name, url in stack.outputs["queue_urls"].items():
        if name.endswith("dead_letter"):
            answer = sqs.get_queue_attributes(
                QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"]
            )
            found[name] = int(answer["Attributes"]["ApproximateNumberOfMessages"])
    return found


@pytest.mark.parametrize("scenario", CHOSEN, ids=[scenario.name for scenario in CHOSEN])
def test_nothing_is_lost_when(
    scenario: Scenario, proxied: layout.Stack, stack: Stack, tenant: Tenant
) -> None:
    before = dead_letters(stack)
    faults.start(proxied, stack.outputs["websocket_url"], scenario.skew)
    deed = scenario.deed(tenant, stack)
    deed.prepare()
    with failing(proxied, scenario):
        deed.act()
    deed.check()
    if scenario.skew:
        faults.start(proxied, stack.outputs["websocket_url"])
    until(lambda: not hanging(proxied), 60)
    assert dead_letters(stack) == before
