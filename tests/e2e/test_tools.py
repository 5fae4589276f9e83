"""Tools on the running stack: side by side, refused, approved of, cancelled, limited."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.e2e.client import Chat, Frame, Tenant, Turn
from tests.e2e.conftest import Stack
from tests.e2e.sources import connect
from tests.e2e.test_turn_faults import check_conversation_goes_on, execution_arn

ENDS_WITHIN = 60


def use(name: str, **given: Any) -> str:
    """What makes the model call a tool."""
    return f"[[tool {name} {json.dumps(given)}]]"


def equip(tenant: Tenant, *names: str, **fields: Any) -> None:
    """Give the tenant's chatbot tools."""
    path = f"{tenant.path}/chatbots/{tenant.chatbot_id}"
    tenant.rest.ok("PATCH", path, {"tools": list(names), **fields})


def calls(tenant: Tenant, turn: Turn) -> list[Any]:
    """The calls in the stored answer."""
    found: list[Any] = tenant.messages(turn.ack["conversation_id"])[-1]["tool_calls"]
    return found


def asked(stack: Stack, mark: str) -> list[Any]:
    """The requests that the model got for a question with this mark."""
    kept = requests.get(f"{stack.outputs['bedrock_url']}/requests", timeout=10).json()
    return [
        request["body"]
        for request in kept
        if "messages" in request["body"] and mark in json.dumps(request["body"]["messages"])
    ]


def until_waiting(chat: Chat, turn: Turn) -> Frame:
    """Read until a call waits for approval; its frame."""
    waits = [f for f in turn.frames if f["status"] == "needs_approval"]
    while not waits:
        turn.take(chat.receive())
        waits = [f for f in turn.frames if f["status"] == "needs_approval"]
    return waits[0]


def approve(turn: Turn, frame: Frame, approved: bool = True) -> Frame:
    return {
        "type": "approve",
        "message_id": turn.message_id,
        "tool_use_id": frame["tool_use_id"],
        "approved": approved,
    }


def test_chatbot_takes_the_tools_that_are_listed(tenant: Tenant) -> None:
    listed = tenant.rest.ok("GET", f"{tenant.path}/tools")["items"]
    names = [tool["name"] for tool in listed]
    assert {"web_search", "backlog_search", "backlog_create"} < set(names)
    assert [t["name"] for t in listed if t["requires_approval"]] == ["backlog_create"]
    equip(tenant, *names)
    path = f"{tenant.path}/chatbots/{tenant.chatbot_id}"
    for wrong in (["rm_rf"], ["tool_web_search"], ["web_search", "web_search"]):
        assert tenant.rest("PATCH", path, {"tools": wrong}).status_code == 422


def test_three_tools_run_side_by_side_when_one_fails_and_one_times_out(
    tenant: Tenant, other_tenant: Tenant, stack: Stack
) -> None:
    equip(tenant, "web_search", "backlog_search")
    words = " ".join(
        [
            "Compare.",
            use("web_search", query="tea"),
            use("backlog_search", query="no source is connected"),
            use("web_search", query="tea [[slow 60]]"),
        ]
    )
    with tenant.chat() as chat:
        began = time.monotonic()
        turn = chat.ask(tenant.chatbot_id, words)
    assert time.monotonic() - began < ENDS_WITHIN
    final = turn.check()
    assert (final["status"], final["stop_reason"]) == ("completed", "end_turn")
    assert turn.tools[:3] == [
        ("web_search", "started"),
        ("backlog_search", "started"),
        ("web_search", "started"),
    ]
    assert sorted(turn.tools[3:]) == [
        ("backlog_search", "failed"),
        ("web_search", "completed"),
        ("web_search", "failed"),
    ]
    assert [call["status"] for call in calls(tenant, turn)] == ["completed", "failed", "failed"]
    last = asked(stack, "Compare.")[-1]["messages"][-1]["content"]
    assert [block["toolResult"]["status"] for block in last] == ["success", "error", "error"]
    check_conversation_goes_on(tenant, turn, words)
    url = f"{other_tenant.path}/conversations/{turn.ack['conversation_id']}/messages"
    assert other_tenant.rest("GET", url).status_code == 404


