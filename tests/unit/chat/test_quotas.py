"""A workspace's quota: what turns reserve, what they take in the end, and that nothing is lost."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from chatbot import identifiers, quotas, tables, turns
from chatbot.errors import QuotaExceeded, RetryLater
from chatbot.turns import Head
from tests.unit.chat.world import USER, Frame, LambdaContext, World, error
from tests.unit.conftest import fresh_settings

ELSEWHERE = "0190bbbb-0000-7000-8000-000000000000"


@pytest.fixture
def ann(world: World) -> str:
    return world.connect("ann")


def counted(world: World, month: str | None = None) -> tuple[int, Decimal]:
    """(tokens, cost) of the month's counter."""
    row = world.usage(f"QUOTA#{month or identifiers.timestamp(identifiers.now_ms())[:7]}")
    return row.get("tokens", 0), Decimal(row.get("cost", 0))


def taken(usages: list[dict[str, Any]]) -> tuple[int, Decimal]:
    """(tokens, cost) of usages at the prices of Nova Lite."""
    asked = sum(usage["input_tokens"] for usage in usages)
    said = sum(usage["output_tokens"] for usage in usages)
    return asked + said, asked * Decimal("0.06") + said * Decimal("0.24")


def claimed(ack: Frame, producer: str = "producer") -> Head:
    return turns.claim(ack["message_id"], producer)


def test_counter_is_what_turns_took_when_100_come_at_once_and_end_in_every_way(
    world: World, environment: pytest.MonkeyPatch
) -> None:
    """Ten fit: at most ten are let through at a time, however the others before them ended."""
    environment.setenv("MAX_CONCURRENT_TURNS", "1000")
    fresh_settings()
    most = 100 + quotas.most_tokens("You help.Hi") + quotas.OVERHEAD_TOKENS
    world.quota = {"monthly_tokens": 10 * most}
    connections = [world.connect(f"c{number}") for number in range(100)]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(world.chat, connections))
    acks = [(c, a) for c, a in zip(connections, answers, strict=True) if a["type"] == "ack"]
    refused = [answer for answer in answers if answer["type"] == "error"]
    assert len(acks) == 10
    assert {answer["code"] for answer in refused} == {"quota_exceeded"}
    assert counted(world)[0] == 10 * most
    assert world.usage("RUNNING")["turns"] == 10
    finals = []
    for number, (connection, ack) in enumerate(acks):
        end(world, connection, ack, number % 5)
        finals.append(world.frames(connection, ack["message_id"])[-1])
    assert {final["status"] for final in finals} == {"completed", "cancelled", "failed"}
    assert counted(world) == taken([final["usage"] for final in finals])
    assert world.usage("RUNNING")["turns"] == 0
    assert world.chat(connections[0])["type"] == "ack"


def end(world: World, connection: str, ack: Frame, way: int) -> None:
    """Complete, cancel, fail, kill or leave a turn."""
    match way:
        case 0:
            world.run(ack["message_id"])
        case 1:
            world.send(connection, {"type": "cancel", "message_id": ack["message_id"]})
        case 2:
            world.model.scripts.append(["half", error("ValidationException")])
            world.run(ack["message_id"])
        case 3:
            world.die(ack["message_id"])
        case 4:
            world.end({"message_id": ack["message_id"], "request_id": "r", "error": "RetryLater"})
    world.die(ack["message_id"])  # whatever comes after the end changes nothing


