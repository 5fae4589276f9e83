"""Faults of what all turns share, so that nothing else may run meanwhile."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer
from typing import Any

import pytest

from localstack import stack as local_stack
from tests.e2e.client import Tenant
from tests.e2e.conftest import Stack
from tests.e2e.test_turn_faults import ENDS_WITHIN, check_conversation_goes_on


@contextmanager
def changed_machine(stack: Stack, change: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """The chat machine with a changed definition, put back afterwards."""
    machine, arn = stack.client("stepfunctions"), stack.outputs["chat_state_machine_arn"]
    original = machine.describe_state_machine(stateMachineArn=arn)["definition"]
    definition = json.loads(original)
    change(definition)
    machine.update_state_machine(stateMachineArn=arn, definition=json.dumps(definition))
    try:
        yield
    finally:
        machine.update_state_machine(stateMachineArn=arn, definition=original)


def times_out(definition: dict[str, Any]) -> None:
    definition["TimeoutSeconds"] = 2


def passes_256_kib(definition: dict[str, Any]) -> None:
    definition["States"]["StreamAnswer"]["Output"] = "{% $pad('x', 300000, 'x') %}"


@pytest.mark.parametrize("change", [times_out, passes_256_kib])
def test_turn_ends_failed_when_its_machine(
    change: Callable[[dict[str, Any]], None], stack: Stack, tenant: Tenant
) -> None:
    words = "[[words 200]] [[pace 20]]"
    with changed_machine(stack, change), tenant.chat() as chat:
        turn = chat.follow(chat.start(tenant.chatbot_id, words), timeout=ENDS_WITHIN)
    assert turn.check()["status"] == "failed"
    check_conversation_goes_on(tenant, turn, words)


def test_turn_is_answered_when_the_database_is_away_for_20_seconds(
    stack: Stack, tenant: Tenant
) -> None:
    words = "hello?"
    with tenant.chat() as chat:
        local_stack.stop_database()
        back = Timer(20, local_stack.start_database)
        back.start()
        asked = time.monotonic()
        turn = chat.ask(tenant.chatbot_id, words)
        back.join()
        assert time.monotonic() - asked < ENDS_WITHIN
    assert turn.check()["status"] == "completed"
    check_conversation_goes_on(tenant, turn, words)
