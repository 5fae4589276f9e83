"""Answers stream: in pieces, in order, byte for byte, over connections that are cut."""

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from tests.e2e.client import Chat, ConnectionClosed, Tenant, Turn

TEXTS = {
    "emoji": "👩‍👩‍👧‍👦 says 👍🏽 to 🏳️‍🌈, and\u200b waits 🕰️ " * 40,
    "cjk": "東京都は日本の首都です。한국어와 中文也在這裡。" * 60,
    "newlines": "first\n\n  second\r\n\tthird\n" * 50 + "\n\n",
    "quotes": 'a "quoted" \\ back\\nslash, </script>, {{ braces }} & %7B ' * 40,
}


def stored(tenant: Tenant, turn: Turn) -> dict[str, object]:
    messages = tenant.messages(turn.ack["conversation_id"])
    assert messages[-2]["id"] == turn.ack["user_message_id"]
    assert messages[-1]["id"] == turn.message_id
    return messages[-1]


def check_stored(tenant: Tenant, turn: Turn) -> None:
    final, message = turn.check(), stored(tenant, turn)
    assert message["content"] == turn.text
    for name in ("status", "stop_reason", "usage", "citations"):
        assert message[name] == final[name], name


def test_first_frame_arrives_long_before_the_last_when_the_answer_is_long(tenant: Tenant) -> None:
    with tenant.chat() as chat:
        asked = time.monotonic()
        turn = chat.ask(tenant.chatbot_id, "[[words 300]] [[pace 20]]")
    first, last = turn.times[0] - asked, turn.times[-1] - asked
    assert len(turn.frames) > 10
    assert first < last / 2


def test_pieces_joined_are_the_final_and_the_stored_text_when_the_answer_has_2000_words(
    tenant: Tenant,
) -> None:
    with tenant.chat() as chat:
        turn = chat.ask(tenant.chatbot_id, "[[words 2000]] [[pace 1]]")
    check_stored(tenant, turn)
    assert len(turn.text.split()) == 2000


@pytest.mark.parametrize("name", TEXTS)
def test_pieces_joined_are_the_final_and_the_stored_text_when_the_text_is(
    name: str, tenant: Tenant
) -> None:
    with tenant.chat() as chat:
        turn = chat.ask(tenant.chatbot_id, f"[[text {TEXTS[name]}]] [[pace 2]]")
    check_stored(tenant, turn)
    assert turn.text == TEXTS[name]


def cut_and_resume(tenant: Tenant, seed: int) -> Turn:
    """One answer whose connection is cut at random moments, up to three times."""
    chance = random.Random(seed)
    with tenant.chat() as chat:
        turn = chat.start(tenant.chatbot_id, "[[words 120]] [[pace 10]]")
        until = time.monotonic() + chance.uniform(0, 1.5)
        with suppress(TimeoutError, ConnectionClosed):
            while turn.final is None:
                turn.take(chat.receive(max(until - time.monotonic(), 0.001)))
        chat.drop()
    while turn.final is None:
        with tenant.chat() as chat:
            chat.send({"type": "resume", "message_id": turn.message_id, "after_seq": turn.seq})
            until = time.monotonic() + chance.uniform(0.2, 4)
            with suppress(TimeoutError, ConnectionClosed):
                while turn.final is None:
                    turn.take(chat.receive(max(until - time.monotonic(), 0.001)))
            chat.drop()
    return turn


def test_nothing_is_lost_when_50_connections_are_cut_and_resumed(
    new_tenant: Callable[[], Tenant],
) -> None:
    tenants = [new_tenant() for _ in range(5)]
    with ThreadPoolExecutor(10) as pool:
        turns = list(pool.map(cut_and_resume, tenants * 10, range(50)))
    for tenant, turn in zip(tenants * 10, turns, strict=True):
        check_stored(tenant, turn)
        assert turn.text.split()
        assert len(turn.text.split()) == 120


def test_every_turn_has_one_final_of_its_own_when_50_sockets_chat_at_once(
    new_tenant: Callable[[], Tenant],
) -> None:
    tenants = [new_tenant() for _ in range(5)]

    def one(number: int) -> tuple[Turn, list[str]]:
        tenant = tenants[number % 5]
        with tenant.chat() as chat:
            turn = chat.ask(tenant.chatbot_id, f"[[text I am answer {number}.]] [[pace 20]]")
            others = [f for f in chat.unread if f.get("message_id") != turn.message_id]
        return turn, [str(f) for f in others if f["type"] == "assistant"]

    with ThreadPoolExecutor(50) as pool:
        seen = list(pool.map(one, range(50)))
    for number, (turn, others) in enumerate(seen):
        assert turn.check()["content"] == f"I am answer {number}."
        assert others == []
    assert len({turn.message_id for turn, _ in seen}) == 50


def test_all_followers_get_the_answer_when_two_connections_follow(tenant: Tenant) -> None:
    with tenant.chat() as first, tenant.chat() as second:
        start = first.ask(tenant.chatbot_id, "hello")
        conversation_id = start.ack["conversation_id"]
        second.send({"type": "open", "conversation_id": conversation_id})
        second.send({"type": "ping"})
        second.until(lambda f: f["type"] == "pong")
        turn = first.ask(
            tenant.chatbot_id, "[[words 50]] [[pace 10]]", conversation_id=conversation_id
        )
        shown = second.until(lambda f: f["type"] == "user")
        copy = second.follow(Turn(turn.ack))
    assert shown["content"] == "[[words 50]] [[pace 10]]"
    assert shown["message_id"] == turn.ack["user_message_id"]
    assert copy.check() == turn.check()


def test_a_follower_that_comes_late_gets_the_answer_from_its_start(tenant: Tenant) -> None:
    with tenant.chat() as first:
        turn = first.start(tenant.chatbot_id, "[[words 200]] [[pace 20]]")
        first.follow(turn, frames=5)
        with tenant.chat() as second:
            second.send({"type": "open", "conversation_id": turn.ack["conversation_id"]})
            late = second.follow(Turn(turn.ack))
        first.follow(turn)
    assert late.check() == turn.check()


def test_resume_gives_every_frame_again_when_the_turn_has_ended(tenant: Tenant) -> None:
    with tenant.chat() as chat:
        turn = chat.ask(tenant.chatbot_id, "[[words 60]]")
    with Chat(tenant.websocket_url, token=tenant.tokens["access_token"]) as chat:
        for after in (0, 1, turn.seq - 1):
            chat.send({"type": "resume", "message_id": turn.message_id, "after_seq": after})
            again = Turn(turn.ack)
            chat.follow(again)
            assert [f["seq"] for f in again.frames] == list(range(after + 1, turn.seq + 1))
            for old, new in zip(turn.frames[after:], again.frames, strict=True):
                assert {k: v for k, v in old.items() if k != "request_id"} == {
                    k: v for k, v in new.items() if k != "request_id"
                }
            chat.unread.clear()