def test_result_is_capped_and_clean_when_it_is_large_or_no_text(tenant: Tenant) -> None:
    equip(tenant, "web_search")
    for directive in ("large", "invalid-utf-8"):
        with tenant.chat() as chat:
            turn = chat.ask(tenant.chatbot_id, use("web_search", query=f"tea [[{directive}]]"))
        assert turn.check()["status"] == "completed"
        [call] = calls(tenant, turn)
        assert len(call["output"].encode()) <= 32 * 1024


def test_tool_that_a_result_asks_for_is_not_run(tenant: Tenant, stack: Stack) -> None:
    equip(tenant, "web_search", "backlog_create")
    words = use("web_search", query="tea [[instructions backlog_create]]")
    with tenant.chat() as chat:
        turn = chat.ask(tenant.chatbot_id, words)
    assert turn.check()["status"] == "completed"
    assert turn.tools == [("web_search", "started"), ("web_search", "completed")]


@pytest.mark.parametrize("name", ["rm_rf", "backlog_create", "tool_web_search"])
def test_tool_is_never_run_when_it_is_not_the_chatbots(name: str, tenant: Tenant) -> None:
    equip(tenant, "web_search")
    with tenant.chat() as chat:
        turn = chat.ask(tenant.chatbot_id, use(name, query="tea"))
    assert turn.check()["status"] == "completed"
    assert turn.tools == [(name, "failed")]
    [call] = calls(tenant, turn)
    assert (call["status"], call["output"]) == ("failed", "There is no such tool.")


def test_tool_is_never_run_when_its_user_may_not(
    tenant: Tenant, new_tenant: Callable[[], Tenant], stack: Stack
) -> None:
    """`backlog_create` asks for a permission that a viewer lacks."""
    guest = new_tenant()
    equip(tenant, "web_search", "backlog_create")
    roles = tenant.rest.ok("GET", f"{tenant.path}/roles")["items"]
    viewer = next(role["id"] for role in roles if role["name"] == "viewer")
    tenant.rest.ok("POST", f"{tenant.path}/invitations", {"email": guest.email, "role_id": viewer})
    created = use("backlog_create", project_key="OPS", summary="Not to be")
    with guest.chat() as chat:
        turn = chat.ask(tenant.chatbot_id, f"As a guest. {created}")
    assert turn.tools == [("backlog_create", "failed")]
    offered = asked(stack, "As a guest.")[-1]["toolConfig"]["tools"]
    assert [tool["toolSpec"]["name"] for tool in offered] == ["web_search"]


def test_loop_ends_at_the_limit_when_the_model_never_stops(tenant: Tenant, stack: Stack) -> None:
    equip(tenant, "web_search", max_tool_rounds=2)
    with tenant.chat() as chat:
        turn = chat.ask(tenant.chatbot_id, 'For ever. [[tool-loop web_search {"query": "tea"}]]')
    final = turn.check()
    assert (final["status"], final["stop_reason"]) == ("completed", "tool_round_limit")
    assert len(asked(stack, "For ever.")) == 3
    assert [call["status"] for call in calls(tenant, turn)] == ["completed", "completed"]


def test_issue_is_created_once_when_the_user_approves(tenant: Tenant, stack: Stack) -> None:
    connect(tenant, stack, "backlog", config={"projects": ["OPS"]})
    equip(tenant, "backlog_create")
    words = use("backlog_create", project_key="OPS", summary=f"From {tenant.user['username']}")
    with tenant.chat() as chat:
        turn = chat.start(tenant.chatbot_id, words)
        waiting = until_waiting(chat, turn)
        chat.send(approve(turn, waiting))
        chat.send(approve(turn, waiting))
        again = chat.until(lambda f: f["type"] == "error" or f.get("status") == "completed")
        chat.unread.append(again)
        chat.follow(turn)
    assert (again["type"], again["code"]) == ("error", "not_found")
    assert turn.check()["status"] == "completed"
    assert turn.tools == [
        ("backlog_create", "needs_approval"),
        ("backlog_create", "started"),
        ("backlog_create", "completed"),
    ]
    [call] = calls(tenant, turn)
    assert call["input"]["project_key"] == "OPS"
    assert "OPS-" in call["output"]


