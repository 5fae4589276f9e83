"""A turn survives its machinery: one final frame, the user's message kept, within 60 seconds."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from uuid import uuid4

import pytest

from chatbot import aws
from functions.ws_message import handler
from tests.e2e.client import Tenant, Turn
from tests.e2e.conftest import Stack

ENDS_WITHIN = 60


def check_conversation_goes_on(tenant: Tenant, turn: Turn, words: str) -> None:
    """The user's message is there, the final equals the stored one, and another turn works."""
    final = turn.check()
    user, assistant = tenant.messages(turn.ack["conversation_id"])[-2:]
    assert (user["id"], user["content"]) == (turn.ack["user_message_id"], words)
    assert assistant["content"] == turn.text
    assert assistant["status"] == final["status"]
    assert assistant["stop_reason"] == final["stop_reason"]
    assert assistant["usage"] == final["usage"]
    with tenant.chat() as chat:
        after = chat.ask(
            tenant.chatbot_id, "still there?", conversation_id=turn.ack["conversation_id"]
        )
    assert after.check()["status"] == "completed"


def test_one_final_when_two_producers_work_on_one_turn(tenant: Tenant, stack: Stack) -> None:
    words = "[[words 150]] [[pace 10]]"
    machine = stack.client("stepfunctions")
    with tenant.chat() as chat:
        turn = chat.follow(chat.start(tenant.chatbot_id, words), frames=1)
        execution = machine.describe_execution(executionArn=execution_arn(stack, turn.message_id))
        with ThreadPoolExecutor(2) as pool:
            for _ in range(2):
                pool.submit(
                    stack.client("lambda").invoke,
                    FunctionName=stack.outputs["function_names"]["chat_stream"],
                    Payload=execution["input"].encode(),
                )
            chat.follow(turn, timeout=ENDS_WITHIN)
    check_conversation_goes_on(tenant, turn, words)


def execution_arn(stack: Stack, message_id: str) -> str:
    machine = stack.outputs["chat_state_machine_arn"]
    return f"{machine.replace(':stateMachine:', ':execution:')}:{message_id}"


def test_turn_ends_failed_when_its_execution_is_aborted(tenant: Tenant, stack: Stack) -> None:
    words = "[[words 400]] [[pace 20]]"
    with tenant.chat() as chat:
        turn = chat.start(tenant.chatbot_id, words)
        chat.follow(turn, frames=5)
        stack.client("stepfunctions").stop_execution(
            executionArn=execution_arn(stack, turn.message_id), error="Test", cause="aborted"
        )
        chat.follow(turn, timeout=ENDS_WITHIN)
    assert turn.check()["status"] == "failed"
    check_conversation_goes_on(tenant, turn, words)


@pytest.mark.parametrize(
    ("words", "frames"),
    [
        ("[[stall 8]] [[words 20]]", 0),
        ("[[words 400]] [[pace 20]]", 1),
        ("[[words 400]] [[pace 20]]", 12),
    ],
)
def test_cancel_stops_the_turn_within_two_seconds_when_it_comes(
    words: str, frames: int, tenant: Tenant
) -> None:
    with tenant.chat() as chat:
        turn = chat.start(tenant.chatbot_id, words)
        chat.follow(turn, frames=frames)
        asked = time.monotonic()
        chat.send({"type": "cancel", "message_id": turn.message_id})
        chat.follow(turn)
    final = turn.check()
    assert (final["status"], final["stop_reason"]) == ("cancelled", "cancelled")
    assert turn.times[-1] - asked < 4, "two seconds, and this machine's own delays"
    assert bool(turn.text) == bool(frames)
    assert final["usage"]["estimated"] is True
    assert final["usage"]["input_tokens"] > 0
    check_conversation_goes_on(tenant, turn, words)


def test_one_final_when_cancel_comes_at_the_end(tenant: Tenant) -> None:
    for number in range(6):
        words = "[[words 12]] [[pace 10]]"
        with tenant.chat() as chat:
            turn = chat.start(tenant.chatbot_id, words)
            time.sleep(0.1 * number)  # the end is what is aimed at, so time is the input here
            chat.send({"type": "cancel", "message_id": turn.message_id})
            chat.follow(turn)
        assert turn.check()["status"] in {"completed", "cancelled"}
        check_conversation_goes_on(tenant, turn, words)


def test_cancel_gets_not_found_when_the_turn_has_ended(tenant: Tenant) -> None:
    with tenant.chat() as chat:
        turn = chat.ask(tenant.chatbot_id, "hello")
        chat.send({"type": "cancel", "message_id": turn.message_id})
        error = chat.until(lambda f: f["type"] == "error")
    assert (error["code"], error["message_id"]) == ("not_found", turn.message_id)


