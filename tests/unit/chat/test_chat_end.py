"""The end of a turn: it happens once, whoever makes it and wherever they die."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from chatbot import aws, closing, connections, tables, turns
from chatbot.identifiers import now_ms
from functions.chat_end import handler as chat_end
from tests.unit.chat.test_chat_stream import killed_after
from tests.unit.chat.world import WORKSPACE, Frame, Killed, World


@pytest.fixture
def ann(world: World) -> str:
    return world.connect("ann")


def finals(world: World, connection_id: str, ack: Frame) -> list[Frame]:
    return [
        frame
        for frame in world.got(connection_id)
        if frame.get("message_id") == ack["message_id"] and frame.get("status") == "completed"
    ]


def test_final_is_sent_once_when_the_end_is_asked_for_again(world: World, ann: str) -> None:
    ack = world.chat(ann)
    result = world.stream(ack["message_id"])
    for _ in range(3):
        assert world.end(result) == {"message_id": ack["message_id"], "status": "completed"}
    world.die(ack["message_id"])
    world.watch(ack["message_id"])
    assert len(finals(world, ann, ack)) == 1
    world.check_ended(ann, ack)


def test_turn_ends_once_when_the_end_is_killed_after_any_write(world: World, ann: str) -> None:
    for calls in range(1, 40):
        ack = world.chat(ann)
        result = world.stream(ack["message_id"])

        def end(result: dict[str, Any] = result) -> None:
            world.end(result)

        killed = killed_after(calls, end)
        world.end(result)
        assert world.check_ended(ann, ack)["status"] == "completed"
        assert len({json.dumps(frame) for frame in finals(world, ann, ack)}) == 1
        if not killed:
            assert calls > 5
            return
    pytest.fail("the end never came to its end")


def test_final_is_sent_again_when_killed_after_sending(
    world: World, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ack = world.chat(ann)
    result = world.stream(ack["message_id"])

    def die(_: str) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(turns, "mark_final_sent", die)
        with pytest.raises(Killed):
            world.end(result)
    world.end(result)
    first, second = finals(world, ann, ack)
    assert first == second


def test_one_end_holds_when_two_come_at_once(
    world: World, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine's end comes in the middle of EventBridge's, which then loses."""
    ack = world.chat(ann)
    result = world.stream(ack["message_id"])
    transact = tables.transact

    def slower(actions: Any) -> None:
        monkeypatch.setattr(tables, "transact", transact)
        world.end(result)
        transact(actions)

    monkeypatch.setattr(tables, "transact", slower)
    world.die(ack["message_id"])
    assert world.check_ended(ann, ack)["status"] == "completed"


