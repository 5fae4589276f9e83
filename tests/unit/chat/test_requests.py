"""What the model is asked: what is guarded, what is marked for the cache, what each model takes."""

from typing import Any

import pytest

from chatbot.models import allowed_models
from functions.chat_stream import caching, request
from tests.unit.chat.world import Frame, World
from tests.unit.conftest import fresh_settings

MODEL = "anthropic.claude-sonnet-4-5-20250929-v1:0"
LONG = "A rule of the house. " * 300  # 6,300 bytes: about 1,575 tokens
POINT = {"cachePoint": {"type": "default"}}


@pytest.fixture
def ann(world: World) -> str:
    return world.connect("ann")


@pytest.fixture
def models(environment: pytest.MonkeyPatch) -> Any:
    """Has the environment allow models; `profiles` are called instead."""

    def allow(*model_ids: str, profiles: str = "") -> None:
        environment.setenv("BEDROCK_MODEL_IDS", ",".join(model_ids))
        environment.setenv("BEDROCK_INFERENCE_PROFILES", profiles)
        environment.setenv("CHATS_PER_MINUTE", "1000")
        fresh_settings()
        allowed_models.cache_clear()

    yield allow
    allowed_models.cache_clear()


def asked(world: World, connection: str, content: str = "Hi", **fields: Any) -> Frame:
    """Have a turn run to its end; its `ack`."""
    ack = world.chat(connection, content, **fields)
    world.run(ack["message_id"])
    return ack


def last(world: World) -> dict[str, Any]:
    return world.model.requests[-1]


def blocked(*texts: str) -> list[Any]:
    """A model's events where the guardrail intervenes."""
    usage = {"inputTokens": 0, "outputTokens": 0}
    end = [{"messageStop": {"stopReason": "guardrail_intervened"}}, {"metadata": {"usage": usage}}]
    return [*texts, *end]


# --- guardrails


def test_guardrail_is_applied_to_the_users_words_when_the_chatbot_has_one(
    world: World, ann: str
) -> None:
    world.chatbot["guardrail_enabled"] = True
    asked(world, ann, "Hello")
    assert last(world)["guardrailConfig"] == {
        "guardrailIdentifier": "guard1",
        "guardrailVersion": "1",
        "streamProcessingMode": "sync",
        "trace": "disabled",
    }
    [message] = last(world)["messages"]
    assert message["content"] == [{"guardContent": {"text": {"text": "Hello"}}}]


def test_no_guardrail_is_applied_when_the_chatbot_has_none(world: World, ann: str) -> None:
    asked(world, ann, "Hello")
    assert "guardrailConfig" not in last(world)
    assert last(world)["messages"][0]["content"] == [{"text": "Hello"}]


def test_turn_ends_with_the_guardrails_message_when_it_intervenes(world: World, ann: str) -> None:
    world.chatbot["guardrail_enabled"] = True
    world.model.scripts.append(blocked("I cannot help with that request."))
    ack = asked(world, ann, "something bad")
    final = world.check_ended(ann, ack)
    assert (final["status"], final["stop_reason"]) == ("completed", "guardrail_intervened")
    assert final["content"] == "I cannot help with that request."
    assert final["usage"] == {"input_tokens": 0, "output_tokens": 0, "estimated": False}


def test_what_was_blocked_is_not_said_again_when_the_conversation_goes_on(
    world: World, ann: str
) -> None:
    world.chatbot["guardrail_enabled"] = True
    first = asked(world, ann, "good")
    place = {"conversation_id": first["conversation_id"]}
    world.model.scripts.append(blocked("No."))
    asked(world, ann, "something bad", **place)
    asked(world, ann, "Answer my last question", **place)
    contents = [(m["role"], m["content"]) for m in last(world)["messages"]]
    assert contents == [
        ("user", [{"text": "good"}]),
        ("assistant", [{"text": "Hello there."}]),
        ("user", [{"guardContent": {"text": {"text": "Answer my last question"}}}]),
    ]


def test_question_without_an_answer_is_guarded_again_when_the_next_one_comes(
    world: World, ann: str
) -> None:
    """It was cancelled before the guardrail had said anything."""
    world.chatbot["guardrail_enabled"] = True
    first = world.chat(ann, "something bad")
    world.send(ann, {"type": "cancel", "message_id": first["message_id"]})
    asked(world, ann, "Answer that", conversation_id=first["conversation_id"])
    [message] = last(world)["messages"]
    assert [list(block) for block in message["content"]] == [["guardContent"], ["guardContent"]]


