"""The Bedrock stand-in by boto3's own client, held against the service's documentation."""

import json
import math
import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import boto3
import pytest
import requests
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

from tests.integration.parity.gateway import MINISTACK_PYTHON, ROOT, free_port, wait_until

MODEL = "us.anthropic.claude-sonnet-4-20250514-v1:0"
TITAN = "amazon.titan-embed-text-v2:0"
TOOLS = {"tools": [{"toolSpec": {"name": "search", "inputSchema": {"json": {"type": "object"}}}}]}


@dataclass(frozen=True)
class StandIn:
    url: str

    def client(self) -> Any:
        """A client that tries once, with connections enough for many streams."""
        return boto3.client(
            "bedrock-runtime",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}, max_pool_connections=80),
        )

    def stream(self, *turns: Any, **request: Any) -> Iterator[dict[str, Any]]:
        """The events of a conversation's answer; a turn is text or a list of blocks."""
        answer = self.client().converse_stream(
            modelId=MODEL, messages=conversation(*turns), **request
        )
        yield from answer["stream"]

    def requests(self) -> list[dict[str, Any]]:
        kept: list[dict[str, Any]] = requests.get(f"{self.url}/requests", timeout=5).json()
        return kept


def conversation(*turns: Any) -> list[dict[str, Any]]:
    return [
        {
            "role": ("user", "assistant")[position % 2],
            "content": [{"text": turn}] if isinstance(turn, str) else turn,
        }
        for position, turn in enumerate(turns)
    ]


def text_of(events: list[dict[str, Any]]) -> str:
    deltas = [e["contentBlockDelta"]["delta"] for e in events if "contentBlockDelta" in e]
    return "".join(delta.get("text", "") for delta in deltas)


def stop_reason(events: list[dict[str, Any]]) -> str:
    (reason,) = [e["messageStop"]["stopReason"] for e in events if "messageStop" in e]
    return str(reason)


@contextmanager
def running(**environment: str) -> Iterator[StandIn]:
    """A stand-in of its own process, with these variables."""
    port = free_port()
    process = subprocess.Popen(
        [MINISTACK_PYTHON, "-m", "localstack.bedrock"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "BEDROCK_PORT": str(port), **environment},
        stdout=subprocess.DEVNULL,
    )
    started = StandIn(f"http://127.0.0.1:{port}")

    def answers() -> bool:
        try:
            return requests.get(f"{started.url}/health", timeout=1).ok
        except requests.ConnectionError:
            return False

    try:
        assert wait_until(answers), "the stand-in did not start"
        yield started
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def standin() -> Iterator[StandIn]:
    with running() as started:
        yield started


def test_events_come_in_the_order_that_bedrock_documents(standin: StandIn) -> None:
    events = list(standin.stream("[[words 3]]"))
    assert [next(iter(event)) for event in events] == [
        "messageStart",
        *["contentBlockDelta"] * 3,
        "contentBlockStop",
        "messageStop",
        "metadata",
    ]
    usage = events[-1]["metadata"]["usage"]
    assert usage["outputTokens"] == math.ceil(len(text_of(events)) / 4)
    assert usage["totalTokens"] == usage["inputTokens"] + usage["outputTokens"]


def test_pieces_arrive_one_by_one_at_their_pace(standin: StandIn) -> None:
    started = time.monotonic()
    arrived = [
        time.monotonic() - started
        for event in standin.stream("[[words 20]] [[pace 50]] [[stall 0.5]]")
        if "contentBlockDelta" in event
    ]
    assert 0.5 <= arrived[0] < 1.5
    assert arrived[-1] - arrived[0] > 0.8


@pytest.mark.parametrize("text", ["a\n\n b\t", "👩‍👩‍👧‍👦🎉 日本語のテキスト", "] ]", "x" * 5000])
def test_answer_is_exactly_the_text_when_it_is_given(text: str, standin: StandIn) -> None:
    assert text_of(list(standin.stream(f"[[text {text}]]"))) == text


def test_words_are_the_same_every_time(standin: StandIn) -> None:
    first, second = (text_of(list(standin.stream("[[words 400]] [[pace 0]]"))) for _ in range(2))
    assert first == second
    assert len(first.split(" ")) == 400


def test_first_calls_are_throttled_as_often_as_asked(standin: StandIn) -> None:
    words = "[[throttle 2]] hello"
    for _ in range(2):
        with pytest.raises(ClientError) as caught:
            list(standin.stream(words))
        assert caught.value.response["Error"]["Code"] == "ThrottlingException"
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert text_of(list(standin.stream(words))) == "You asked: hello"


