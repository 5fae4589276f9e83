"""The pure parts of the Bedrock stand-in."""

import json
from typing import Any

from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from localstack.bedrock import answers, eventstream, forwarding
from localstack.bedrock.directives import ToolCall, parse, without


def test_directives_are_read_when_they_stand_among_words() -> None:
    read = parse('Hi [[pace 20]] [[tool a {"x": "]]"}]] [[tool b]] [[stall 0.5]] there')
    assert (read.pace_seconds, read.stall_seconds) == (0.02, 0.5)
    assert read.tools == (ToolCall("a", {"x": "]]"}), ToolCall("b", {}))


def test_directives_in_a_given_text_are_text() -> None:
    read = parse("[[text say [words 3] ]]")
    assert (read.text, read.words) == ("say [words 3] ", None)


def test_words_stay_when_they_are_no_directive() -> None:
    assert without("what is [[x]]? [[words 3]]") == "what is [[x]]?"


@given(st.text(max_size=300))
def test_pieces_joined_are_the_text(text: str) -> None:
    message = {"role": "user", "content": [{"text": f"[[text {text.replace(']', '')}]]"}]}
    answer = answers.plan({"messages": [message]})
    assert "".join(answer.pieces) == text.replace("]", "")


def test_only_the_passages_that_fit_best_are_cited() -> None:
    passages = (
        "When does the gate of the Rotterdam depot close in winter? At 21:30.",
        "The gate code of the Basel office is with the porter.",
        "What do you do with the rest of it, and why does it matter?",
    )
    blocks = [
        {"text": f'<passage number="{number}" title="A note">\n{text}\n</passage>'}
        for number, text in enumerate(passages, start=1)
    ]
    question = {"text": "When does the gate of the Rotterdam depot close in winter?"}
    answer = answers.plan({"messages": [{"role": "user", "content": [*blocks, question]}]})
    assert "".join(answer.pieces) == "At 21:30. [1]"


@given(st.text(max_size=200))
def test_framing_is_what_botocore_reads(text: str) -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(eventstream.event("contentBlockDelta", {"delta": {"text": text}}))
    buffer.add_data(eventstream.exception("throttlingException", "slow"))
    messages: list[Any] = list(buffer)
    event, error = messages
    assert event.headers[":event-type"] == "contentBlockDelta"
    assert json.loads(event.payload) == {"delta": {"text": text}}
    assert error.headers[":message-type"] == "exception"
    assert json.loads(error.payload)["message"] == "slow"


def test_conversation_is_forwarded_in_the_other_servers_shape() -> None:
    use = {"toolUse": {"toolUseId": "t", "name": "look", "input": {"q": 1}}}
    result = {"toolResult": {"toolUseId": "t", "content": [{"json": {"a": 1}}]}}
    body = {
        "system": [{"text": "Be brief."}],
        "messages": [
            {"role": "user", "content": [{"text": "hi"}]},
            {"role": "assistant", "content": [use]},
            {"role": "user", "content": [result, {"text": "and?"}]},
        ],
        "inferenceConfig": {"maxTokens": 5, "topP": 0.5},
        "toolConfig": {"tools": [{"toolSpec": {"name": "look", "inputSchema": {"json": {}}}}]},
    }
    sent = forwarding.request_body(body, "llama")
    assert [message["role"] for message in sent["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
        "user",
    ]
    assert sent["messages"][2]["tool_calls"][0]["function"] == {
        "name": "look",
        "arguments": '{"q": 1}',
    }
    assert (sent["max_tokens"], sent["top_p"], sent["tools"][0]["type"]) == (5, 0.5, "function")
