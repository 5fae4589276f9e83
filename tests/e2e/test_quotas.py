"""Quotas: what is let through, what is counted in the end, and that each workspace has its own."""

import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from boto3.dynamodb.types import TypeDeserializer

from tests.e2e.client import Chat, Frame, Tenant, Turn
from tests.e2e.conftest import Stack

MOST = 2000  # tokens of an answer
INPUT = 100  # and more than its question can have
OLD_MODEL = "anthropic.claude-v2"


def row(stack: Stack, tenant: Tenant, item: str) -> dict[str, Any]:
    """A row of the table of usage, as it is now."""
    found = stack.client("dynamodb").get_item(
        TableName=stack.outputs["table_names"]["usage"],
        Key={"workspace_id": {"S": tenant.workspace_id}, "item": {"S": item}},
        ConsistentRead=True,
    )
    unpack = TypeDeserializer().deserialize
    return {name: unpack(value) for name, value in found.get("Item", {}).items()}


def month(stack: Stack, tenant: Tenant) -> dict[str, Any]:
    """The month's counter: {tokens, cost}."""
    return row(stack, tenant, f"QUOTA#{time.strftime('%Y-%m', time.gmtime())}")


def smaller(tenant: Tenant) -> None:
    """Have the tenant's chatbot answer with `MOST` tokens at most."""
    path = f"{tenant.path}/chatbots/{tenant.chatbot_id}"
    tenant.rest.ok("PATCH", path, {"max_tokens": MOST, "system_prompt": "You help."})


def check_counters(stack: Stack, tenant: Tenant, finals: list[Frame]) -> None:
    """The counters are what the final frames say, to the token; nothing is reserved any more."""
    asked = sum(final["usage"]["input_tokens"] for final in finals)
    said = sum(final["usage"]["output_tokens"] for final in finals)
    assert month(stack, tenant)["tokens"] == asked + said
    assert row(stack, tenant, "RUNNING")["turns"] == 0
    total = tenant.rest.ok("GET", f"{tenant.path}/usage")["total"]
    assert (total["turns"], total["input_tokens"], total["output_tokens"]) == (
        len(finals),
        asked,
        said,
    )
    assert Decimal(total["cost"]) == month(stack, tenant)["cost"] / 1_000_000


def opened(chat: Chat, tenant: Tenant, words: list[str]) -> list[Frame]:
    """Send chats one right after the other; the `ack` or `error` of each."""
    marks = [str(uuid4()) for _ in words]
    for mark, content in zip(marks, words, strict=True):
        frame = {"chatbot_id": tenant.chatbot_id, "content": content, "client_message_id": mark}
        chat.send({"type": "chat", **frame})
    return [
        chat.until(lambda f: f["type"] in {"ack", "error"} and f.get("client_message_id") in marks)
        for _ in marks
    ]


def final_of(tenant: Tenant, turn: Turn) -> Frame:
    """A turn's final frame, on a connection of its own."""
    with tenant.chat() as chat:
        chat.send({"type": "resume", "message_id": turn.message_id, "after_seq": 0})
        return chat.follow(turn).check()


def test_turns_at_once_are_limited_by_the_workspaces_own_quota(
    stack: Stack, tenant: Tenant, other_tenant: Tenant, limit: Callable[..., None]
) -> None:
    limit(tenant, max_concurrent_turns=2)
    words = "[[words 60]] [[pace 150]]"
    with tenant.chat() as chat, other_tenant.chat() as other:
        turns = [chat.start(tenant.chatbot_id, words) for _ in range(2)]
        [refused] = opened(chat, tenant, ["one more"])
        assert (refused["type"], refused["code"]) == ("error", "quota_exceeded")
        assert "when one of them has ended" in refused["detail"]
        assert other.ask(other_tenant.chatbot_id, "hello").check()["status"] == "completed"
        finals = [final_of(tenant, turn) for turn in turns]
        finals.append(chat.ask(tenant.chatbot_id, "now").check())
    check_counters(stack, tenant, finals)


@pytest.mark.parametrize("quota", [{"monthly_tokens": 10}, {"monthly_cost": "0.000001"}])
def test_quota_lets_nothing_through_until_the_operator_raises_it(
    quota: dict[str, Any], stack: Stack, tenant: Tenant, limit: Callable[..., None]
) -> None:
    limit(tenant, **quota)
    with tenant.chat() as chat:
        [refused] = opened(chat, tenant, ["hello"])
        assert refused["code"] == "quota_exceeded"
        assert tenant.rest.ok("GET", f"{tenant.path}/conversations")["items"] == []
        assert tenant.rest("PATCH", tenant.path, {"quota": {}}).status_code == 403
        limit(tenant, monthly_tokens=100_000, monthly_cost="5")
        final = chat.ask(tenant.chatbot_id, "hello").check()
    check_counters(stack, tenant, [final])


