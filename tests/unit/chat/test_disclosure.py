"""What is said stays out of logs and errors, in what goes wrong too."""

import json

import pytest

from tests.unit.chat.world import World


@pytest.mark.parametrize(
    "template", ["planted-5bd1e995 {{ planted_5bd1e995.x }}", "{{ 'planted-5bd1e995' + 1 }}"]
)
def test_prompt_is_not_in_the_log_when_it_does_not_render(
    template: str, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    ann = world.connect("ann")
    world.chatbot["system_prompt"] = template
    ack = world.chat(ann)
    assert world.run(ack["message_id"])["status"] == "failed"
    said = str([vars(record) for record in caplog.records])
    assert "no prompt" in said
    assert "planted" not in said
    assert "planted" not in json.dumps(world.gateway.sent)
