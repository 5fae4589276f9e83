"""Rounds of tools: what is run and what is not, what the model reads, what clients see."""

import json
import threading
from typing import Any

import pytest

from chatbot import relay, tool_calls, tool_rounds, turns
from chatbot.errors import RetryLater, ServiceUnavailable
from chatbot.identifiers import now_ms
from chatbot.tool_calls import Call, ToolFailed, text_of
from functions.chat_stream import tool_use
from tests.unit.chat.test_chat_stream import killed_after
from tests.unit.chat.world import OTHER_USER, USER, Frame, World

QUERY = {"query": "tea"}


@pytest.fixture
def ann(world: World) -> str:
    world.chatbot["tools"] = ["look_up", "send_it"]
    world.permissions[USER] = ["chat:use", "documents:write"]
    world.tools = {"look_up": lambda call: f"found {call.input['query']}", "send_it": lambda _: 1}
    return world.connect("ann")


@pytest.fixture
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who died is taken for dead at once."""
    monkeypatch.setattr(turns, "PRODUCER_MS", -1)
    monkeypatch.setattr(turns, "DELIVERY_MS", -1)


def calls(world: World, ack: Frame) -> list[dict[str, Any]]:
    stored = world.message(ack["conversation_id"], ack["message_id"])["tool_calls"]
    return [call | {"input": json.loads(call["input"])} for call in stored]


def told(world: World, name: str, ack: Frame) -> list[tuple[str, str]]:
    """(tool_use_id, status) of the tool frames that a connection got."""
    frames = world.frames(name, ack["message_id"])
    return [(f["tool_use_id"], f["status"]) for f in frames if f["type"] == "tool"]


def results(world: World, request: int = -1) -> dict[str, tuple[str, str]]:
    """tool_use_id → (status, text) that the model read in its last request."""
    blocks = world.model.requests[request]["messages"][-1]["content"]
    return {
        block["toolResult"]["toolUseId"]: (
            block["toolResult"]["status"],
            block["toolResult"]["content"][0]["text"],
        )
        for block in blocks
    }


def test_model_goes_on_with_results_when_it_used_tools(world: World, ann: str) -> None:
    ack = world.chat(ann)
    world.model.asks(("a", "look_up", QUERY), ("b", "look_up", {"query": "oil"}), text="Let me see")
    world.model.says("It is tea.")
    world.run(ack["message_id"])
    final = world.check_ended(ann, ack)
    assert (final["status"], final["stop_reason"]) == ("completed", "end_turn")
    assert final["content"] == "Let me see\n\nIt is tea."
    assert final["usage"] == {"input_tokens": 22, "output_tokens": 14, "estimated": False}
    assert told(world, ann, ack) == [
        ("a", "started"),
        ("b", "started"),
        ("a", "completed"),
        ("b", "completed"),
    ]
    asked, answered = world.model.requests[1]["messages"][-2:]
    assert asked["role"] == "assistant"
    assert asked["content"][0] == {"text": "Let me see"}
    assert asked["content"][1]["toolUse"] == {"toolUseId": "a", "name": "look_up", "input": QUERY}
    assert answered["role"] == "user"
    assert results(world) == {"a": ("success", "found tea"), "b": ("success", "found oil")}
    stored = calls(world, ack)
    assert [(c["tool_use_id"], c["status"], c["output"]) for c in stored] == [
        ("a", "completed", "found tea"),
        ("b", "completed", "found oil"),
    ]
    assert stored[0]["input"] == QUERY


def test_raw_frames_are_in_order_and_come_once_when_tools_end_at_once(
    world: World, ann: str
) -> None:
    bob = world.connect("bob")
    ack = world.chat(ann)
    world.send(bob, {"type": "open", "conversation_id": ack["conversation_id"]})
    asked = [(f"u{n}", "look_up", {"query": str(n)}) for n in range(8)]
    world.model.asks(*asked, text="Wait")
    world.model.says("Done")
    made = world.stream(ack["message_id"])
    together = threading.Barrier(8)

    def run(item: dict[str, Any]) -> None:
        world.tools["look_up"] = lambda _: (together.wait(20) and "x") or "x"
        world.run_tool(item)

    threads = [threading.Thread(target=run, args=(item,)) for item in made["calls"]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    world.end(world.stream(ack["message_id"], rounds=1))
    world.check_ended(ann, ack)
    for name in (ann, bob):
        seqs = [frame["seq"] for frame in world.got(name) if "seq" in frame]
        assert seqs == list(range(1, len(seqs) + 1))
        assert len(seqs) == 1 + 8 + 8 + 1 + 1


def test_model_reads_failures_when_tools_fail(world: World, ann: str) -> None:
    def run(call: Call) -> object:
        match call.input["query"]:
            case "fails":
                raise ToolFailed("No such project.")
            case "breaks":
                raise KeyError("secret")
            case _:
                return "fine"

    world.tools["look_up"] = run
    ack = world.chat(ann)
    world.model.asks(*((n, "look_up", {"query": n}) for n in ("fails", "breaks", "works")))
    world.model.says("So.")
    world.run(ack["message_id"])
    assert world.check_ended(ann, ack)["status"] == "completed"
    assert results(world) == {
        "fails": ("error", "No such project."),
        "breaks": ("error", tool_calls.FAILED),
        "works": ("success", "fine"),
    }
    assert told(world, ann, ack)[3:] == [
        ("fails", "failed"),
        ("breaks", "failed"),
        ("works", "completed"),
    ]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("rm_rf", QUERY, "no such tool"),
        ("rm rf; DROP TABLE", QUERY, "no such tool"),
        ("not_in_list", QUERY, "no such tool"),
        ("send_it", QUERY, "no such tool"),
        ("look_up", {}, "does not fit"),
        ("look_up", {"query": 7}, "does not fit"),
        ("look_up", {"query": "x", "more": 1}, "does not fit"),
        ("look_up", '{"query": "te', "no JSON"),
        ("look_up", "[1]", "no JSON object"),
        ("look_up", '{"query": NaN}', "no JSON"),
        ("look_up", '{"query": "\\ud800"}', "no JSON"),
        ("look_up", {"query": "x" * 40_000}, "too long"),
    ],
)
def test_tool_is_never_run_when_it_may_not(
    name: str, value: Any, says: str, world: World, ann: str
) -> None:
    world.permissions[USER] = ["chat:use"]
    ran: list[Call] = []
    world.tools = dict.fromkeys(["look_up", "send_it"], ran.append)
    ack = world.chat(ann)
    world.model.asks(("a", name, value))
    world.model.says("I cannot.")
    made = world.stream(ack["message_id"])
    assert made["calls"] == []
    world.end(world.stream(ack["message_id"], rounds=1))
    assert world.check_ended(ann, ack)["status"] == "completed"
    assert ran == []
    [(status, text)] = results(world).values()
    assert status == "error"
    assert says in text
    [call] = calls(world, ack)
    assert call["status"] == "failed"
    assert told(world, ann, ack) == [("a", "failed")]


def test_tool_is_offered_only_when_the_user_may_use_it(world: World, ann: str) -> None:
    for held, offered in (
        (["chat:use"], ["look_up"]),
        (["chat:use", "documents:write"], ["look_up", "send_it"]),
    ):
        world.permissions[USER] = held
        world.run(world.chat(ann)["message_id"])
        config = world.model.requests[-1]["toolConfig"]["tools"]
        assert [tool["toolSpec"]["name"] for tool in config] == offered
        assert tool_use.GUIDE in [block["text"] for block in world.model.requests[-1]["system"]]


def test_nothing_is_offered_when_the_chatbot_has_no_tools(world: World, ann: str) -> None:
    world.chatbot["tools"] = []
    world.run(world.chat(ann)["message_id"])
    assert "toolConfig" not in world.model.requests[-1]


def test_tool_does_not_run_when_the_right_was_lost_after_the_model_asked(
    world: World, ann: str
) -> None:
    ran: list[Call] = []
    world.tools["look_up"] = ran.append
    for lost in (lambda: world.users.update({USER: 2}), lambda: world.permissions.pop(USER)):
        world.users[USER], world.permissions[USER] = 1, ["chat:use"]
        ack = world.chat(ann)
        world.model.asks(("a", "look_up", QUERY))
        made = world.stream(ack["message_id"])
        lost()
        world.run_tool(made["calls"][0])
        world.end(world.stream(ack["message_id"], rounds=1))
        assert calls(world, ack)[0]["output"] == tool_calls.FORBIDDEN
    assert ran == []


def test_tool_acts_as_the_user_when_it_runs(world: World, ann: str) -> None:
    got: list[Call] = []
    world.tools["look_up"] = got.append
    ack = world.chat(ann)
    world.model.asks(("a", "look_up", QUERY))
    world.run(ack["message_id"])
    [call] = got
    assert (call.principal.user_id, call.principal.token_version) == (USER, 1)
    assert call.principal.workspace_id == world.conversation(ack["conversation_id"])["workspace_id"]
    assert (call.tool_use_id, call.name, call.input) == ("a", "look_up", QUERY)
    assert call.conversation_id == ack["conversation_id"]


def test_at_most_eight_run_when_the_model_asks_for_many(world: World, ann: str) -> None:
    ack = world.chat(ann)
    world.model.asks(*((f"u{n}", "look_up", QUERY) for n in range(20)))
    made = world.stream(ack["message_id"])
    assert len(made["calls"]) == tool_use.MOST_CALLS
    world.run(ack["message_id"])
    assert "At most 8" in calls(world, ack)[8]["output"]
    assert len(calls(world, ack)) == tool_use.MOST_REFUSED


def test_answer_ends_at_the_limit_when_the_model_asks_for_ever(world: World, ann: str) -> None:
    world.chatbot["max_tool_rounds"] = 2
    ack = world.chat(ann)
    for n in range(5):
        world.model.asks((f"u{n}", "look_up", QUERY), text=f"Round {n}.")
    world.run(ack["message_id"])
    final = world.check_ended(ann, ack)
    assert (final["status"], final["stop_reason"]) == ("completed", "tool_round_limit")
    assert final["content"] == "Round 0.\n\nRound 1.\n\nRound 2."
    assert len(world.model.requests) == 3
    assert [call["tool_use_id"] for call in calls(world, ack)] == ["u0", "u1"]
    last = [[b["text"] for b in request["system"]] for request in world.model.requests]
    assert [tool_use.LAST in texts for texts in last] == [False, False, True]


def test_later_turn_sends_uses_and_results_when_it_has_tools(world: World, ann: str) -> None:
    ack = world.chat(ann)
    world.model.asks(("a", "look_up", QUERY))
    world.model.asks(("b", "look_up", {"query": "oil"}))
    world.model.says("Tea.")
    world.run(ack["message_id"])
    again = world.chat(ann, "And?", conversation_id=ack["conversation_id"])
    world.run(again["message_id"])
    sent = world.model.requests[-1]["messages"]
    kinds = [[next(iter(block)) for block in message["content"]] for message in sent]
    assert kinds == [
        ["text"],
        ["toolUse"],
        ["toolResult"],
        ["toolUse"],
        ["toolResult"],
        ["text"],
        ["text"],
    ]
    assert sent[2]["content"][0]["toolResult"]["content"] == [{"text": "found tea"}]
    world.chatbot["tools"] = []
    world.run(world.chat(ann, "So?", conversation_id=ack["conversation_id"])["message_id"])
    assert "toolUse" not in json.dumps(world.model.requests[-1])


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ("plain", "plain"),
        ({"a": ["ü", 1.5, None]}, '{"a": ["ü", 1.5, null]}'),
        (b"\xff\xfe ok", "\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER} ok"),
        (
            "a\x00b\x1b[31mc\td\ne",
            "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}[31mc\td\ne",
        ),
        ("half \ud83d pair", "half \N{REPLACEMENT CHARACTER} pair"),
        ("", tool_calls.EMPTY),
        (" \n", tool_calls.EMPTY),
    ],
)
def test_result_is_clean_text_when_it_is(result: object, text: str) -> None:
    assert text_of(result) == text


@pytest.mark.parametrize("text", ["x" * 1_000_000, "é" * 500_000, "👍" * 250_000, "\x00" * 999_999])
def test_result_is_cut_and_says_so_when_it_is_large(text: str, world: World, ann: str) -> None:
    world.tools["look_up"] = lambda _: text
    ack = world.chat(ann)
    world.model.asks(("a", "look_up", QUERY))
    world.run(ack["message_id"])
    [(status, output)] = results(world).values()
    assert status == "success"
    assert 32_000 < len(output.encode()) <= tool_calls.MAX_RESULT_BYTES
    assert "cut here" in output[-60:]
    assert calls(world, ack)[0]["output"] == output


def test_message_fits_into_an_item_when_results_are_many(world: World, ann: str) -> None:
    world.tools["look_up"] = lambda _: "x" * 40_000
    world.chatbot["max_tool_rounds"] = 3
    ack = world.chat(ann)
    for n in range(3):
        world.model.asks(*((f"u{n}-{m}", "look_up", QUERY) for m in range(8)))
    world.model.says("y" * 200_000)
    world.run(ack["message_id"])
    world.check_ended(ann, ack)
    stored = calls(world, ack)
    assert len(stored) == 24
    assert sum(len(call["output"]) for call in stored) < 180_000
    assert all(call["output"] for call in stored)


def waiting(world: World, ann: str) -> tuple[Frame, dict[str, Any]]:
    """A turn in which a call waits for the user's approval."""
    ack = world.chat(ann)
    world.model.asks(("a", "send_it", {"to": "Bob"}))
    world.model.says("Done.")
    made = world.stream(ack["message_id"])
    return ack, made["calls"][0]


