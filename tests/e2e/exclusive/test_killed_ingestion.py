"""Runs that are killed, aborted, and held up: what they share would befall other tests too."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.e2e.client import Tenant
from tests.e2e.conftest import Stack
from tests.e2e.exclusive.test_killed_workers import workers
from tests.e2e.sources import RUN_SECONDS, Source, connect, control, fault, reset, until

CONFIGS: dict[str, dict[str, Any]] = {
    "slack": {"page_size": 1},
    "gitlab": {"projects": ["platform/tracker"]},
    "backlog": {"projects": ["OPS"]},
}


@pytest.fixture(autouse=True)
def corpus(stack: Stack) -> Iterator[None]:
    """The stand-ins' own corpus, before and after."""
    reset(stack)
    yield
    reset(stack)


def kill(stack: Stack, function: str) -> int:
    """Kill a function's workers; how many there were."""
    killed = 0
    for process in workers(stack, function):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
            killed += 1
    return killed


def what(source: Source) -> dict[str, Any]:
    """What is known of each document, but for when."""
    return {
        external_id: (document["title"], document["status"], document["chunk_count"])
        for external_id, document in source.documents().items()
    }


@pytest.mark.parametrize("provider", CONFIGS)
def test_run_loses_and_doubles_nothing_when_its_worker_is_killed_twice(
    provider: str, tenant: Tenant, other_tenant: Tenant, stack: Stack
) -> None:
    calm = connect(other_tenant, stack, provider, config=CONFIGS[provider])
    assert calm.run()["status"] == "succeeded"
    source = connect(tenant, stack, provider, config=CONFIGS[provider])
    job_id = source.sync()
    killed = 0
    deadline = time.monotonic() + RUN_SECONDS
    while killed < 2 and time.monotonic() < deadline:
        if source.job(job_id)["status"] != "running":
            break
        killed += kill(stack, f"ingest_{provider}") > 0
    job = source.end(job_id)
    assert killed == 2
    assert job["status"] == "succeeded", job
    until(lambda: source.read()["health"]["pending"] == 0, RUN_SECONDS)
    assert what(source) == what(calm)
    counts = job["counts"]
    assert counts["fetched"] == counts["changed"] + counts["unchanged"] + counts["failed"]
    assert counts["changed"] == len(what(source))


def test_documents_are_all_embedded_when_embed_is_killed(
    tenant: Tenant, other_tenant: Tenant, stack: Stack
) -> None:
    calm = connect(other_tenant, stack, "slack")
    calm.run()
    source = connect(tenant, stack, "slack")
    job_id = source.sync()
    until(lambda: source.read()["health"]["pending"] or source.documents(), RUN_SECONDS, 0.05)
    kill(stack, "embed")
    source.end(job_id)
    until(lambda: source.read()["health"]["pending"] == 0, RUN_SECONDS)
    assert what(source) == what(calm)


def test_run_waits_for_a_rate_limit_in_the_machine(tenant: Tenant, stack: Stack) -> None:
    fault(stack, "slack", path="conversations.history", kind="rate_limit", times=1, seconds=7)
    source = connect(tenant, stack, "slack")
    started = time.monotonic()
    job = source.run()
    assert job["status"] == "succeeded", job
    assert time.monotonic() - started >= 7


def test_job_fails_and_its_source_is_free_when_the_execution_is_aborted(
    tenant: Tenant, stack: Stack
) -> None:
    fault(stack, "slack", path="conversations.history", kind="rate_limit", seconds=300)
    source = connect(tenant, stack, "slack")
    job_id = source.sync()
    machine = stack.outputs["state_machine_arns"]["ingest_source"]
    execution = f"{machine.replace(':stateMachine:', ':execution:')}:{job_id}"
    states = stack.client("stepfunctions")

    def waits() -> bool:
        events = states.get_execution_history(executionArn=execution, reverseOrder=True)["events"]
        return any(event["type"] == "WaitStateEntered" for event in events)

    until(waits, RUN_SECONDS)
    assert source.read()["status"] == "running"
    states.stop_execution(executionArn=execution)
    job = source.end(job_id, within=30)
    assert (job["status"], job["error"]) == ("failed", "The run was interrupted (ABORTED).")
    assert source.read()["status"] == "failed"
    reset(stack)
    assert source.run()["status"] == "succeeded"


def test_listing_that_broke_deletes_nothing(tenant: Tenant, stack: Stack) -> None:
    ts = control(stack, "slack", "post", channel="C01OPS", text="Soon deleted.")
    source = connect(tenant, stack, "slack")
    source.run()
    before = source.documents().keys()
    control(stack, "slack", "delete", channel="C01OPS", ts=ts)
    fault(stack, "slack", path="conversations.history", kind="not_ok", after=1)
    job = source.end(source.sync(), within=3 * RUN_SECONDS)
    assert job["status"] in {"failed", "partial"}
    assert job["error"]
    assert source.documents().keys() == before
    assert source.read()["last_error"] == job["error"]
    reset(stack)
    assert source.run()["counts"]["deleted"] == 1
    assert source.documents().keys() == before - {f"C01OPS__{ts}"}