def test_deleting_conversations_gives_no_quota_back(
    stack: Stack, tenant: Tenant, limit: Callable[..., None]
) -> None:
    smaller(tenant)
    with tenant.chat() as chat:
        turn = chat.ask(tenant.chatbot_id, "[[words 900]] [[pace 0]]")
        used = month(stack, tenant)["tokens"]
        limit(tenant, monthly_tokens=int(used) + MOST)
        conversation = f"{tenant.path}/conversations/{turn.ack['conversation_id']}"
        assert tenant.rest("DELETE", conversation).status_code == 204
        [refused] = opened(chat, tenant, ["hello"])
    assert refused["code"] == "quota_exceeded"
    check_counters(stack, tenant, [turn.check()])


def test_turn_ends_with_the_quotas_word_when_what_is_sent_does_not_fit(
    stack: Stack, tenant: Tenant, limit: Callable[..., None]
) -> None:
    smaller(tenant)
    with tenant.chat() as chat:
        first = chat.ask(tenant.chatbot_id, "[[words 1200]] [[pace 0]]")
        used = int(month(stack, tenant)["tokens"])
        limit(tenant, monthly_tokens=used + MOST + 200)
        place = {"conversation_id": first.ack["conversation_id"]}
        second = chat.ask(tenant.chatbot_id, "and?", **place).check()
        assert (second["status"], second["error"]["code"]) == ("failed", "quota_exceeded")
        assert month(stack, tenant)["tokens"] == used
        limit(tenant, monthly_tokens=1_000_000)
        third = chat.ask(tenant.chatbot_id, "and now?", **place).check()
    assert third["status"] == "completed"
    check_counters(stack, tenant, [first.check(), second, third])


def test_cached_prompt_costs_less_when_it_is_sent_again(stack: Stack, tenant: Tenant) -> None:
    path = f"{tenant.path}/chatbots/{tenant.chatbot_id}"
    rules = f"{uuid4()} " + "You keep to the rules of the house. " * 300
    tenant.rest.ok("PATCH", path, {"system_prompt": rules})
    costs, finals = [Decimal(0)], []
    with tenant.chat() as chat:
        for _ in range(2):
            finals.append(chat.ask(tenant.chatbot_id, "hello").check())
            total = tenant.rest.ok("GET", f"{tenant.path}/usage")["total"]
            costs.append(Decimal(total["cost"]))
    first, second = finals[0]["usage"], finals[1]["usage"]
    assert first == second, "clients see all that was sent"
    [model] = tenant.rest.ok("GET", f"{tenant.path}/usage", params={"group_by": "model"})["items"]
    assert model["turns"] == 2
    uncached = Decimal(first["input_tokens"]) * 3 / 1_000_000
    said = Decimal(first["output_tokens"]) * 15 / 1_000_000
    assert costs[1] - said > uncached, "written to the cache"
    assert costs[2] - costs[1] - said < uncached / 5, "read from it"
    check_counters(stack, tenant, finals)


def test_chat_is_refused_clearly_when_the_chatbots_model_was_withdrawn(
    stack: Stack, tenant: Tenant, other_tenant: Tenant
) -> None:
    path = f"{tenant.path}/chatbots/{tenant.chatbot_id}"
    assert tenant.rest("PATCH", path, {"model_id": OLD_MODEL}).status_code == 422
    body = {"name": "Old", "model_id": OLD_MODEL}
    assert tenant.rest("POST", f"{tenant.path}/chatbots", body).status_code == 422
    stack.sql(
        "UPDATE app.chatbots SET model_id = :model WHERE id = CAST(:id AS uuid)"
        " RETURNING to_jsonb(id)::text",
        model=OLD_MODEL,
        id=tenant.chatbot_id,
    )
    with tenant.chat() as chat, other_tenant.chat() as other:
        [refused] = opened(chat, tenant, ["hello"])
        assert (refused["code"], refused["type"]) == ("forbidden", "error")
        assert "model" in refused["detail"]
        assert other.ask(other_tenant.chatbot_id, "hello").check()["status"] == "completed"
        models = tenant.rest.ok("GET", f"{tenant.path}/models")["items"]
        tenant.rest.ok("PATCH", path, {"model_id": models[0]["model_id"]})
        assert chat.ask(tenant.chatbot_id, "hello").check()["status"] == "completed"
