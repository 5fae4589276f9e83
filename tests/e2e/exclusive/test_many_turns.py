"""A hundred turns at once: with others beside them this machine would not serve them in time."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from tests.e2e.client import Tenant, Turn
from tests.e2e.conftest import Stack
from tests.e2e.test_quotas import INPUT, MOST, check_counters, final_of, month, opened, smaller


def runs(stack: Stack, turn: Turn) -> bool:
    item = stack.client("dynamodb").get_item(
        TableName=stack.outputs["table_names"]["turns"],
        Key={"message_id": {"S": turn.message_id}, "seq": {"N": "0"}},
        ConsistentRead=True,
    )["Item"]
    return bool(item["status"]["S"] == "running")


def test_ten_turns_at_most_are_let_through_and_counted_exactly_when_100_come_at_once(
    stack: Stack, tenant: Tenant, other_tenant: Tenant, limit: Callable[..., None]
) -> None:
    """They then end in every way: completed, cancelled, broken off, aborted, throttled away."""
    smaller(tenant)
    limit(tenant, monthly_tokens=10 * (MOST + INPUT), max_concurrent_turns=100)
    # None is over before all have been answered, if the machine is quick enough: what a turn did
    # not take is free again.
    words = "[[stall 25]] [[words 120]] [[pace 40]] [[break 60]]"
    with ExitStack() as open_, ThreadPoolExecutor(10) as pool:
        chats = [open_.enter_context(tenant.chat()) for _ in range(10)]
        answers = list(pool.map(lambda chat: opened(chat, tenant, [words] * 10), chats))
        acks = [(c, a) for c, all_ in zip(chats, answers, strict=True) for a in all_]
        refused = [answer for _, answer in acks if answer["type"] == "error"]
        turns = [(chat, Turn(answer)) for chat, answer in acks if answer["type"] == "ack"]
        assert len(refused) + len(turns) == 100
        running = [(chat, turn) for chat, turn in turns if runs(stack, turn)]
        assert 1 <= len(running) <= 10
        assert {answer["code"] for answer in refused} == {"quota_exceeded"}
        assert re.search(r"\d{4}-\d{2}-01T00:00:00Z", refused[0]["detail"])
        assert month(stack, tenant)["tokens"] <= 10 * (MOST + INPUT)
        machine = stack.outputs["chat_state_machine_arn"].replace(":stateMachine:", ":execution:")
        for number, (chat, turn) in enumerate(running):
            if number % 3 == 0:
                chat.send({"type": "cancel", "message_id": turn.message_id})
            if number % 3 == 1:
                stack.client("stepfunctions").stop_execution(
                    executionArn=f"{machine}:{turn.message_id}"
                )
        finals = [final_of(tenant, turn) for _, turn in turns]
    assert {final["status"] for final in finals} <= {"cancelled", "failed", "completed"}
    assert len({final["status"] for final in finals}) > 1
    check_counters(stack, tenant, finals)
    with other_tenant.chat() as chat:
        theirs = chat.ask(other_tenant.chatbot_id, "hello").check()
    check_counters(stack, other_tenant, [theirs])
    with tenant.chat() as chat:
        finals.append(chat.ask(tenant.chatbot_id, "hello").check())
    check_counters(stack, tenant, finals)
