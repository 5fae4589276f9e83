"""The stand-in's guardrails and its prompt cache, held against the service's documentation.

Quoted: https://docs.aws.amazon.com/bedrock/latest/userguide/guardrails-streaming.html,
guardrails-use-converse-api.html and prompt-caching.html beside it.
"""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.integration.test_bedrock_standin import (
    StandIn,
    conversation,
    running,
    stop_reason,
    text_of,
)

GUARDRAIL = {
    "guardrailId": "abc1",
    "blockedInputMessaging": "Not asked.",
    "blockedOutputsMessaging": "Not answered.",
    "wordPolicy": {"words": [{"text": "moonshot"}]},
    "sensitiveInformationPolicy": {"piiEntities": [{"type": "EMAIL", "action": "BLOCK"}]},
}
CONFIG = {"guardrailIdentifier": "abc1", "guardrailVersion": "1"}
LONG = "A rule of the house. " * 250
POINT = {"cachePoint": {"type": "default"}}


class Gateway(BaseHTTPRequestHandler):
    """GetGuardrail of one guardrail in its version 1."""

    def do_GET(self) -> None:  # http.server's name
        known = self.path == "/guardrails/abc1?guardrailVersion=1"
        self.send_response(200 if known else 404)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(GUARDRAIL if known else {}).encode())


@pytest.fixture(scope="module")
def standin() -> Iterator[StandIn]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Gateway) as gateway:
        Thread(target=gateway.serve_forever, daemon=True).start()
        with running(BEDROCK_GATEWAY_URL=f"http://127.0.0.1:{gateway.server_port}") as started:
            yield started
        gateway.shutdown()


def usage(events: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = events[-1]["metadata"]["usage"]
    return found


@pytest.mark.parametrize("words", ["our Moonshot plan", "to a@b.example", "[[guardrail input]]"])
def test_message_comes_instead_of_an_answer_when_the_input_is_blocked(
    words: str, standin: StandIn
) -> None:
    events = list(standin.stream(words, guardrailConfig=CONFIG))
    assert (text_of(events), stop_reason(events)) == ("Not asked.", "guardrail_intervened")
    assert usage(events) == {"inputTokens": 0, "outputTokens": 0, "totalTokens": 0}
    assert "trace" not in events[-1]["metadata"], "disabled unless asked for"
    assert stop_reason(list(standin.stream(words))) == "end_turn", "no guardrail, none applied"


def test_only_guarded_blocks_are_looked_at_when_there_are_some(standin: StandIn) -> None:
    """ "…guardrails only evaluates the content in the guardContent block"."""
    fine = {"guardContent": {"text": {"text": "[[text fine]]"}}}
    events = list(standin.stream([{"text": "moonshot"}, fine], guardrailConfig=CONFIG))
    assert (text_of(events), stop_reason(events)) == ("fine", "end_turn")
    bad = {"guardContent": {"text": {"text": "moonshot"}}}
    events = list(standin.stream([{"text": "fine"}, bad], guardrailConfig=CONFIG))
    assert stop_reason(events) == "guardrail_intervened"


def test_nothing_blocked_is_sent_when_the_stream_is_synchronous(standin: StandIn) -> None:
    """ "every response chunk is scanned by guardrails before being sent to the user"."""
    words = "[[words 400]] [[pace 0]] [[guardrail 300]]"
    whole = text_of(list(standin.stream("[[words 400]] [[pace 0]]")))
    events = list(standin.stream(words, guardrailConfig=CONFIG))
    said = text_of(events).removesuffix("Not answered.")
    assert (len(said) >= 1000, whole.startswith(said)) == (True, True)
    assert len(said.split()) < 300
    assert stop_reason(events) == "guardrail_intervened"
    assert usage(events)["outputTokens"] > 0


def test_what_is_blocked_may_be_sent_when_the_stream_is_asynchronous(standin: StandIn) -> None:
    """ "response chunks may contain inappropriate content until guardrails scan completes"."""
    config = {**CONFIG, "streamProcessingMode": "async"}
    words = "[[words 900]] [[pace 0]] [[guardrail 300]]"
    events = list(standin.stream(words, guardrailConfig=config))
    assert len(text_of(events).split()) > 300
    assert text_of(events).endswith("Not answered.")


def test_trace_tells_what_was_found_when_it_is_asked_for(standin: StandIn) -> None:
    config = {**CONFIG, "trace": "enabled"}
    [*_, last] = standin.stream("moonshot", guardrailConfig=config)
    found = last["metadata"]["trace"]["guardrail"]["inputAssessment"]["abc1"]
    assert found["wordPolicy"]["customWords"] == [{"match": "moonshot", "action": "BLOCKED"}]


@pytest.mark.parametrize("changed", [{"guardrailVersion": "2"}, {"guardrailIdentifier": "abc2"}])
def test_request_is_refused_when_there_is_no_such_guardrail(
    changed: dict[str, str], standin: StandIn
) -> None:
    with pytest.raises(ClientError, match="ValidationException"):
        list(standin.stream("hello", guardrailConfig=CONFIG | changed))


def test_prefix_is_written_to_the_cache_and_then_read_from_it(standin: StandIn) -> None:
    """ "cacheReadInputTokens", "cacheWriteInputTokens": tokens apart from `inputTokens`."""
    system = [{"text": LONG}, POINT]
    counts = [usage(list(standin.stream("hi", system=system))) for _ in range(2)]
    first, second = counts
    assert first["cacheWriteInputTokens"] > 1024
    assert (first["cacheReadInputTokens"], second["cacheWriteInputTokens"]) == (0, 0)
    assert second["cacheReadInputTokens"] == first["cacheWriteInputTokens"]
    assert second["totalTokens"] == first["totalTokens"]
    other = usage(list(standin.stream("hi", system=[{"text": f"Other: {LONG}"}, POINT])))
    assert other["cacheReadInputTokens"] == 0


def test_nothing_is_cached_when_the_prefix_is_short(standin: StandIn) -> None:
    counts = usage(list(standin.stream("hi", system=[{"text": "Be brief."}, POINT])))
    assert "cacheWriteInputTokens" not in counts


def test_longest_known_prefix_is_read_when_the_conversation_goes_on(standin: StandIn) -> None:
    system = [{"text": f"Grows: {LONG}"}, POINT]
    first = usage(list(standin.stream("hi", system=system)))
    turns = ["hi", [{"text": "hello " * 100}, POINT], "and?"]
    second = usage(list(standin.stream(*turns, system=system)))
    assert second["cacheReadInputTokens"] == first["cacheWriteInputTokens"]
    assert second["cacheWriteInputTokens"] > 100


def test_request_is_refused_when_it_has_too_many_points_or_the_model_no_cache(
    standin: StandIn,
) -> None:
    with pytest.raises(ClientError, match="ValidationException"):
        list(standin.stream("hi", system=[{"text": "x"}, *[POINT] * 5]))
    with pytest.raises(ClientError, match="ValidationException"):
        standin.client().converse_stream(
            modelId="meta.llama3-8b-instruct-v1:0",
            messages=conversation("hi"),
            system=[{"text": LONG}, POINT],
        )