def test_issue_is_not_created_when_the_user_refuses_or_never_answers(
    tenant: Tenant, stack: Stack
) -> None:
    connect(tenant, stack, "backlog", config={"projects": ["OPS"]})
    equip(tenant, "backlog_create")
    words = use("backlog_create", project_key="OPS", summary="Not to be")
    for answers in (True, False):
        with tenant.chat() as chat:
            turn = chat.start(tenant.chatbot_id, words)
            waiting = until_waiting(chat, turn)
            if answers:
                chat.send(approve(turn, waiting, approved=False))
            chat.follow(turn)
            assert turn.check()["status"] == "completed"
            assert turn.tools[1:] == [("backlog_create", "failed")]
            assert "It was not made." in calls(tenant, turn)[0]["output"]
            chat.send(approve(turn, waiting))
            late = chat.until(lambda f: f["type"] == "error")
        assert late["code"] == "not_found"


def test_approval_of_another_user_changes_nothing(
    tenant: Tenant, other_tenant: Tenant, stack: Stack
) -> None:
    equip(tenant, "backlog_create")
    words = use("backlog_create", project_key="OPS", summary="Not theirs")
    with tenant.chat() as chat, other_tenant.chat() as other:
        turn = chat.start(tenant.chatbot_id, words)
        waiting = until_waiting(chat, turn)
        other.send(approve(turn, waiting))
        refused = other.until(lambda f: f["type"] == "error")
        other.send(approve(turn, {"tool_use_id": "tooluse_none"}))
        unknown = other.until(lambda f: f["type"] == "error")
        assert turn.tools == [("backlog_create", "needs_approval")]
        chat.send({"type": "cancel", "message_id": turn.message_id})
        chat.follow(turn)
    assert (refused["code"], refused["detail"]) == (unknown["code"], unknown["detail"])
    assert refused["code"] == "not_found"


@pytest.mark.parametrize(
    "words",
    [
        use("web_search", query="tea [[slow 15]]"),
        use("backlog_create", project_key="OPS", summary="Not to be"),
    ],
    ids=["tool", "approval"],
)
def test_cancel_ends_the_turn_when_a_tool_runs_or_waits(
    words: str, tenant: Tenant, stack: Stack
) -> None:
    equip(tenant, "web_search", "backlog_create")
    with tenant.chat() as chat:
        turn = chat.follow(chat.start(tenant.chatbot_id, words), frames=1)
        began = time.monotonic()
        chat.send({"type": "cancel", "message_id": turn.message_id})
        chat.follow(turn)
        assert turn.times[-1] - began < 4, "two seconds, and this machine's own delays"
        final = turn.check()
        assert (final["status"], final["stop_reason"]) == ("cancelled", "cancelled")
        assert final["usage"]["input_tokens"] > 0
        chat.send(approve(turn, turn.frames[0]))
        assert chat.until(lambda f: f["type"] == "error")["code"] == "not_found"
    execution = stack.client("stepfunctions").describe_execution(
        executionArn=execution_arn(stack, turn.message_id)
    )
    assert execution["status"] == "ABORTED"
    assert [call["status"] for call in calls(tenant, turn)] == ["failed"]
    check_conversation_goes_on(tenant, turn, words)


def test_all_connections_get_all_frames_in_order_when_tools_end_at_once(tenant: Tenant) -> None:
    equip(tenant, "web_search")
    words = " ".join(use("web_search", query=f"tea {n}") for n in range(8))
    with tenant.chat() as chat, tenant.chat() as other, tenant.chat() as late:
        turn = chat.start(tenant.chatbot_id, words)
        other.send({"type": "open", "conversation_id": turn.ack["conversation_id"]})
        chat.follow(turn, frames=3)
        late.send({"type": "resume", "message_id": turn.message_id, "after_seq": 0})
        chat.follow(turn)
        for connection in (other, late):
            seen = connection.follow(Turn(turn.ack))
            assert seen.frames == turn.frames
            assert seen.check()["status"] == "completed"
    assert [status for _, status in turn.tools].count("completed") == 8
