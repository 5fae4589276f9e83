"""What the chat's functions stand on, in memory: tables, queue, gateway, model, database."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from botocore.exceptions import ClientError, ReadTimeoutError

from chatbot import aws, connections, database, purging
from chatbot.connections import Connection
from chatbot.errors import Forbidden, NotFound, RetryLater, Unauthorized
from chatbot.settings import settings
from chatbot.tool_calls import Call, tool
from functions.chat_end import handler as chat_end
from functions.chat_stream import handler as chat_stream
from functions.chat_stream import model
from functions.purge import handler as purge
from functions.ws_message import handler as ws_message

type Frame = dict[str, Any]

FINAL = {"completed", "cancelled", "failed"}
WORKSPACE = "0190aaaa-0000-7000-8000-000000000000"
CHATBOT = "0190cccc-0000-7000-8000-000000000000"
USER = "0190a000-0000-7000-8000-00000000000a"
OTHER_USER = "0190b000-0000-7000-8000-00000000000b"
KEYS: dict[str, tuple[tuple[str, str], ...]] = {
    "conversations": (("conversation_id", "S"), ("item", "S")),
    "turns": (("message_id", "S"), ("seq", "N")),
    "connections": (("topic", "S"), ("connection_id", "S")),
    "usage": (("workspace_id", "S"), ("item", "S")),
    "feedback": (("workspace_id", "S"), ("item", "S")),
    "documents": (("document_id", "S"),),
    "jobs": (("source_id", "S"), ("job_id", "S")),
}
INDEXES = {
    "documents": {"by_workspace": ("workspace_id", "created_key")},
    "conversations": {
        "by_owner": ("owner", "created_key"),
        "by_user": ("user_id", "created_key"),
        "by_workspace": ("workspace_id", "created_key"),
    },
    "feedback": {
        "by_chatbot": ("chatbot", "created_key"),
        "by_user": ("user_id", "created_key"),
        "by_workspace": ("workspace_id", "created_key"),
    },
    "connections": {
        "by_connection": ("connection_id", "topic"),
        "by_user": ("user_id", "connection_id"),
    },
}


class Killed(BaseException):
    """The process dies here: nothing that catches errors sees it."""


def make_tables() -> None:
    """The tables as terraform/tables.tf has them; the fixture `cloud` makes `guards`."""
    for table, keys in KEYS.items():
        indexes = INDEXES.get(table, {})
        attributes = dict(keys) | {name: "S" for pair in indexes.values() for name in pair}
        made: dict[str, Any] = {
            "TableName": table,
            "KeySchema": _schema([name for name, _ in keys]),
            "AttributeDefinitions": [
                {"AttributeName": name, "AttributeType": kind} for name, kind in attributes.items()
            ],
            "BillingMode": "PAY_PER_REQUEST",
        }
        if indexes:
            made["GlobalSecondaryIndexes"] = [
                {
                    "IndexName": name,
                    "KeySchema": _schema(list(pair)),
                    "Projection": {"ProjectionType": "ALL"},
                }
                for name, pair in indexes.items()
            ]
        aws.client("dynamodb").create_table(**made)


def _schema(names: list[str]) -> list[dict[str, str]]:
    kinds = ("HASH", "RANGE")
    return [{"AttributeName": n, "KeyType": k} for n, k in zip(names, kinds, strict=False)]


def one_at_a_time(client: Any, monkeypatch: Any) -> None:
    """Calls of DynamoDB are atomic; those of its stand-in, on several threads, are not."""
    lock, call = threading.RLock(), client._make_api_call

    def locked(name: str, values: dict[str, Any]) -> Any:
        with lock:
            return call(name, values)

    monkeypatch.setattr(client, "_make_api_call", locked)


class Gateway:
    """Stands in for the management API: keeps what each connection got; some are gone or ill."""

    def __init__(self) -> None:
        self.sent: dict[str, list[Frame]] = {}
        self.gone: set[str] = set()
        self.failures: dict[str, int] = {}  # how many posts to a connection fail yet
        self.slow: dict[str, float] = {}
        self.closed: list[str] = []
        self.on_post: Callable[[str, Frame], None] = lambda *_: None
        self.lock = threading.Lock()

    def post_to_connection(self, ConnectionId: str, Data: bytes) -> None:  # noqa: N803
        assert len(Data) <= 32 * 1024
        time.sleep(self.slow.get(ConnectionId, 0))
        if ConnectionId in self.gone:
            raise error("GoneException", 410)
        if self.failures.get(ConnectionId, 0) > 0:
            self.failures[ConnectionId] -= 1
            if self.failures[ConnectionId] % 2:
                raise ReadTimeoutError(endpoint_url="gateway")
            raise error("LimitExceededException", 429)
        frame = json.loads(Data)
        self.on_post(ConnectionId, frame)
        with self.lock:
            self.sent.setdefault(ConnectionId, []).append(frame)

    def delete_connection(self, ConnectionId: str) -> None:  # noqa: N803
        self.closed.append(ConnectionId)
        self.gone.add(ConnectionId)


def error(code: str, status: int = 400) -> ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": code},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(response, "Operation")


class Model:
    """Stands in for Bedrock: each call takes the next script, a list of steps.

    A step is a text, an event, a number of seconds to be silent, an exception to raise, or a
    function to call. A script without a `messageStop` breaks off.
    """

    END: tuple[Any, ...] = (
        {"messageStop": {"stopReason": "end_turn"}},
        {"metadata": {"usage": {"inputTokens": 11, "outputTokens": 7}}},
    )

    def __init__(self) -> None:
        self.scripts: list[list[Any]] = []
        self.requests: list[dict[str, Any]] = []

    def says(self, *texts: Any) -> None:
        self.scripts.append([*texts, *self.END])

    def asks(self, *calls: tuple[str, str, Any], text: str = "") -> None:
        """The next call's answer: a text, then (tool_use_id, tool, input) to be used."""
        steps: list[Any] = [text] if text else []
        for key, name, value in calls:
            written = value if isinstance(value, str) else json.dumps(value)
            half = len(written) // 2
            steps += [
                {"contentBlockStart": {"start": {"toolUse": {"toolUseId": key, "name": name}}}},
                *(
                    {"contentBlockDelta": {"delta": {"toolUse": {"input": c}}}}
                    for c in (written[:half], written[half:])
                ),
                {"contentBlockStop": {"contentBlockIndex": 1}},
            ]
        self.scripts.append([*steps, {"messageStop": {"stopReason": "tool_use"}}, self.END[1]])

    def converse_stream(self, **request: Any) -> dict[str, Any]:
        self.requests.append(request)
        script = self.scripts.pop(0) if self.scripts else ["Hello", " there.", *self.END]
        if script and isinstance(script[0], Exception):
            raise script[0]
        return {"stream": _Stream(script)}