def test_stream_breaks_after_as_many_pieces_as_asked(standin: StandIn) -> None:
    seen: list[dict[str, Any]] = []
    with pytest.raises(EventStreamError, match="modelStreamErrorException"):
        seen.extend(standin.stream("[[words 50]] [[break 10]]"))
    assert sum("contentBlockDelta" in event for event in seen) == 10
    assert not any("messageStop" in event for event in seen)


def test_tools_are_asked_for_at_once_and_answered_from(standin: StandIn) -> None:
    words = '[[tool search {"q": "a]]b", "n": [[1]]}]] [[tool search {}]]'
    answer = standin.client().converse(
        modelId=MODEL, messages=conversation(words), toolConfig=TOOLS
    )
    uses = [block["toolUse"] for block in answer["output"]["message"]["content"]]
    assert [use["input"] for use in uses] == [{"q": "a]]b", "n": [[1]]}, {}]
    assert answer["stopReason"] == "tool_use"
    results = [
        {"toolResult": {"toolUseId": use["toolUseId"], "content": [{"text": f"found {number}"}]}}
        for number, use in enumerate(uses)
    ]
    turns = (words, answer["output"]["message"]["content"], results)
    events = list(standin.stream(*turns, toolConfig=TOOLS))
    assert text_of(events) == "The tools answered: found 0 found 1"
    assert stop_reason(events) == "end_turn"


def test_tool_is_asked_for_again_when_it_is_to_loop(standin: StandIn) -> None:
    words = "[[tool-loop search]]"
    use = {"toolUse": {"toolUseId": "one", "name": "search", "input": {}}}
    result = {"toolResult": {"toolUseId": "one", "content": [{"json": {"a": 1}}]}}
    events = list(standin.stream(words, [use], [result], toolConfig=TOOLS))
    assert stop_reason(events) == "tool_use"


def test_answer_stops_at_the_limits_of_its_request(standin: StandIn) -> None:
    cut = list(standin.stream("[[words 100]]", inferenceConfig={"maxTokens": 5}))
    assert stop_reason(cut) == "max_tokens"
    assert 0 < len(text_of(cut)) <= 20
    assert stop_reason(list(standin.stream("[[max-tokens]] x"))) == "max_tokens"
    events = list(standin.stream("[[text a b END c]]", inferenceConfig={"stopSequences": ["END"]}))
    assert (text_of(events), stop_reason(events)) == ("a b ", "stop_sequence")


def test_answer_quotes_the_passage_that_fits_the_question(standin: StandIn) -> None:
    passages = "[1] Cats sleep a lot. Dogs bark.\n[2] The office in Kyoto opens at nine."
    turn = [{"text": passages}, {"text": "When does the Kyoto office open?"}]
    assert text_of(list(standin.stream(turn))) == "The office in Kyoto opens at nine. [2]"


def test_directives_count_in_the_users_own_words_only(standin: StandIn) -> None:
    turn = [{"text": "[[text from a passage]]"}, {"text": "hello"}]
    assert text_of(list(standin.stream("[[words 9]]", "earlier", turn))) == "You asked: hello"


@pytest.mark.parametrize(
    ("turns", "says"),
    [
        ((), "messages field is empty"),
        (("a", "b"), "must end with a user message"),
        (([],), "content field in the Message object at messages.0 is empty"),
        ((" ",), "text field in the ContentBlock object at messages.0.content.0 is blank"),
        (
            ("a", [{"toolUse": {"toolUseId": "x", "name": "search", "input": {}}}], "b"),
            "Expected toolResult blocks at messages.2.content for the following Ids: x",
        ),
        (
            ("a", "b", [{"toolResult": {"toolUseId": "x", "content": [{"text": "r"}]}}]),
            "exceeds the number of toolUse blocks",
        ),
    ],
)
def test_conversation_is_refused_when_bedrock_would(
    turns: tuple[Any, ...], says: str, standin: StandIn
) -> None:
    with pytest.raises(ClientError) as caught:
        list(standin.stream(*turns, toolConfig=TOOLS))
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert says in caught.value.response["Error"]["Message"]