@pytest.mark.parametrize(
    ("now", "resets"),
    [
        ("2026-11-28T10:00:00", "2026-12-01T00:00:00Z"),
        ("2026-12-31T23:59:59", "2027-01-01T00:00:00Z"),
    ],
)
def test_refusal_says_when_the_quota_begins_anew(
    now: str, resets: str, world: World, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = int(datetime.fromisoformat(now).replace(tzinfo=UTC).timestamp() * 1000)
    monkeypatch.setattr("functions.ws_message.opening.now_ms", lambda: at)
    world.quota = {"monthly_tokens": 1}
    refused = world.chat(ann, client_message_id="m")
    assert (refused["code"], refused["client_message_id"]) == ("quota_exceeded", "m")
    assert resets in refused["detail"]


def test_refusal_says_what_to_wait_for_when_too_many_are_under_way(world: World, ann: str) -> None:
    world.quota = {"max_concurrent_turns": 1}
    first = world.chat(ann)
    refused = world.chat(ann)
    assert refused["code"] == "quota_exceeded"
    assert "when one of them has ended" in refused["detail"]
    world.run(first["message_id"])
    assert world.chat(ann)["type"] == "ack"


def test_turn_is_settled_in_the_month_that_it_was_opened_in(
    world: World, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = int(datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC).timestamp() * 1000)
    with monkeypatch.context() as patch:
        patch.setattr("functions.ws_message.opening.now_ms", lambda: at)
        ack = world.chat(ann)
    assert counted(world, "2026-01")[0] > 100
    world.die(ack["message_id"])
    [final] = world.frames(ann, ack["message_id"])
    assert counted(world, "2026-01") == taken([final["usage"]])
    assert counted(world) == (0, Decimal(0))
    day = world.usage(f"DAY#2026-01-31#{USER}#{world.chatbot['id']}#amazon.nova-lite-v1:0")
    assert day["turns"] == 1


def test_others_quota_is_untouched_when_ones_is_used_up(world: World, ann: str) -> None:
    world.quota = {"monthly_tokens": 200, "max_concurrent_turns": 1}
    ack = world.chat(ann)
    assert world.chat(ann)["code"] == "quota_exceeded"
    world.workspace_id = ELSEWHERE
    assert world.usage("RUNNING") == {}
    theirs = world.chat(ann)
    assert theirs["type"] == "ack"
    world.run(theirs["message_id"])
    assert counted(world) == (18, 11 * Decimal("0.06") + 7 * Decimal("0.24"))
    [day] = tables.query(
        "usage",
        "workspace_id = :w AND begins_with(#item, :day)",
        {":w": ELSEWHERE, ":day": "DAY#"},
        ExpressionAttributeNames={"#item": "item"},
    )
    assert day["turns"] == 1
    world.workspace_id = "0190aaaa-0000-7000-8000-000000000000"
    assert world.usage("RUNNING")["turns"] == 1
    world.run(ack["message_id"])
    assert counted(world)[0] == 18


def test_nothing_is_reserved_more_when_the_reservation_suffices(world: World, ann: str) -> None:
    turn = claimed(world.chat(ann))
    before = counted(world)
    assert quotas.reserve_round(turn, "producer", 10) == turn
    assert counted(world) == before


def test_round_reserves_what_it_may_take_beside_what_was_spent(world: World, ann: str) -> None:
    turn = claimed(world.chat(ann))
    spent = {"input_tokens": 40, "output_tokens": 60, "estimated": False}
    grown = quotas.reserve_round(turn._replace(spent=spent), "producer", 500)
    assert grown.reserved_tokens == 100 + 500 + 100
    assert counted(world) == (700, Decimal(grown.reserved_cost))
    assert Decimal(grown.reserved_cost) == 540 * Decimal("0.06") + 160 * Decimal("0.24")
    assert turns.head(turn.message_id) == grown._replace(spent=None)
    world.die(turn.message_id)
    [final] = world.frames(ann, turn.message_id)
    assert counted(world) == taken([final["usage"]])


@pytest.mark.parametrize("quota", [{"monthly_tokens": 600}, {"monthly_cost": "0.00004"}])
def test_round_is_refused_when_the_month_has_not_that_much_left(
    quota: dict[str, Any], world: World, ann: str
) -> None:
    world.quota = quota
    turn = claimed(world.chat(ann))
    before = counted(world)
    with pytest.raises(QuotaExceeded):
        quotas.reserve_round(turn, "producer", 600)
    assert counted(world) == before
    assert turns.head(turn.message_id) == turn


def test_round_is_lost_when_the_turn_is_anothers_or_has_ended(world: World, ann: str) -> None:
    turn = claimed(world.chat(ann))
    with pytest.raises(turns.Lost):
        quotas.reserve_round(turn._replace(producer="other"), "other", 500)
    world.die(turn.message_id)
    settled = counted(world)
    with pytest.raises(turns.Lost):
        quotas.reserve_round(turn, "producer", 500)
    assert counted(world) == settled


def test_round_goes_on_from_the_stored_reservation_when_its_own_is_old(
    world: World, ann: str
) -> None:
    turn = claimed(world.chat(ann))
    quotas.reserve_round(turn, "producer", 500)
    assert quotas.reserve_round(turn, "producer", 500).reserved_tokens == 600
    assert counted(world)[0] == 600


def test_round_is_tried_again_by_the_machine_when_others_are_at_the_counters_all_the_time(
    world: World, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = claimed(world.chat(ann))

    def busy(_: Any) -> None:
        raise tables.TransactionCanceled(["TransactionConflict", "None"])

    monkeypatch.setattr(tables, "transact", busy)
    monkeypatch.setattr(tables, "back_off", lambda _: None)
    with pytest.raises(RetryLater):
        quotas.reserve_round(turn, "producer", 500)


def test_settlement_counts_what_was_reserved_last_when_a_round_came_in_between(
    world: World, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end has read the head when the producer reserves more: it reads again."""
    turn = claimed(world.chat(ann))
    transact = tables.transact

    def slower(actions: Any) -> None:
        monkeypatch.setattr(tables, "transact", transact)
        quotas.reserve_round(turn, "producer", 500)
        transact(actions)

    monkeypatch.setattr(tables, "transact", slower)
    world.die(turn.message_id)
    [final] = world.frames(ann, turn.message_id)
    assert counted(world) == taken([final["usage"]])


def test_counter_is_exact_when_rounds_and_ends_meet(world: World, ann: str) -> None:
    """Each turn grows on one thread and is ended on another, at any moment."""
    world.quota = {"max_concurrent_turns": 100}
    dice = random.Random(7)
    finals = []
    for _ in range(12):
        turn = claimed(world.chat(ann))
        start = threading.Barrier(2)

        def grow(turn: Head = turn, start: threading.Barrier = start) -> None:
            start.wait(5)
            try:
                for tokens in (300, 600, 900):
                    turn = quotas.reserve_round(turn, "producer", tokens)
            except turns.Lost:
                return

        thread = threading.Thread(target=grow)
        thread.start()
        start.wait(5)
        threading.Event().wait(dice.uniform(0, 0.02))
        world.die(turn.message_id)
        thread.join(10)
        finals.append(world.frames(ann, turn.message_id)[-1])
    assert counted(world) == taken([final["usage"] for final in finals])


def test_turn_fails_with_the_quotas_word_when_its_history_does_not_fit(
    world: World, ann: str
) -> None:
    """The opening knows the question; what is sent with it is reserved before it is sent."""
    first = world.chat(ann)
    world.model.says("long " * 2000)
    world.run(first["message_id"])
    world.quota = {"monthly_tokens": counted(world)[0] + 1000}
    second = world.chat(ann, conversation_id=first["conversation_id"])
    asked = len(world.model.requests)
    world.run(second["message_id"])
    final = world.check_ended(ann, second)
    assert (final["status"], final["error"]["code"]) == ("failed", "quota_exceeded")
    assert "T00:00:00Z" in final["error"]["detail"]
    assert final["usage"] == {"input_tokens": 0, "output_tokens": 0, "estimated": False}
    assert len(world.model.requests) == asked
    world.quota = {}
    third = world.chat(ann, conversation_id=first["conversation_id"])
    world.run(third["message_id"])
    assert world.check_ended(ann, third)["status"] == "completed"


def test_reservation_covers_what_is_sent_when_the_history_fits(world: World, ann: str) -> None:
    first = world.chat(ann)
    world.model.says("long " * 2000)
    world.run(first["message_id"])
    before = counted(world)[0]
    second = world.chat(ann, conversation_id=first["conversation_id"])
    seen: list[int] = []
    world.model.says(lambda: seen.append(counted(world)[0] - before))
    world.run(second["message_id"])
    assert seen[0] > 100 + 10_000 / 4
    assert world.check_ended(ann, second)["status"] == "completed"


def test_cache_is_priced_and_shown_as_input_when_the_model_used_it(world: World, ann: str) -> None:
    usage = {
        "inputTokens": 100,
        "outputTokens": 10,
        "cacheReadInputTokens": 2000,
        "cacheWriteInputTokens": 1000,
    }
    world.model.scripts.append(
        ["Yes.", {"messageStop": {"stopReason": "end_turn"}}, {"metadata": {"usage": usage}}]
    )
    ack = world.chat(ann)
    world.run(ack["message_id"])
    final = world.check_ended(ann, ack)
    assert final["usage"] == {"input_tokens": 3100, "output_tokens": 10, "estimated": False}
    prices = zip((100, 2000, 1000, 10), ("0.06", "0.015", "0.06", "0.24"), strict=True)
    assert counted(world) == (3110, sum(count * Decimal(price) for count, price in prices))


def test_usage_of_rounds_is_added_up_when_the_turn_is_killed_in_a_later_one(
    world: World, ann: str
) -> None:
    ack = world.chat(ann)
    turn = claimed(ack)
    spent = {"input_tokens": 40, "output_tokens": 60, "estimated": False}
    turns._update(turn.message_id, "#status = :running", "SET spent = :spent", {":spent": spent})
    world.die(turn.message_id)
    [final] = world.frames(ann, turn.message_id)
    waiting = turn.input_estimate
    assert final["usage"] == {
        "input_tokens": 40 + waiting,
        "output_tokens": 60,
        "estimated": True,
    }
    assert counted(world) == taken([final["usage"]])


def test_withdrawn_model_fails_the_turn_that_it_was_opened_with(
    world: World, ann: str, environment: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    from functions.chat_stream import handler, producing

    ack = world.chat(ann)
    monkeypatch.setattr(producing, "allowed_models", dict)
    world.end(
        handler.handler({"message_id": ack["message_id"], "request_id": "r"}, LambdaContext())
    )
    final = world.check_ended(ann, ack)
    assert (final["status"], final["error"]["code"]) == ("failed", "model_withdrawn")
    assert counted(world) == (0, Decimal(0))
    assert world.model.requests == []
