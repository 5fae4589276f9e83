"""What a client may send, and what each frame does before any model is asked."""

import base64
import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from chatbot import aws, connections, identifiers, replay, turns
from chatbot.identifiers import now_ms
from functions.ws_message import handler, opening
from tests.unit.chat.world import CHATBOT, OTHER_USER, USER, WORKSPACE, World, error
from tests.unit.conftest import fresh_settings

ID = str(uuid4())
BAD = {
    "no_json": "hello",
    "no_object": "[]",
    "empty": "",
    "no_type": "{}",
    "type_unknown": '{"type": "dance"}',
    "type_number": '{"type": 1}',
    "deep": "[" * 100_000,
    "nan": '{"type": "resume", "message_id": "x", "after_seq": NaN}',
    "long_number": '{"type": "ping", "x": ' + "9" * 10_000 + "}",
    "too_large": json.dumps({"type": "chat", "content": "é" * 17_000}, ensure_ascii=False),
    "content_empty": {"type": "chat", "chatbot_id": CHATBOT, "content": ""},
    "content_long": {"type": "chat", "chatbot_id": CHATBOT, "content": "x" * 24_001},
    "content_number": {"type": "chat", "chatbot_id": CHATBOT, "content": 1},
    "content_surrogate": {"type": "chat", "chatbot_id": CHATBOT, "content": "\ud800"},
    "name_surrogate": {"type": "ping", "\ud800": 1},
    "chatbot_no_uuid": {"type": "chat", "chatbot_id": "../etc", "content": "x"},
    "chatbot_newline": {"type": "chat", "chatbot_id": CHATBOT + "\n", "content": "x"},
    "mark_number": {"type": "chat", "chatbot_id": CHATBOT, "content": "x", "client_message_id": 1},
    "mark_long": {
        "type": "chat",
        "chatbot_id": CHATBOT,
        "content": "x",
        "client_message_id": "x" * 256,
    },
    "field_unknown": {"type": "ping", "extra": 1},
    "after_seq_negative": {"type": "resume", "message_id": ID, "after_seq": -1},
    "after_seq_bool": {"type": "resume", "message_id": ID, "after_seq": True},
    "after_seq_float": {"type": "resume", "message_id": ID, "after_seq": 1.0},
    "after_seq_missing": {"type": "resume", "message_id": ID},
    "open_without_id": {"type": "open"},
}


@pytest.mark.parametrize("name", BAD)
def test_frame_gets_bad_request_and_the_connection_stays_when_it_is(
    name: str, world: World
) -> None:
    ann = world.connect("ann")
    [answer] = world.send(ann, BAD[name])
    assert (answer["type"], answer["code"], answer["request_id"]) == (
        "error",
        "bad_request",
        "request",
    )
    assert world.send(ann, {"type": "ping"}) == [{"type": "pong"}]


def test_error_names_the_frame_when_it_had_a_mark(world: World) -> None:
    ann = world.connect("ann")
    [answer] = world.send(ann, {"type": "chat", "content": 5, "client_message_id": "m"})
    assert answer["client_message_id"] == "m"
    large = json.dumps({"type": "chat", "content": "é" * 17_000, "client_message_id": "l"})
    [answer] = world.send(ann, large.encode().decode("unicode_escape"))
    assert (answer["code"], answer["client_message_id"]) == ("bad_request", "l")
    [answer] = world.send(ann, {"type": "cancel", "message_id": ID})
    assert (answer["code"], answer["message_id"]) == ("not_found", ID)


def test_binary_frame_is_read_when_it_holds_json(world: World) -> None:
    ann = world.connect("ann")

    def serve(data: bytes) -> None:
        event = {
            "requestContext": {"connectionId": ann, "requestId": "r"},
            "body": base64.b64encode(data).decode(),
            "isBase64Encoded": True,
        }
        handler.handler(event, None)

    serve(b'{"type": "ping"}')
    serve(b"\xff\xfe")
    pong, error = world.got(ann)
    assert pong == {"type": "pong"}
    assert error["code"] == "bad_request"


@pytest.mark.parametrize("content", ["x", "x" * 24_000, "\0", " ", "👩‍👩‍👧‍👦"])
def test_content_is_stored_as_it_came_when_it_is(content: str, world: World) -> None:
    ack = world.chat(world.connect("ann"), content)
    stored = world.message(ack["conversation_id"], ack["user_message_id"])
    assert (stored["content"], stored["role"], stored["seq"]) == (content, "user", 1)
    answer = world.message(ack["conversation_id"], ack["message_id"])
    assert (answer["status"], answer["content"], answer["seq"]) == ("streaming", "", 2)
    assert answer["parent_id"] == ack["user_message_id"]
    assert answer["created_at"] == identifiers.created_at(ack["message_id"])
    assert world.conversation(ack["conversation_id"])["message_count"] == 2