# --- models


def test_profile_is_called_when_the_environment_has_one_for_the_model(
    world: World, ann: str, models: Any
) -> None:
    arn = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/a1b2"
    models(f"eu.{MODEL}", profiles=f"eu.{MODEL}={arn}")
    world.chatbot["model_id"] = f"eu.{MODEL}"
    asked(world, ann)
    assert last(world)["modelId"] == arn


def test_temperature_is_left_out_when_the_model_takes_top_p_alone(
    world: World, ann: str, models: Any
) -> None:
    models(MODEL)
    world.chatbot |= {"model_id": MODEL, "top_p": 0.9}
    asked(world, ann)
    assert last(world)["inferenceConfig"] == {"maxTokens": 100, "topP": 0.9}
    world.chatbot["top_p"] = None
    asked(world, ann)
    assert last(world)["inferenceConfig"] == {"maxTokens": 100, "temperature": 0.5}


def test_history_is_cut_to_the_models_context_when_that_is_small(
    world: World, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from functions.chat_stream import producing

    first = asked(world, ann, "x" * 400)
    small = {name: m._replace(context_tokens=180) for name, m in allowed_models().items()}
    monkeypatch.setattr(producing, "allowed_models", lambda: small)
    asked(world, ann, "and now?", conversation_id=first["conversation_id"])
    assert [m["content"] for m in last(world)["messages"]] == [[{"text": "and now?"}]]


# --- the cache


def test_prompt_is_marked_when_it_is_long_enough(world: World, ann: str) -> None:
    world.chatbot["system_prompt"] = LONG
    asked(world, ann)
    assert last(world)["system"] == [{"text": LONG}, POINT]


@pytest.mark.parametrize(
    ("prompt", "why"),
    [("You help.", "short"), (LONG + "{{ now.year }}", "another one each time")],
)
def test_prompt_is_not_marked_when_it_is(prompt: str, why: str, world: World, ann: str) -> None:
    world.chatbot["system_prompt"] = prompt
    asked(world, ann)
    assert POINT not in last(world)["system"], why


def test_prompt_is_not_marked_when_the_model_wants_more(
    world: World, ann: str, models: Any
) -> None:
    model = "anthropic.claude-haiku-4-5-20251001-v1:0"
    models(model)
    world.chatbot |= {"model_id": model, "system_prompt": LONG}
    asked(world, ann)
    assert POINT not in last(world)["system"]


def test_history_is_marked_before_the_question_when_it_is_long_enough(
    world: World, ann: str
) -> None:
    world.model.says(LONG)
    first = asked(world, ann)
    asked(world, ann, "and?", conversation_id=first["conversation_id"])
    messages = last(world)["messages"]
    assert [POINT in message["content"] for message in messages] == [False, True, False]
    assert messages[1]["content"] == [{"text": LONG}, POINT]


def test_history_is_not_marked_when_its_beginning_is_cut_off(
    world: World, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request, "HISTORY_TOKENS", 2000)
    place: dict[str, str] = {}
    for _ in range(3):
        world.model.says(LONG)
        place = {"conversation_id": asked(world, ann, **place)["conversation_id"]}
    messages = last(world)["messages"]
    assert [POINT in message["content"] for message in messages] == [False, False, False]


def test_tools_count_for_the_prefix_and_rounds_are_marked_when_asked_for() -> None:
    tool = {"toolSpec": {"name": "t", "description": LONG, "inputSchema": {"json": {}}}}
    body: dict[str, Any] = {
        "toolConfig": {"tools": [tool]},
        "system": [{"text": "You help."}],
        "messages": [{"role": "user", "content": [{"text": "Hi"}]}],
    }
    caching.mark(body, [0], 1024)
    assert body["system"][-1] == POINT
    assert body["messages"][0]["content"][-1] == POINT


def test_estimates_count_every_kind_of_block() -> None:
    body = {
        "system": [{"text": "x" * 40}, POINT],
        "messages": [
            {"role": "user", "content": [{"guardContent": {"text": {"text": "y" * 40}}}]},
            {"role": "assistant", "content": [{"toolUse": {"name": "t", "input": {"a": 1}}}]},
        ],
    }
    assert 20 < request.estimate(body) < 50
    assert request.most(body) > 2 * 20