class _Stream:
    def __init__(self, script: list[Any]) -> None:
        self.script, self.closed = script, threading.Event()
        self._raw_stream = self
        self._raw_stream = self  # urllib3's response, whose socket another thread may shut

    def shutdown(self) -> None:
        self.closed.set()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield {"messageStart": {"role": "assistant"}}
        for step in self.script:
            match step:
                case str():
                    yield {"contentBlockDelta": {"delta": {"text": step}, "contentBlockIndex": 0}}
                case int() | float():
                    self.closed.wait(step)
                case Exception():
                    raise step
                case dict():
                    yield step
                case _:
                    step()
            if self.closed.is_set():
                raise OSError("closed")

    def close(self) -> None:
        self.closed.set()


@dataclass
class Machine:
    """Stands in for Step Functions: keeps the inputs of executions, which a test then runs."""

    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    stopped: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    lost: bool = False

    def start_execution(self, stateMachineArn: str, name: str, input: str) -> None:  # noqa: A002, ARG002, N803
        if self.lost:
            raise ReadTimeoutError(endpoint_url="states")
        if name in self.inputs:
            raise error("ExecutionAlreadyExists")
        self.inputs[name] = json.loads(input)

    def send_task_success(self, taskToken: str, output: str) -> None:  # noqa: N803
        assert json.loads(output) == {}
        self.tokens.append(taskToken)

    def stop_execution(self, executionArn: str, error: str) -> None:  # noqa: ARG002, N803
        self.stopped.append(executionArn.rsplit(":", 1)[1])


@dataclass
class LambdaContext:
    """`ends` is on the clock of time.monotonic()."""

    ends: float = field(default_factory=lambda: time.monotonic() + 900)
    aws_request_id: str = field(default_factory=lambda: str(uuid4()))

    def get_remaining_time_in_millis(self) -> int:
        return int((self.ends - time.monotonic()) * 1000)