def test_execution_gets_no_content_when_a_turn_starts(world: World) -> None:
    ack = world.chat(world.connect("ann"))
    assert world.machine.inputs == {
        ack["message_id"]: {
            "message_id": ack["message_id"],
            "conversation_id": ack["conversation_id"],
            "request_id": "request",
            "knowledge": False,
        }
    }


def test_user_message_is_stored_when_acknowledged(world: World) -> None:
    ann = world.connect("ann")
    seen: list[dict[str, Any]] = []

    def on_post(_: str, frame: dict[str, Any]) -> None:
        if frame["type"] == "ack":
            seen.append(world.message(frame["conversation_id"], frame["user_message_id"]))

    world.gateway.on_post = on_post
    world.chat(ann, "keep me")
    assert [item["content"] for item in seen] == ["keep me"]


def test_others_who_follow_get_the_question_when_one_asks(world: World) -> None:
    ann, tablet = world.connect("ann"), world.connect("tablet")
    first = world.chat(ann)
    world.run(first["message_id"])
    assert world.send(tablet, {"type": "open", "conversation_id": first["conversation_id"]}) == []
    second = world.chat(ann, "and now?", conversation_id=first["conversation_id"])
    assert world.got(tablet) == [
        {
            "type": "user",
            "conversation_id": first["conversation_id"],
            "message_id": second["user_message_id"],
            "content": "and now?",
            "request_id": "request",
        }
    ]
    assert not [frame for frame in world.got(ann) if frame["type"] == "user"]


def test_chat_is_busy_when_a_turn_of_the_conversation_runs(world: World) -> None:
    ann = world.connect("ann")
    ack = world.chat(ann)
    error = world.chat(ann, conversation_id=ack["conversation_id"], client_message_id="m")
    assert (error["code"], error["client_message_id"]) == ("busy", "m")
    world.run(ack["message_id"])
    again = world.chat(ann, conversation_id=ack["conversation_id"])
    assert again["type"] == "ack"
    assert world.message(ack["conversation_id"], again["user_message_id"])["seq"] == 3


def test_ids_rise_within_a_conversation_when_the_clock_goes_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = world.connect("ann")
    first = world.chat(ann)
    world.run(first["message_id"])
    monkeypatch.setattr(identifiers, "now_ms", lambda: now_ms() - 60_000)
    second = world.chat(ann, conversation_id=first["conversation_id"])
    ids = [
        first["user_message_id"],
        first["message_id"],
        second["user_message_id"],
        second["message_id"],
    ]
    assert ids == sorted(set(ids))


@pytest.mark.parametrize("named", [False, True])
def test_repetition_gets_the_same_ack_and_makes_no_turn_when(named: bool, world: World) -> None:
    ann, tablet = world.connect("ann"), world.connect("tablet")
    first = world.chat(ann, client_message_id="m")
    fields = {"conversation_id": first["conversation_id"]} if named else {}
    assert world.chat(tablet, client_message_id="m", **fields) == first
    assert len(world.machine.inputs) == 1
    world.run(first["message_id"])
    assert world.check_ended(tablet, first) == world.check_ended(ann, first)
    # Ended meanwhile: the answer comes with the repetition itself.
    phone = world.connect("phone")
    assert world.chat(phone, client_message_id="m", **fields) == first
    assert world.check_ended(phone, first) == world.check_ended(ann, first)


def test_mark_is_free_when_another_user_or_a_day_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.permissions[OTHER_USER] = ["chat:use"]
    first = world.chat(world.connect("ann"), client_message_id="m")
    other = world.chat(world.connect("bob", OTHER_USER), client_message_id="m")
    assert other["message_id"] != first["message_id"]
    monkeypatch.setattr(opening, "now_ms", lambda: now_ms() + 86_401_000)
    later = world.chat(world.connect("ann"), client_message_id="m")
    assert later["type"] == "ack"
    assert later["message_id"] != first["message_id"]