def test_nothing_is_lost_when_resumes_come_at_the_very_end(tenant: Tenant) -> None:
    words = "[[words 40]] [[pace 10]]"
    for number in range(8):
        with tenant.chat() as chat, tenant.chat() as other:
            turn = chat.start(tenant.chatbot_id, words)
            copy = Turn(turn.ack)
            deadline = time.monotonic() + 0.3 + 0.1 * number
            with suppress(TimeoutError):
                while turn.final is None:
                    turn.take(chat.receive(max(deadline - time.monotonic(), 0.001)))
            other.send({"type": "resume", "message_id": turn.message_id, "after_seq": 0})
            other.follow(copy)
            chat.follow(turn)
        assert copy.check() | {"request_id": ""} == turn.check() | {"request_id": ""}
        assert turn.final is not None
        assert turn.final["status"] == "completed"


def test_answer_is_stored_when_its_only_follower_is_gone(tenant: Tenant) -> None:
    words = "[[words 100]] [[pace 10]]"
    with tenant.chat() as chat:
        turn = chat.start(tenant.chatbot_id, words)
        chat.drop()
    with tenant.chat() as chat:
        chat.send({"type": "resume", "message_id": turn.message_id, "after_seq": 0})
        chat.follow(turn)
    assert turn.check()["status"] == "completed"
    check_conversation_goes_on(tenant, turn, words)


def test_answer_comes_when_the_model_throttles_at_first(tenant: Tenant) -> None:
    words = "[[throttle 2]] [[words 20]]"
    with tenant.chat() as chat:
        turn = chat.ask(tenant.chatbot_id, words)
    assert turn.check()["status"] == "completed"
    check_conversation_goes_on(tenant, turn, words)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("[[throttle 100]] [[words 20]]", False),
        ("[[break 10]] [[words 40]]", True),
        ("[[stall 100]] [[words 5]]", False),
    ],
)
def test_turn_fails_honestly_within_60_seconds_when_the_model_stream_is(
    words: str, text: bool, tenant: Tenant
) -> None:
    asked = time.monotonic()
    with tenant.chat() as chat:
        turn = chat.start(tenant.chatbot_id, words)
        chat.follow(turn, timeout=ENDS_WITHIN)
    final = turn.check()
    assert turn.times[-1] - asked < ENDS_WITHIN
    assert (final["status"], final["stop_reason"]) == ("failed", "error")
    assert final["error"]["code"]
    assert bool(turn.text) == text
    check_conversation_goes_on(tenant, turn, words)


@pytest.fixture
def in_process(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process becomes `ws_message`: its settings, its stack, its code."""
    function = stack.client("lambda").get_function_configuration(
        FunctionName=stack.outputs["function_names"]["ws_message"]
    )
    for name, value in function["Environment"]["Variables"].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", stack.outputs["gateway_url"])
    monkeypatch.setenv("AWS_DEFAULT_REGION", stack.outputs["aws_region"])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


def test_turn_ends_within_60_seconds_when_start_execution_is_lost(
    in_process: None, stack: Stack, tenant: Tenant
) -> None:
    def lost(**_: object) -> None:
        raise ConnectionError("lost")

    machine = aws.client("stepfunctions")
    machine.meta.events.register("before-call.sfn.StartExecution", lost)
    words = "hello?"
    with tenant.chat() as chat:
        [row] = [
            row
            for row in stack.client("dynamodb").query(
                TableName=stack.outputs["table_names"]["connections"],
                IndexName="by_user",
                KeyConditionExpression="user_id = :user",
                ExpressionAttributeValues={":user": {"S": tenant.user["id"]}},
            )["Items"]
            if row["topic"]["S"].startswith("connection#")
        ]
        body = {
            "type": "chat",
            "chatbot_id": tenant.chatbot_id,
            "content": words,
            "client_message_id": str(uuid4()),
        }
        event = {
            "requestContext": {
                "connectionId": row["connection_id"]["S"],
                "routeKey": "$default",
                "eventType": "MESSAGE",
                "requestId": str(uuid4()),
                "requestTimeEpoch": int(time.time() * 1000),
            },
            "body": json.dumps(body),
            "isBase64Encoded": False,
        }
        with suppress(ConnectionError):
            handler.handler(event, None)
        turn = Turn(chat.until(lambda f: f["type"] == "ack"))
        asked = time.monotonic()
        chat.follow(turn, timeout=ENDS_WITHIN)
        assert time.monotonic() - asked < ENDS_WITHIN
    check_conversation_goes_on(tenant, turn, words)