class World:
    """All of it, and what clients and machine do with it."""

    def __init__(self, monkeypatch: Any) -> None:
        make_tables()
        aws.client("sqs").create_queue(QueueName="turn-watch")
        self.gateway, self.model, self.machine = Gateway(), Model(), Machine()
        self.purges = Machine()
        self.tools: dict[str, Callable[[Call], object]] = {}
        self.audited: list[dict[str, Any]] = []
        self.users: dict[str, int] = {USER: 1, OTHER_USER: 1}
        self.permissions: dict[str, list[str]] = {USER: ["chat:use"]}
        self.workspace_id = WORKSPACE
        self.quota: dict[str, Any] = {}
        self.chatbot: dict[str, Any] = {
            "id": CHATBOT,
            "name": "Assistant",
            "description": "",
            "system_prompt": "You help.",
            "model_id": "amazon.nova-lite-v1:0",
            "temperature": 0.5,
            "top_p": None,
            "max_tokens": 100,
            "tools": [],
            "max_tool_rounds": 5,
            "knowledge": {"enabled": False, "top_k": 5},
            "guardrail_enabled": False,
        }
        real = aws.client
        one_at_a_time(real("dynamodb"), monkeypatch)

        def client(service: str, endpoint_url: str | None = None) -> Any:
            return self.machine if service == "stepfunctions" else real(service, endpoint_url)

        monkeypatch.setattr("functions.ws_message.execution.client", client)
        monkeypatch.setattr(purging, "client", lambda _: self.purges)
        monkeypatch.setattr(connections, "_gateway", lambda: self.gateway)
        monkeypatch.setattr(model, "_bedrock", lambda: self.model)
        monkeypatch.setattr(database, "execute", self._chat_context)
        monkeypatch.setattr(database, "query", self._query)

    def _chat_context(self, sql: str, values: dict[str, Any], **_: bool) -> Any:
        assert "app.chat_context(" in sql
        params = values["params"]
        self._check(params["user_id"], params["token_version"])
        if params["chatbot_id"] != CHATBOT:
            raise NotFound
        return {
            "user": {
                "id": params["user_id"],
                "full_name": "Ann",
                "username": "ann",
                "email": "a@b",
            },
            "workspace": {
                "id": self.workspace_id,
                "name": "Works",
                "slug": "works",
                "quota": self.quota,
            },
            "chatbot": self.chatbot,
            "permissions": self.permissions[params["user_id"]],
        }

    def _query(self, caller: Any, statement: str, params: Any = None, **options: Any) -> Any:
        self._check(caller.user_id, caller.token_version)
        if options["workspace_id"] != WORKSPACE:
            raise NotFound
        if options.get("permission") not in (None, *self.permissions[caller.user_id]):
            raise Forbidden
        if "app.chatbots" in statement:
            return params["id"] if params["id"] == CHATBOT else None
        if "app.audit_log" in statement:
            self.audited.append(params)
            return "id"
        return self.permissions[caller.user_id]

    def _check(self, user_id: str, token_version: int) -> None:
        if self.users.get(user_id) != token_version:
            raise Unauthorized
        if user_id not in self.permissions:
            raise NotFound
        if "chat:use" not in self.permissions[user_id]:
            raise Forbidden

    # --- the client

    def connect(self, connection_id: str, user_id: str = USER) -> str:
        connections.connect(Connection(connection_id, user_id, self.users[user_id]))
        return connection_id

    def send(self, connection_id: str, frame: Any, request_id: str = "request") -> list[Frame]:
        """Send a frame (a text as it is); what the connection got while it was served."""
        before = len(self.got(connection_id))
        event = {
            "requestContext": {"connectionId": connection_id, "requestId": request_id},
            "body": frame if isinstance(frame, str) else json.dumps(frame),
            "isBase64Encoded": False,
        }
        assert ws_message.handler(event, None) == {"statusCode": 200}
        return self.got(connection_id)[before:]

    def chat(self, connection_id: str, content: str = "Hi", **fields: Any) -> Frame:
        """Send a chat; its first answer, `ack` or `error`."""
        frame = {"type": "chat", "chatbot_id": CHATBOT, "content": content, **fields}
        answers = self.send(connection_id, frame)
        return next(a for a in answers if a["type"] in ("ack", "error"))

    def got(self, connection_id: str) -> list[Frame]:
        return list(self.gateway.sent.get(connection_id, []))

    def frames(self, connection_id: str, message_id: str) -> list[Frame]:
        """The answer's frames as the contract's simplest client keeps them: by `seq`, once."""
        kept: dict[int, Frame] = {}
        for frame in self.got(connection_id):
            if frame["type"] in ("assistant", "tool") and frame["message_id"] == message_id:
                kept.setdefault(frame["seq"], frame)
        return list(kept.values())

    def waits(self, connection_id: str, seq: int, times: int = 1) -> Callable[[], None]:
        """A step of the model's: to fall silent until a frame has been sent so many times."""

        def wait() -> None:
            deadline = time.monotonic() + 20
            while [f.get("seq") for f in self.got(connection_id)].count(seq) < times:
                assert time.monotonic() < deadline
                time.sleep(0.005)

        return wait

    # --- the machinery

    def stream(self, message_id: str, context: Any = None, rounds: int = 0) -> dict[str, Any]:
        event = {"message_id": message_id, "request_id": "request", "rounds": rounds}
        made = chat_stream.handler(event, context or LambdaContext())
        answer: dict[str, Any] = json.loads(json.dumps(made))
        return answer

    def end(self, result: dict[str, Any]) -> dict[str, Any]:
        return chat_end.handler(result, None)

    def run_tool(self, item: dict[str, Any]) -> None:
        """One try of the state RunTool, and EndTool where it fails for good."""
        run = tool(self.tools[item["tool"]])
        try:
            run(item, LambdaContext())
        except RetryLater:
            raise
        except Exception as error:  # noqa: BLE001  as the machine catches all
            self.end({**item, "error": type(error).__name__})

    def run(self, message_id: str) -> dict[str, Any]:
        """The machine's way: stream, run tools, stream, then end."""
        result = self.stream(message_id)
        while "calls" in result:
            for item in result["calls"]:
                self.run_tool(item)
            result = self.stream(message_id, rounds=result["rounds"])
        return self.end(result)

    def die(self, message_id: str) -> None:
        """What EventBridge tells of an execution that died."""
        chat_end.handler({"id": "event", "detail": {"name": message_id}}, None)

    def purge(self) -> None:
        """Let the executions run that were started to remove what was deleted."""
        while self.purges.inputs:
            _, event = self.purges.inputs.popitem()
            while (event := purge.handler(event, None))["has_more"]:
                pass

    def watch(self, message_id: str) -> dict[str, Any]:
        """What the queue brings once its delay is over."""
        record = {"messageId": "1", "body": json.dumps({"message_id": message_id})}
        return chat_end.handler({"Records": [record]}, None)

    # --- what is stored

    def item(self, table: str, **key: Any) -> dict[str, Any] | None:
        from chatbot import tables

        return tables.get(table, key)

    def message(self, conversation_id: str, message_id: str) -> dict[str, Any]:
        found = self.item(
            settings().conversations_table,
            conversation_id=conversation_id,
            item=f"MESSAGE#{message_id}",
        )
        assert found is not None
        return found

    def conversation(self, conversation_id: str) -> dict[str, Any]:
        found = self.item(
            settings().conversations_table, conversation_id=conversation_id, item="HEAD"
        )
        assert found is not None
        return found

    def usage(self, item: str) -> dict[str, Any]:
        """A row of the table `usage`, of the workspace that the user is in."""
        return self.item(settings().usage_table, workspace_id=self.workspace_id, item=item) or {}

    def check_ended(self, connection_id: str, ack: Frame) -> Frame:
        """Assert what holds of every turn that ended, and return its final frame."""
        frames = self.frames(connection_id, ack["message_id"])
        assert [frame["seq"] for frame in frames] == list(range(1, len(frames) + 1))
        spoken = [frame for frame in frames if frame["type"] == "assistant"]
        finals = [frame for frame in spoken if frame["status"] in FINAL]
        assert len(finals) == 1
        final = finals[0]
        assert final is frames[-1]
        text = "".join(frame["content"] for frame in spoken[:-1])
        assert final.get("content", text) == text
        stored = self.message(ack["conversation_id"], ack["message_id"])
        assert stored["content"] == text
        for name in ("status", "stop_reason", "usage", "citations"):
            assert stored[name] == final[name], name
        assert stored["error"] == final.get("error")
        assert self.message(ack["conversation_id"], ack["user_message_id"])["content"]
        assert "running_turn" not in self.conversation(ack["conversation_id"])
        assert self.usage("RUNNING")["turns"] == 0
        assert UUID(ack["message_id"]).version == 7
        return final