@pytest.mark.parametrize("written", [1, 5])
def test_frames_that_come_in_between_are_in_the_final_when_a_producer_still_writes(
    written: int, world: World, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ack = world.chat(ann)
    transact = tables.transact
    done: list[int] = []

    def slower(actions: Any) -> None:
        if len(done) < written:
            seq = len(done) + 1
            frame = {
                "type": "assistant",
                "status": "streaming",
                "message_id": ack["message_id"],
                "conversation_id": ack["conversation_id"],
                "seq": seq,
                "content": str(seq),
                "request_id": "request",
            }
            turns.append(ack["message_id"], seq, turns.encode(frame), "producer")
            done.append(seq)
        transact(actions)

    monkeypatch.setattr(tables, "transact", slower)
    world.die(ack["message_id"])
    final = world.check_ended(ann, ack)
    assert (final["status"], final["content"]) == ("failed", "12345"[:written])
    with pytest.raises(turns.Lost):
        turns.append(ack["message_id"], final["seq"], "late", "producer")


def test_end_is_tried_again_when_another_transaction_is_at_its_items(
    world: World, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ack = world.chat(ann)
    transact = tables.transact
    conflicts = iter(range(5))

    def busy(actions: Any) -> None:
        if next(conflicts, None) is not None:
            raise tables.TransactionCanceled(["TransactionConflict"])
        transact(actions)

    monkeypatch.setattr(tables, "transact", busy)
    world.run(ack["message_id"])
    assert world.check_ended(ann, ack)["status"] == "completed"


@pytest.mark.parametrize(
    ("event", "status", "code"),
    [
        ({"error": "RetryLater"}, "failed", "model_unavailable"),
        ({"error": "Sandbox.Timedout"}, "failed", "interrupted"),
        ({}, "failed", "interrupted"),
    ],
)
def test_turn_is_failed_when_the_machine_brings(
    event: dict[str, Any], status: str, code: str, world: World, ann: str
) -> None:
    ack = world.chat(ann)
    world.end({"message_id": ack["message_id"], "request_id": "request", **event})
    final = world.check_ended(ann, ack)
    assert (final["status"], final["stop_reason"]) == (status, "error")
    assert final["error"]["code"] == code
    assert final["error"]["detail"]


@pytest.mark.parametrize("event", [{"error": "RetryLater"}, {}])
def test_turn_is_cancelled_when_that_was_asked_and_nobody_produces(
    event: dict[str, Any], world: World, ann: str
) -> None:
    ack = world.chat(ann)
    turns.request_cancel(ack["message_id"])
    world.end({"message_id": ack["message_id"], "request_id": "request", **event})
    assert world.check_ended(ann, ack)["status"] == "cancelled"


def test_turn_is_failed_with_the_models_count_when_its_machine_died_after_the_answer(
    world: World, ann: str
) -> None:
    ack = world.chat(ann)
    world.stream(ack["message_id"])
    world.die(ack["message_id"])
    final = world.check_ended(ann, ack)
    assert (final["status"], final["content"]) == ("failed", "Hello there.")
    assert final["usage"] == {"input_tokens": 11, "output_tokens": 7, "estimated": False}


def test_watch_looks_again_after_the_lease_when_a_turn_is_alive(
    world: World, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched: list[tuple[str, int]] = []
    monkeypatch.setattr(turns, "watch", lambda *arguments: watched.append(arguments))
    ack = world.chat(ann)
    watched.clear()
    assert world.watch(ack["message_id"]) == {"batchItemFailures": []}
    [(message_id, delay)] = watched
    assert message_id == ack["message_id"]
    assert turns.FIRST_LEASE_MS / 1000 - 2 <= delay <= turns.FIRST_LEASE_MS / 1000 + 5


def test_watch_ends_a_turn_when_its_lease_is_over(
    world: World, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ack = world.chat(ann)
    monkeypatch.setattr(turns, "now_ms", lambda: now_ms() + turns.FIRST_LEASE_MS + 1)
    world.watch(ack["message_id"])
    final = world.check_ended(ann, ack)
    assert (final["status"], final["error"]["code"]) == ("failed", "interrupted")


def test_watch_drops_what_it_does_not_know_and_names_what_failed(
    world: World, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ack = world.chat(ann)
    assert world.watch("0190dddd-0000-7000-8000-000000000000") == {"batchItemFailures": []}

    def fail(*_: Any) -> None:
        raise RuntimeError("down")

    monkeypatch.setattr(turns, "watch", fail)
    bodies = [ack["message_id"], "0190dddd-0000-7000-8000-000000000000"]
    records = [
        {
            "messageId": str(n),
            "body": json.dumps({"message_id": name}),
            "receiptHandle": f"handle {n}",
            "attributes": {"ApproximateReceiveCount": "2"},
        }
        for n, name in enumerate(bodies)
    ]
    sooner: list[dict[str, Any]] = []
    queue = SimpleNamespace(change_message_visibility=lambda **asked: sooner.append(asked))
    monkeypatch.setattr(chat_end, "client", lambda _: queue)
    answer = chat_end.handler({"Records": records}, None)
    assert answer == {"batchItemFailures": [{"itemIdentifier": "0"}]}
    # Else it would come after the queue's visibility timeout, minutes later.
    assert [(s["ReceiptHandle"], s["VisibilityTimeout"]) for s in sooner] == [("handle 0", 20)]


def test_nothing_comes_back_when_the_conversation_was_deleted_meanwhile(
    world: World, ann: str
) -> None:
    """Not by the route, which ends the turn first, but as a purge would."""
    ack = world.chat(ann)
    result = world.stream(ack["message_id"])
    for item in ("HEAD", f"MESSAGE#{ack['message_id']}", f"MESSAGE#{ack['user_message_id']}"):
        aws.client("dynamodb").delete_item(
            TableName="conversations",
            Key=tables.pack({"conversation_id": ack["conversation_id"], "item": item}),
        )
    world.end(result)
    rows = tables.query("conversations", "conversation_id = :id", {":id": ack["conversation_id"]})
    assert list(rows) == []
    assert world.usage("RUNNING")["turns"] == 0


def test_end_says_deleted_when_there_is_no_turn(world: World) -> None:
    unknown = {"message_id": "0190dddd-0000-7000-8000-000000000000", "request_id": "r"}
    assert world.end(unknown)["status"] == "deleted"


def test_follower_gets_what_it_lacks_when_the_producer_did_not_reach_it(
    world: World, ann: str
) -> None:
    ack = world.chat(ann)
    result = world.stream(ack["message_id"])
    late = world.connect("late")
    world.send(late, {"type": "open", "conversation_id": ack["conversation_id"]})
    resume = {"type": "resume", "message_id": ack["message_id"], "after_seq": 1}
    world.send(ann, resume, "again")
    world.end(result)
    assert [f["seq"] for f in world.frames(late, ack["message_id"])] == [1, 2, 3]
    seqs = [f["seq"] for f in world.got(ann) if f["type"] == "assistant"]
    assert set(seqs) == {1, 2, 3}
    assert seqs.count(2) > seqs.count(1), "again from the mark that is newer than the producer's"


def test_resume_gets_the_frames_so_far_when_nobody_produces(
    world: World, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ack = world.chat(ann)
    result = world.stream(ack["message_id"])
    tablet = world.connect("tablet")
    resume = {"type": "resume", "message_id": ack["message_id"], "after_seq": 0}
    assert [frame["seq"] for frame in world.send(tablet, resume)] == [1, 2]
    world.end(result)
    assert world.check_ended(tablet, ack) == world.check_ended(ann, ack)


def test_final_is_sent_a_few_times_when_posts_fail(
    world: World, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatbot.closing.time.sleep", lambda _: None)
    ack = world.chat(ann)
    result = world.stream(ack["message_id"])
    world.gateway.failures[ann] = closing.SEND_ATTEMPTS - 1
    world.end(result)
    assert world.check_ended(ann, ack)["status"] == "completed"


def test_users_running_turn_is_found_no_more_when_it_has_ended(world: World, ann: str) -> None:
    ack = world.chat(ann)
    key = connections.turn_row_key(ack["message_id"])
    row = tables.get("connections", key)
    assert row is not None
    assert row["workspace_id"] == WORKSPACE
    world.run(ack["message_id"])
    assert tables.get("connections", key) is None
