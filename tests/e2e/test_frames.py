"""Frames that are wrong get a clear error, and the connection stays."""

import json
from collections.abc import Callable
from uuid import uuid4

import pytest

from tests.e2e.client import Tenant

BAD = {
    "no_json": "hello",
    "array": "[]",
    "string": '"chat"',
    "empty": "",
    "no_type": "{}",
    "type_unknown": '{"type": "dance"}',
    "type_number": '{"type": 1}',
    "type_null": '{"type": null}',
    "deep": '{"type":' + "[" * 5000 + "]" * 5000 + "}",
    "too_large": json.dumps({"type": "chat", "chatbot_id": str(uuid4()), "content": "é" * 20000}),
    "content_empty": json.dumps({"type": "chat", "chatbot_id": str(uuid4()), "content": ""}),
    "content_long": json.dumps(
        {"type": "chat", "chatbot_id": str(uuid4()), "content": "x" * 24001}
    ),
    "content_number": json.dumps({"type": "chat", "chatbot_id": str(uuid4()), "content": 5}),
    "chatbot_malformed": json.dumps({"type": "chat", "chatbot_id": "1", "content": "x"}),
    "surrogate": f'{{"type": "chat", "chatbot_id": "{uuid4()}", "content": "\\ud800"}}',
    "after_seq_negative": json.dumps(
        {"type": "resume", "message_id": str(uuid4()), "after_seq": -1}
    ),
    "after_seq_text": json.dumps({"type": "resume", "message_id": str(uuid4()), "after_seq": "1"}),
    "open_without_id": '{"type": "open"}',
    "huge_number": f'{{"type": "resume", "message_id": "{uuid4()}", "after_seq": 1e400}}',
}


@pytest.fixture(scope="module")
def lasting_tenant(new_tenant: Callable[[], Tenant]) -> Tenant:
    return new_tenant()


@pytest.mark.parametrize("name", BAD)
def test_frame_gets_bad_request_and_the_connection_stays_when_it_is(
    name: str, lasting_tenant: Tenant
) -> None:
    with lasting_tenant.chat() as chat:
        chat.send(BAD[name])
        answer = chat.receive()
        assert (answer["type"], answer["code"]) == ("error", "bad_request")
        assert answer["detail"]
        assert answer["request_id"]
        chat.send({"type": "ping"})
        assert chat.receive() == {"type": "pong"}


def test_busy_when_a_turn_of_the_conversation_is_running(tenant: Tenant) -> None:
    with tenant.chat() as chat:
        turn = chat.start(tenant.chatbot_id, "[[words 200]] [[pace 20]]")
        mark = str(uuid4())
        chat.send(
            {
                "type": "chat",
                "chatbot_id": tenant.chatbot_id,
                "conversation_id": turn.ack["conversation_id"],
                "content": "and now?",
                "client_message_id": mark,
            }
        )
        error = chat.until(lambda f: f["type"] == "error")
        assert (error["code"], error["client_message_id"]) == ("busy", mark)
        chat.follow(turn)
        assert turn.check()["status"] == "completed"
        after = chat.ask(tenant.chatbot_id, "and now?", conversation_id=turn.ack["conversation_id"])
    assert after.check()["status"] == "completed"
    assert len(tenant.messages(turn.ack["conversation_id"])) == 4


@pytest.mark.parametrize("named", [True, False])
def test_one_turn_and_the_same_ack_when_a_client_message_id_is_repeated(
    named: bool, tenant: Tenant
) -> None:
    mark = str(uuid4())
    with tenant.chat() as chat:
        turn = chat.ask(tenant.chatbot_id, "once", client_message_id=mark)
        fields = {"conversation_id": turn.ack["conversation_id"]} if named else {}
        again = chat.start(tenant.chatbot_id, "once", client_message_id=mark, **fields)
    assert {k: v for k, v in again.ack.items() if k != "request_id"} == {
        k: v for k, v in turn.ack.items() if k != "request_id"
    }
    assert len(tenant.messages(turn.ack["conversation_id"])) == 2


def test_title_comes_from_the_first_message_when_none_is_set(tenant: Tenant) -> None:
    with tenant.chat() as chat:
        turn = chat.ask(tenant.chatbot_id, "Where is the kitchen?")
    path = f"{tenant.path}/conversations/{turn.ack['conversation_id']}"
    conversation = tenant.rest.ok("GET", path)
    assert conversation["title"] == "Where is the kitchen?"
    assert conversation["message_count"] == 2