def approve(ack: Frame, approved: bool = True, tool_use_id: str = "a") -> Frame:
    return {
        "type": "approve",
        "message_id": ack["message_id"],
        "tool_use_id": tool_use_id,
        "approved": approved,
    }


@pytest.mark.parametrize(("approved", "ran"), [(True, 1), (False, 0)])
def test_call_is_made_only_when_the_user_approves(
    approved: bool, ran: int, world: World, ann: str
) -> None:
    made: list[Call] = []
    world.tools["send_it"] = made.append
    ack, item = waiting(world, ann)
    assert item["requires_approval"] is True
    assert told(world, ann, ack) == [("a", "needs_approval")]
    token(world, ack, "token")
    assert world.send(ann, approve(ack, approved)) == []
    assert world.machine.tokens == ["token"]
    world.run_tool(item)
    world.end(world.stream(ack["message_id"], rounds=1))
    world.check_ended(ann, ack)
    assert len(made) == ran
    statuses = [status for _, status in told(world, ann, ack)]
    assert statuses == ["needs_approval", *(["started", "completed"] if approved else ["failed"])]


def token(world: World, ack: Frame, value: str) -> None:
    """What the machine's state AwaitApproval stores."""
    from chatbot import aws, tables

    aws.client("dynamodb").update_item(
        TableName="turns",
        Key=tables.pack(turns.key(ack["message_id"], -101)),
        UpdateExpression="SET task_token = :token",
        ExpressionAttributeValues=tables.pack({":token": value}),
    )