def test_roles_have_to_alternate(standin: StandIn) -> None:
    messages = [*conversation("a"), *conversation("b")]
    with pytest.raises(ClientError, match="must alternate between user and assistant roles"):
        standin.client().converse(modelId=MODEL, messages=messages)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperture": 1},
        {"inferenceConfig": {"maxTokens": 0}},
        {"inferenceConfig": {"maxTokens": "10"}},
        {"inferenceConfig": {"maxTokens": 1_000_000}},
        {"inferenceConfig": {"temperature": 1.5}},
        {"messages": [{"role": "user", "content": [{"text": "a", "image": {}}]}]},
    ],
)
def test_body_is_refused_when_a_field_is_unknown_or_wrong(
    wrong: dict[str, Any], standin: StandIn
) -> None:
    # Past boto3, which would not send them.
    answer = requests.post(
        f"{standin.url}/model/{MODEL}/converse",
        json={"messages": conversation("a"), **wrong},
        headers={"Authorization": "AWS4-HMAC-SHA256"},
        timeout=5,
    )
    assert answer.status_code == 400
    assert answer.headers["x-amzn-ErrorType"] == "ValidationException"


def embed(standin: StandIn, text: str, **options: Any) -> list[float]:
    body = json.dumps({"inputText": text, **options})
    answer = standin.client().invoke_model(modelId=TITAN, body=body)
    vector: list[float] = json.loads(answer["body"].read())["embedding"]
    return vector


def test_embeddings_are_near_when_texts_are_alike(standin: StandIn) -> None:
    def likeness(first: str, second: str) -> float:
        pairs = zip(embed(standin, first), embed(standin, second), strict=True)
        return sum(a * b for a, b in pairs)

    question = "How do I reset my password?"
    assert likeness(question, question) == pytest.approx(1)
    near = likeness(question, "To reset a password, open the settings.")
    assert near > 0.25
    assert abs(likeness(question, "Bananas grow in warm countries.")) < 0.15
    assert len(embed(standin, "x", dimensions=256)) == 256


def test_request_is_kept_with_how_it_ended(standin: StandIn) -> None:
    requests.delete(f"{standin.url}/requests", timeout=5)
    list(standin.stream("[[words 2]]", system=[{"text": "Be kind."}]))
    answer = standin.client().converse_stream(
        modelId=MODEL, messages=conversation("[[words 500]] [[pace 20]]")
    )
    next(iter(answer["stream"]))
    answer["stream"].close()

    def ended() -> list[str]:
        outcomes = [request["outcome"] for request in standin.requests()]
        return outcomes if "running" not in outcomes else []

    assert wait_until(ended) == ["completed", "aborted"]
    first, second = standin.requests()
    assert first["body"]["system"] == [{"text": "Be kind."}]
    assert second["pieces"] < 500


def test_fifty_streams_run_side_by_side(standin: StandIn) -> None:
    client = standin.client()

    def read(number: int) -> str:
        answer = client.converse_stream(
            modelId=MODEL, messages=conversation(f"[[text answer {number}]] [[stall 1]]")
        )
        return text_of(list(answer["stream"]))

    started = time.monotonic()
    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(read, range(50)))
    assert answers == [f"answer {number}" for number in range(50)]
    assert time.monotonic() - started < 15


class OpenAi(BaseHTTPRequestHandler):
    """A chat completion of two words, a tool call in two parts, and usage."""

    def do_POST(self) -> None:  # http.server's name
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        call = {"index": 0, "id": "call_1", "function": {"name": "search", "arguments": '{"q": '}}
        deltas: list[dict[str, Any]] = [
            {"content": "Hello "},
            {"content": sent["messages"][-1]["content"]},
            {"tool_calls": [call]},
            {"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]},
        ]
        chunks: list[dict[str, Any]] = [{"choices": [{"delta": delta}]} for delta in deltas]
        chunks.append({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]})
        chunks.append({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}})
        self.send_response(200)
        self.end_headers()
        for chunk in chunks:
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")


def test_answer_is_the_other_servers_when_it_is_forwarded() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), OpenAi) as other:
        Thread(target=other.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{other.server_port}/v1"
        with running(BEDROCK_FORWARD_URL=url, BEDROCK_FORWARD_MODEL="llama") as standin:
            answer = standin.client().converse(
                modelId=MODEL, messages=conversation("you"), toolConfig=TOOLS
            )
        other.shutdown()
    text, use = answer["output"]["message"]["content"]
    assert text == {"text": "Hello you"}
    assert use["toolUse"] == {"toolUseId": "call_1", "name": "search", "input": {"q": 1}}
    assert answer["stopReason"] == "tool_use"
    assert answer["usage"] == {"inputTokens": 7, "outputTokens": 2, "totalTokens": 9}
