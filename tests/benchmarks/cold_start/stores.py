"""A small local server in the place of AWS: fixed answers, so that a first answer is a real one."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from chatbot import tables
from chatbot.identifiers import now_ms
from chatbot.turns import Head
from localstack.bedrock import eventstream

CHATBOT_ID = "0190cccc-0000-7000-8000-00000000000c"
CHATBOT = {
    "id": CHATBOT_ID,
    "created_at": "2026-11-24T10:00:00+00:00",
    "updated_at": "2026-11-24T10:00:00+00:00",
    "version": 1,
    "name": "assistant",
    "system_prompt": "You are an assistant.",
    "model_id": "amazon.nova-lite-v1:0",
    "temperature": 0.5,
    "max_tokens": 1000,
    "knowledge": {"enabled": False},
    "guardrail_enabled": False,
}
MESSAGE_ID = "0190ffff-0000-7000-8000-00000000000f"
QUESTION_ID = "0190ffff-0000-7000-8000-00000000000e"
CONVERSATION_ID = "0190dddd-0000-7000-8000-00000000000d"


def turn() -> dict[str, Any]:
    """A turn that waits for its answer, as the table holds it."""
    now = now_ms()
    values = {
        "message_id": MESSAGE_ID,
        "status": "running",
        "conversation_id": CONVERSATION_ID,
        "user_message_id": QUESTION_ID,
        "model_id": CHATBOT["model_id"],
        "opened_at": now,
        "lease_until": now + 20_000,
        "reserved_tokens": 10_000,
        "reserved_cost": "10000",
        "snapshot": json.dumps({"user": {}, "workspace": {"quota": {}}, "chatbot": CHATBOT}),
    }
    numbers = {name: 1 for name, kind in Head.__annotations__.items() if kind is int}
    texts = {name: "1" for name, kind in Head.__annotations__.items() if kind is str}
    zero = {"ended_at": 0, "final_seq": 0, "producing_until": 0, "result": ""}
    return tables.pack({"seq": 0, **numbers, **texts, **zero, **values})


QUESTION = tables.pack(
    {
        "conversation_id": CONVERSATION_ID,
        "item": f"MESSAGE#{QUESTION_ID}",
        "message_id": QUESTION_ID,
        "role": "user",
        "status": "completed",
        "citations": [],
        "content": "Say a word.",
    }
)
STREAM = b"".join(
    [
        eventstream.event("messageStart", {"role": "assistant"}),
        eventstream.event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "A."}}),
        eventstream.event("contentBlockStop", {"contentBlockIndex": 0}),
        eventstream.event("messageStop", {"stopReason": "end_turn"}),
        eventstream.event(
            "metadata",
            {
                "usage": {"inputTokens": 10, "outputTokens": 1, "totalTokens": 11},
                "metrics": {"latencyMs": 1},
            },
        ),
    ]
)


frames_stored_at: list[float] = []  # by `time.perf_counter`
statements: list[str] = []  # that the Data API got


def answer_of(path: str, target: str, body: Any) -> bytes:
    """What AWS would have answered: the Data API a chatbot, DynamoDB the turn, Bedrock a word."""
    if path.endswith("/converse-stream"):
        return STREAM
    if path == "/Execute":
        statements.append(body["sql"])
        return json.dumps({"records": [[{"stringValue": json.dumps(CHATBOT)}]]}).encode()
    operation = target.partition(".")[2]
    match operation, body.get("TableName"):
        case "UpdateItem", "guards":
            answer: dict[str, Any] = {"Attributes": {"calls": {"N": "1"}}}
        case "UpdateItem", _:
            answer = {"Attributes": turn()}
        case "GetItem", "turns":
            answer = {"Item": turn()}
        case "PutItem", "turns":
            frames_stored_at.append(time.perf_counter())
            answer = {}
        case "Query", "conversations":
            answer = {"Items": [QUESTION], "Count": 1}
        case "Query", _:
            answer = {"Items": [], "Count": 0}
        case _:
            answer = {}
    return json.dumps(answer).encode()


class _Aws(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet an answer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = answer_of(self.path, self.headers.get("X-Amz-Target", ""), body)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Be silent."""


@contextmanager
def serve() -> Iterator[str]:
    """The URL of the server, while it runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Aws)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