def test_call_is_not_made_when_nobody_approves(world: World, ann: str) -> None:
    made: list[Call] = []
    world.tools["send_it"] = made.append
    ack, item = waiting(world, ann)
    world.run_tool(item)  # as the machine does after its time-out
    [error] = world.send(ann, approve(ack))
    assert error["code"] == "not_found"
    world.end(world.stream(ack["message_id"], rounds=1))
    assert made == []
    assert calls(world, ack)[0]["output"] == tool_calls.NOT_APPROVED["expired"]


def test_second_word_changes_nothing_when_the_user_has_decided(world: World, ann: str) -> None:
    made: list[Call] = []
    world.tools["send_it"] = made.append
    ack, item = waiting(world, ann)
    world.send(ann, approve(ack, approved=False))
    for again in (True, False):
        [error] = world.send(ann, approve(ack, approved=again))
        assert (error["type"], error["code"]) == ("error", "not_found")
    world.run_tool(item)
    assert made == []


def test_approval_gets_not_found_when_it_is_not_ones_own_or_not_waited_for(
    world: World, ann: str
) -> None:
    world.permissions[OTHER_USER] = ["chat:use", "documents:write"]
    bob = world.connect("bob", OTHER_USER)
    ack, _ = waiting(world, ann)
    unknown = {**ack, "message_id": "0190dddd-0000-7000-8000-000000000000"}
    got = [
        *world.send(bob, approve(ack)),
        *world.send(bob, approve(unknown)),
        *world.send(ann, approve(unknown)),
        *world.send(ann, approve(ack, tool_use_id="b")),
    ]
    assert {(e["code"], e["detail"]) for e in got} == {
        ("not_found", "No tool of this turn waits for an approval.")
    }
    assert len(got) == 4
    call = tool_rounds.call(ack["message_id"], -101)
    assert call is not None
    assert call.decision is None