def test_execution_is_started_when_a_repetition_finds_that_it_never_was(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = world.connect("ann")
    ack = world.chat(ann, client_message_id="m")
    world.machine.inputs.clear()
    assert world.chat(ann, client_message_id="m") == ack
    assert world.machine.inputs == {}, "the first frame may still be at it"
    monkeypatch.setattr("functions.ws_message.chat.START_MS", -1)
    assert world.chat(ann, client_message_id="m") == ack
    assert list(world.machine.inputs) == [ack["message_id"]]


def test_turn_ends_at_once_when_start_execution_is_lost(world: World) -> None:
    world.machine.lost = True
    ann = world.connect("ann")
    ack = world.chat(ann)
    final = world.check_ended(ann, ack)
    assert (final["status"], final["error"]["code"]) == ("failed", "not_started")
    world.machine.lost = False
    assert world.chat(ann, conversation_id=ack["conversation_id"])["type"] == "ack"


def test_nothing_is_told_as_an_error_when_the_turn_cannot_even_be_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = world.connect("ann")
    world.machine.lost = True

    def throttled(*_: object) -> None:
        raise error("ThrottlingException")

    with monkeypatch.context() as patch:
        patch.setattr("functions.ws_message.chat.closing.end", throttled)
        ack = world.chat(ann)
    assert ack["type"] == "ack"
    assert [f for f in world.got(ann) if f["type"] == "error"] == []


def test_ack_and_answer_arrive_when_frames_are_throttled(world: World) -> None:
    ann = world.connect("ann")
    world.gateway.failures[ann] = 2
    ack = world.chat(ann)
    assert ack["type"] == "ack"
    world.run(ack["message_id"])
    assert world.check_ended(ann, ack)["status"] == "completed"


def test_nothing_is_stored_when_the_connection_cannot_follow(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> dict[str, Any]:
        raise error("ThrottlingException")

    ann = world.connect("ann")
    monkeypatch.setattr("chatbot.connections.following", refused)
    assert world.chat(ann)["type"] == "error"
    items = aws.client("dynamodb").scan(TableName="conversations")["Items"]
    assert (items, world.machine.inputs) == ([], {})


@pytest.mark.parametrize(
    ("quota", "code"),
    [
        ({"monthly_tokens": 50}, "quota_exceeded"),
        ({"monthly_tokens": 0}, "quota_exceeded"),
        ({"max_concurrent_turns": 0}, "quota_exceeded"),
        ({"monthly_cost": "0.00002"}, "quota_exceeded"),
        ({"monthly_cost": "0.00003"}, None),
        ({"monthly_tokens": 1000, "max_concurrent_turns": 1}, None),
    ],
)
def test_quota_of_the_workspace_holds_when_it_is(
    quota: dict[str, int], code: str | None, world: World
) -> None:
    world.quota = quota
    answer = world.chat(world.connect("ann"))
    assert answer.get("code") == code


def test_tokens_are_reserved_then_settled_when_a_turn_runs(world: World) -> None:
    month = identifiers.timestamp(now_ms())[:7]
    world.quota = {"monthly_tokens": 160}
    ann = world.connect("ann")
    ack = world.chat(ann)
    assert world.usage(f"QUOTA#{month}")["tokens"] > 100
    assert world.chat(ann)["code"] == "quota_exceeded"
    world.run(ack["message_id"])
    assert world.usage(f"QUOTA#{month}")["tokens"] == 18
    assert world.chat(ann)["type"] == "ack"
    day = identifiers.timestamp(now_ms())[:10]
    used = world.usage(f"DAY#{day}#{USER}#{CHATBOT}#amazon.nova-lite-v1:0")
    assert (used["turns"], used["input_tokens"], used["output_tokens"]) == (1, 11, 7)


def test_chat_is_forbidden_when_the_chatbots_model_is_no_longer_allowed(world: World) -> None:
    world.chatbot["model_id"] = "meta.llama3-8b-instruct-v1:0"
    assert world.chat(world.connect("ann"))["code"] == "forbidden"


def test_cost_is_limited_when_the_answers_before_took_it(world: World) -> None:
    world.quota = {"monthly_cost": "0.00003"}
    ann = world.connect("ann")
    ack = world.chat(ann)
    assert world.chat(ann)["code"] == "quota_exceeded"
    world.run(ack["message_id"])
    # 11 tokens at 0.06 and 7 at 0.24 USD a million
    assert world.chat(ann)["type"] == "ack"


def test_turns_at_once_are_limited_by_the_settings_when_the_workspace_says_nothing(
    world: World,
) -> None:
    ann = world.connect("ann")
    acks = [world.chat(ann) for _ in range(3)]
    assert world.chat(ann)["code"] == "quota_exceeded"
    world.run(acks[0]["message_id"])
    assert world.chat(ann)["type"] == "ack"


def test_chats_a_minute_are_limited_when_too_many_come(
    world: World, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("CHATS_PER_MINUTE", "1")
    fresh_settings()
    ann = world.connect("ann")
    ack = world.chat(ann, client_message_id="m")
    # Around the turn of a minute two windows may pass one each.
    codes = [world.chat(ann).get("code") for _ in range(3)]
    assert codes[-1] == "rate_limited"
    assert world.chat(ann, client_message_id="m") == ack


def test_connection_is_closed_when_its_user_is_deactivated(world: World) -> None:
    ann = world.connect("ann")
    ack = world.chat(ann)
    world.users[USER] = 2
    [error] = world.send(ann, {"type": "open", "conversation_id": ack["conversation_id"]})
    assert error["code"] == "forbidden"
    assert world.gateway.closed == [ann]
    assert connections.find(ann) is None
    assert connections.followers(ack["conversation_id"]) == []


def test_frame_is_forbidden_when_its_connection_is_not_known(world: World) -> None:
    [error] = world.send("stranger", {"type": "ping"})
    assert error["code"] == "forbidden"
    assert world.gateway.closed == ["stranger"]


@pytest.mark.parametrize(
    ("permissions", "code"), [(None, "not_found"), ([], "forbidden"), (["chat:use"], None)]
)
def test_chat_needs_the_permission_when_a_member_has(
    permissions: list[str] | None, code: str | None, world: World
) -> None:
    del world.permissions[USER]
    if permissions is not None:
        world.permissions[USER] = permissions
    assert world.chat(world.connect("ann")).get("code") == code


def frame(kind: str, ack: dict[str, Any]) -> dict[str, Any]:
    return {
        "chat": {
            "type": "chat",
            "chatbot_id": CHATBOT,
            "content": "x",
            "conversation_id": ack["conversation_id"],
        },
        "open": {"type": "open", "conversation_id": ack["conversation_id"]},
        "resume": {"type": "resume", "message_id": ack["message_id"], "after_seq": 0},
        "cancel": {"type": "cancel", "message_id": ack["message_id"]},
        "approve": {
            "type": "approve",
            "message_id": ack["message_id"],
            "tool_use_id": "t",
            "approved": True,
        },
    }[kind]


@pytest.mark.parametrize("kind", ["chat", "open", "resume", "cancel", "approve"])
@pytest.mark.parametrize("ended", [False, True])
def test_another_users_conversation_is_not_found_when_a_member_sends(
    kind: str, ended: bool, world: World
) -> None:
    world.permissions[OTHER_USER] = ["chat:use"]
    ack = world.chat(world.connect("ann"))
    if ended:
        world.run(ack["message_id"])
    bob = world.connect("bob", OTHER_USER)
    [error] = world.send(bob, frame(kind, ack))
    assert error["code"] == "not_found"
    if not ended:
        world.run(ack["message_id"])
    assert world.got(bob) == [error]


def test_reader_of_all_follows_but_does_not_steer_when_a_conversation_is_anothers(
    world: World,
) -> None:
    world.permissions[OTHER_USER] = ["chat:use", "conversations:read_all"]
    ack = world.chat(world.connect("ann"))
    bob = world.connect("bob", OTHER_USER)
    assert world.send(bob, frame("open", ack)) == []
    for kind in ("chat", "resume", "cancel"):
        [error] = world.send(bob, frame(kind, ack))
        assert error["code"] == "not_found"
    world.run(ack["message_id"])
    assert world.frames(bob, ack["message_id"])[-1]["status"] == "completed"


def test_conversation_of_another_chatbot_is_a_bad_request_when_chatted_with(world: World) -> None:
    ann = world.connect("ann")
    ack = world.chat(ann)
    world.run(ack["message_id"])
    table = "conversations"
    from chatbot import aws, tables

    aws.client("dynamodb").update_item(
        TableName=table,
        Key=tables.pack({"conversation_id": ack["conversation_id"], "item": "HEAD"}),
        UpdateExpression="SET chatbot_id = :other",
        ExpressionAttributeValues=tables.pack({":other": ID}),
    )
    assert world.chat(ann, conversation_id=ack["conversation_id"])["code"] == "bad_request"


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let time pass for leases and the hour of replay, in milliseconds."""

    def pass_by(milliseconds: int) -> None:
        for module in (turns, replay):
            monkeypatch.setattr(module, "now_ms", lambda: now_ms() + milliseconds)

    return pass_by


@pytest.mark.parametrize("kind", ["chat", "resume", "cancel"])
def test_dead_turn_is_ended_by_whoever_meets_it_when_a_frame_comes(
    kind: str, world: World, later: Callable[[int], None]
) -> None:
    ann = world.connect("ann")
    ack = world.chat(ann)
    later(turns.FIRST_LEASE_MS + 1)
    answers = world.send(ann, frame(kind, ack))
    if kind == "chat":
        assert [a["type"] for a in answers].count("ack") == 1
        second = next(a for a in answers if a["type"] == "ack")
        assert world.usage("RUNNING")["turns"] == 1
        world.run(second["message_id"])
    final = world.check_ended(ann, ack)
    if kind == "cancel":
        assert final["status"] == "cancelled"
    else:
        assert (final["status"], final["error"]["code"]) == ("failed", "interrupted")


def test_turn_without_a_producer_is_ended_at_once_when_cancelled(world: World) -> None:
    ann = world.connect("ann")
    ack = world.chat(ann)
    assert world.send(ann, frame("cancel", ack))[-1]["status"] == "cancelled"
    final = world.check_ended(ann, ack)
    assert final["stop_reason"] == "cancelled"
    assert final["usage"]["estimated"] is True
    assert final["usage"]["input_tokens"] > 0
    assert world.machine.stopped == [ack["message_id"]]
    # The execution was on its way: it asks no model, and nothing is sent twice.
    assert world.run(ack["message_id"])["status"] == "cancelled"
    assert world.model.requests == []
    assert len([f for f in world.got(ann) if f["type"] == "assistant"]) == 1


def test_cancel_is_not_found_when_the_turn_has_ended(world: World) -> None:
    ann = world.connect("ann")
    ack = world.chat(ann)
    world.run(ack["message_id"])
    [error] = world.send(ann, frame("cancel", ack))
    assert (error["code"], error["message_id"]) == ("not_found", ack["message_id"])


def test_resume_sends_what_follows_any_seq_when_the_turn_has_ended(world: World) -> None:
    world.model.says(*"abcde")
    ann, tablet = world.connect("ann"), world.connect("tablet")
    ack = world.chat(ann)
    world.run(ack["message_id"])
    frames = world.frames(ann, ack["message_id"])
    assert len(frames) == 6
    for after in range(8):
        resume = frame("resume", ack) | {"after_seq": after}
        assert world.send(tablet, resume) == frames[after:]


def test_resume_sends_the_final_frame_only_when_an_hour_has_passed(
    world: World, later: Callable[[int], None]
) -> None:
    ann, tablet = world.connect("ann"), world.connect("tablet")
    ack = world.chat(ann)
    world.run(ack["message_id"])
    later(turns.REPLAY_MS + 5_000)
    assert world.send(tablet, frame("resume", ack)) == world.frames(ann, ack["message_id"])[-1:]


def test_long_replay_goes_on_through_the_queue_when_it_is_too_long_for_one_call(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from chatbot import aws
    from functions.chat_end import handler as chat_end

    monkeypatch.setattr(replay, "AT_ONCE", 2)
    world.model.says(*"abcde")
    ann, tablet = world.connect("ann"), world.connect("tablet")
    ack = world.chat(ann)
    world.run(ack["message_id"])
    assert len(world.send(tablet, frame("resume", ack))) == 2
    queue = aws.client("sqs")
    while messages := [
        m
        for m in queue.receive_message(
            QueueUrl=queue.get_queue_url(QueueName="turn-watch")["QueueUrl"]
        ).get("Messages", [])
        if "replay" in m["Body"]
    ]:
        records = [{"messageId": m["MessageId"], "body": m["Body"]} for m in messages]
        assert chat_end.handler({"Records": records}, None) == {"batchItemFailures": []}
    assert world.got(tablet) == world.frames(ann, ack["message_id"])


def test_internal_error_is_told_when_a_frame_meets_a_fault(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(turns, "watch", fail)
    ann = world.connect("ann")
    error = world.chat(ann, client_message_id="m")
    assert (error["code"], error["client_message_id"]) == ("internal", "m")
    assert "secret" not in json.dumps(error)
    assert world.machine.inputs == {}


def test_user_has_nothing_open_when_cut_off(world: World) -> None:
    ann, tablet = world.connect("ann"), world.connect("tablet")
    ack = world.chat(ann)
    connections.end_user(USER, "another workspace")
    assert world.gateway.closed == []
    connections.end_user(USER, WORKSPACE)
    assert world.gateway.closed == []
    assert connections.followers(ack["conversation_id"]) == []
    connections.end_user(USER)
    assert sorted(world.gateway.closed) == [ann, tablet]
    sent = len(world.got(ann))
    assert world.run(ack["message_id"])["status"] == "cancelled"
    assert len(world.got(ann)) == sent
    assert world.model.requests == []
