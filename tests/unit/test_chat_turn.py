"""One turn from the client's frame to the final one, as the machine runs it."""

from collections.abc import Iterator

import pytest

from tests.unit.chat_world import World


@pytest.fixture
def world(cloud: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    yield World(monkeypatch)


def test_answer_is_streamed_stored_and_ended_when_all_goes_well(world: World) -> None:
    ann = world.connect("ann")
    world.model.says("Hello", " there", ".")
    ack = world.chat(ann, "Where is the kitchen?", client_message_id="m1")
    assert (ack["type"], ack["client_message_id"], ack["request_id"]) == ("ack", "m1", "request")
    assert world.run(ack["message_id"]) == {"message_id": ack["message_id"], "status": "completed"}
    final = world.check_ended(ann, ack)
    assert final["content"] == "Hello there."
    assert final["usage"] == {"input_tokens": 11, "output_tokens": 7, "estimated": False}
    assert world.conversation(ack["conversation_id"])["title"] == "Where is the kitchen?"