def test_approval_gets_not_found_when_the_turn_was_cancelled(world: World, ann: str) -> None:
    made: list[Call] = []
    world.tools["send_it"] = made.append
    ack, item = waiting(world, ann)
    world.send(ann, {"type": "cancel", "message_id": ack["message_id"]})
    final = world.check_ended(ann, ack)
    assert (final["status"], final["stop_reason"]) == ("cancelled", "cancelled")
    assert final["usage"] == {"input_tokens": 11, "output_tokens": 7, "estimated": False}
    assert world.machine.stopped == [ack["message_id"]]
    [error] = world.send(ann, approve(ack))
    assert error["code"] == "not_found"
    world.run_tool(item)
    assert made == []
    assert calls(world, ack)[0]["status"] == "failed"


def test_turn_is_cancelled_when_the_cancel_comes_as_the_model_asks_for_tools(
    world: World, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ack = world.chat(ann)
    world.model.asks(("a", "look_up", QUERY), text="Hm")
    put = tool_rounds.put

    def late(*given: Any) -> None:
        world.send(ann, {"type": "cancel", "message_id": ack["message_id"]})
        put(*given)

    monkeypatch.setattr(tool_rounds, "put", late)
    made = world.stream(ack["message_id"])
    assert "calls" not in made
    world.end(made)
    final = world.check_ended(ann, ack)
    assert (final["status"], final["content"]) == ("cancelled", "Hm")


def test_late_result_is_not_seen_when_the_turn_was_cancelled_in_a_tool(
    world: World, ann: str
) -> None:
    ack = world.chat(ann)
    world.model.asks(("a", "look_up", QUERY))
    made = world.stream(ack["message_id"])

    def cancel(_: Call) -> str:
        world.send(ann, {"type": "cancel", "message_id": ack["message_id"]})
        return "too late"

    world.tools["look_up"] = cancel
    world.run_tool(made["calls"][0])
    assert world.check_ended(ann, ack)["status"] == "cancelled"
    assert "calls" not in world.stream(ack["message_id"], rounds=1)
    assert "too late" not in json.dumps(calls(world, ack))
    assert told(world, ann, ack) == [("a", "started")]


def test_turn_ends_when_its_user_is_cut_off_while_a_tool_runs(world: World, ann: str) -> None:
    from chatbot import aws, connections

    ack, _ = waiting(world, ann)
    connections.end_user(USER)
    queue = aws.client("sqs").get_queue_url(QueueName="turn-watch")["QueueUrl"]
    messages = aws.client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
    assert ack["message_id"] in [json.loads(m["Body"])["message_id"] for m in messages["Messages"]]
    world.watch(ack["message_id"])
    head = turns.head(ack["message_id"])
    assert head is not None
    assert head.result == "cancelled"


def test_reading_tool_runs_again_and_writing_one_does_not_when_its_worker_died(
    world: World, ann: str
) -> None:
    ran: list[str] = []

    def die(call: Call) -> str:
        ran.append(call.name)
        if len(ran) in (1, 2):
            raise SystemExit
        return "fine"

    world.tools = dict.fromkeys(["look_up", "send_it"], die)
    ack = world.chat(ann)
    world.model.asks(("a", "send_it", {}), ("b", "look_up", QUERY))
    made = world.stream(ack["message_id"])
    world.send(ann, approve(ack))
    for item in made["calls"]:
        with pytest.raises(SystemExit):
            world.run_tool(item)
        world.run_tool(item)
    world.end(world.stream(ack["message_id"], rounds=1))
    world.check_ended(ann, ack)
    assert ran == ["send_it", "look_up", "look_up"]
    first, second = calls(world, ack)
    assert first["status"] == "failed"
    assert tool_calls.UNKNOWN in first["output"]
    assert (second["status"], second["output"]) == ("completed", "fine")


def test_writing_tool_runs_again_when_it_says_that_nothing_was_changed(
    world: World, ann: str
) -> None:
    tries: list[Call] = []

    def run(call: Call) -> str:
        tries.append(call)
        if len(tries) == 1:
            raise RetryLater("busy")
        return "sent"

    world.tools["send_it"] = run
    ack, item = waiting(world, ann)
    world.send(ann, approve(ack))
    with pytest.raises(RetryLater):
        world.run_tool(item)
    world.run_tool(item)
    world.end(world.stream(ack["message_id"], rounds=1))
    assert calls(world, ack)[0]["output"] == "sent"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        ("States.Timeout", tool_calls.TIMED_OUT),
        ("Sandbox.Timedout", tool_calls.TIMED_OUT),
        ("Runtime.ExitError", tool_calls.FAILED),
    ],
)
def test_call_fails_when_the_machine_gives_it_up(
    error: str, text: str, world: World, ann: str
) -> None:
    ack = world.chat(ann)
    world.model.asks(("a", "look_up", QUERY))
    made = world.stream(ack["message_id"])
    world.end({**made["calls"][0], "error": error})
    world.end(world.stream(ack["message_id"], rounds=1))
    world.check_ended(ann, ack)
    assert results(world) == {"a": ("error", text)}


def test_tool_is_tried_again_when_the_database_is_away(
    world: World, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from chatbot import database

    ack = world.chat(ann)
    world.model.asks(("a", "look_up", QUERY))
    made = world.stream(ack["message_id"])

    def away(*_: Any, **__: Any) -> None:
        raise ServiceUnavailable(retry_after=1)

    with monkeypatch.context() as patch:
        patch.setattr(database, "query", away)
        with pytest.raises(RetryLater):
            world.run_tool(made["calls"][0])
    world.run(ack["message_id"])
    assert world.check_ended(ann, ack)["status"] == "completed"


def test_turn_ends_once_when_the_producer_is_killed_after_any_write_of_a_round(
    world: World, ann: str, no_wait: None
) -> None:
    for count in range(1, 30):
        ack = world.chat(ann)
        world.model.asks((f"k{count}", "look_up", QUERY), text="Hm")

        def stream(message_id: str = ack["message_id"]) -> None:
            world.stream(message_id)

        killed = killed_after(count, stream)
        world.model.scripts.clear()
        world.model.says("So.")
        world.run(ack["message_id"])
        final = world.check_ended(ann, ack)
        if final["status"] == "failed":
            assert final["error"]["code"] == "interrupted"
        else:
            assert final["content"] in {"So.", "Hm\n\nSo."}
        if not killed:
            return
    raise AssertionError("the producer makes more calls than this test kills after")


def test_call_ends_once_when_its_worker_is_killed_after_any_write(
    world: World, ann: str, no_wait: None
) -> None:
    for count in range(1, 30):
        ack = world.chat(ann)
        world.model.asks((f"k{count}", "look_up", QUERY))
        world.model.says("So.")
        made = world.stream(ack["message_id"])

        def run(item: dict[str, Any] = made["calls"][0]) -> None:
            world.run_tool(item)

        killed = killed_after(count, run)
        world.run(ack["message_id"])
        assert world.check_ended(ann, ack)["status"] == "completed"
        assert told(world, ann, ack) == [(f"k{count}", "started"), (f"k{count}", "completed")]
        if not killed:
            return
    raise AssertionError("the tool makes more calls than this test kills after")


def test_resume_and_open_get_all_frames_when_a_tool_runs(world: World, ann: str) -> None:
    ack, item = waiting(world, ann)
    late, back = world.connect("late"), world.connect("back")
    got = world.send(late, {"type": "open", "conversation_id": ack["conversation_id"]})
    assert [frame["seq"] for frame in got] == [1]
    resume = {"type": "resume", "message_id": ack["message_id"], "after_seq": 0}
    assert [frame["seq"] for frame in world.send(back, resume)] == [1]
    world.send(ann, approve(ack))
    world.run_tool(item)
    world.end(world.stream(ack["message_id"], rounds=1))
    for name in (ann, late, back):
        seqs = [frame["seq"] for frame in world.got(name) if "seq" in frame]
        assert seqs == list(range(1, len(seqs) + 1))


def test_frame_comes_with_the_next_when_a_connection_was_ill(world: World, ann: str) -> None:
    ack = world.chat(ann)
    world.model.asks(("a", "look_up", QUERY))
    world.model.says("So.")
    made = world.stream(ack["message_id"])
    world.gateway.failures[ann] = 1
    world.run_tool(made["calls"][0])
    assert told(world, ann, ack) == [("a", "started")]
    world.end(world.stream(ack["message_id"], rounds=1))
    world.check_ended(ann, ack)


def test_nobody_else_sends_when_a_producer_is_at_work(world: World, ann: str) -> None:
    ack = world.chat(ann)
    world.model.asks(("a", "look_up", QUERY))
    made = world.stream(ack["message_id"])
    world.run_tool(made["calls"][0])
    turns.claim(ack["message_id"], "producer")
    before = len(world.got(ann))
    turns.keep_delivered(ack["message_id"], {})
    relay.send(ack["message_id"])
    assert len(world.got(ann)) == before


def test_lease_outlives_the_approval_when_one_is_waited_for(world: World, ann: str) -> None:
    ack, _ = waiting(world, ann)
    head = turns.head(ack["message_id"])
    assert head is not None
    assert not head.has_producer
    assert head.lease_until - now_ms() > (600 + 3 * 30) * 1000


def test_connection_is_refused_when_its_user_is_gone(world: World, ann: str) -> None:
    ack, _ = waiting(world, ann)
    world.users[USER] = 2
    [error] = world.send(ann, approve(ack))
    assert error["code"] == "forbidden"
