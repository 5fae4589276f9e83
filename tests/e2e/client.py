"""A client of the backend as its users have one: REST over `requests`, chat over `websockets`."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.e2e.document import check_answer, check_frame

type Frame = dict[str, Any]

FINAL = {"completed", "cancelled", "failed"}
PASSWORD = "correct horse battery staple"


class Rest:
    """Calls `{api_url}/api/v1…`; `token` is sent as the bearer when there is one."""

    def __init__(self, api_url: str, token: str | None = None) -> None:
        self.api_url = api_url
        self.session = requests.Session()
        if token:
            self.session.headers["Authorization"] = f"Bearer {token}"

    def __call__(
        self, method: str, path: str, body: Any = None, **options: Any
    ) -> requests.Response:
        """Send a request; `path` stands below `/api/v1` unless it is one of the root's.

        Whatever is answered must be as the document says.
        """
        root = "" if path.startswith("/health") else "/api/v1"
        answer = self.session.request(
            method, f"{self.api_url}{root}{path}", json=body, timeout=60, **options
        )
        check_answer(self.api_url, answer)
        return answer

    def ok(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """Send a request that must succeed, and return its body."""
        answer = self(method, path, body, **options)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None


@dataclass(slots=True)
class Turn:
    """What a client saw of one answer; frames whose `seq` it has seen before are dropped."""

    ack: Frame
    frames: list[Frame] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    @property
    def message_id(self) -> str:
        return str(self.ack["message_id"])

    @property
    def seq(self) -> int:
        return self.frames[-1]["seq"] if self.frames else 0

    @property
    def final(self) -> Frame | None:
        return next((f for f in self.frames if _is_final(f)), None)

    @property
    def text(self) -> str:
        return "".join(f["content"] for f in self.frames if f["status"] == "streaming")

    @property
    def tools(self) -> list[tuple[str, str]]:
        """(tool, status) of the tool frames."""
        return [(f["tool"], f["status"]) for f in self.frames if f["type"] == "tool"]

    def take(self, frame: Frame) -> None:
        """Take a frame as the contract's simplest client does: by `seq`, new ones only."""
        mine = frame.get("message_id") == self.message_id
        if mine and frame["type"] in {"assistant", "tool"}:
            if any(seen["seq"] == frame["seq"] for seen in self.frames):
                return
            self.frames.append(frame)
            self.times.append(time.monotonic())

    def check(self) -> Frame:
        """Assert what holds of every ended turn, and return its final frame."""
        assert [f["seq"] for f in self.frames] == list(range(1, len(self.frames) + 1))
        finals = [f for f in self.frames if _is_final(f)]
        assert len(finals) == 1
        assert finals[0] is self.frames[-1]
        if not finals[0].get("content_truncated"):
            assert finals[0]["content"] == self.text
        return finals[0]


def _is_final(frame: Frame) -> bool:
    return frame["type"] == "assistant" and frame["status"] in FINAL


class Chat:
    """One WebSocket connection."""

    def __init__(self, websocket_url: str, **query: str) -> None:
        [(name, value)] = query.items()
        self.connection = connect(
            f"{websocket_url}?{name}={value}", open_timeout=60, max_size=2**20
        )
        self.socket: ClientConnection = self.connection.__enter__()
        self.unread: list[Frame] = []

    def __enter__(self) -> "Chat":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, frame: Frame | str) -> None:
        self.socket.send(frame if isinstance(frame, str) else json.dumps(frame))

    def drop(self) -> None:
        """Cut the connection as a lost network does: without a closing handshake."""
        self.socket.socket.close()

    def receive(self, timeout: float = 60) -> Frame:
        """The next frame, which must be as the document says. Raises `TimeoutError`, or
        `ConnectionClosed`."""
        frame: Frame = json.loads(self.socket.recv(timeout=timeout))
        check_frame(frame)
        return frame

    def until(self, wanted: Callable[[Frame], bool], timeout: float = 60) -> Frame:
        """The next frame that is `wanted`; others are kept in `unread`."""
        deadline = time.monotonic() + timeout
        while True:
            frame = self.receive(max(deadline - time.monotonic(), 0.01))
            if wanted(frame):
                return frame
            self.unread.append(frame)

    def start(self, chatbot_id: str, content: str, **fields: Any) -> Turn:
        """Send a `chat` frame and wait for its `ack`."""
        mark = fields.setdefault("client_message_id", str(uuid4()))
        self.send({"type": "chat", "chatbot_id": chatbot_id, "content": content, **fields})
        answer = self.until(
            lambda f: f["type"] in {"ack", "error"} and f.get("client_message_id") == mark
        )
        assert answer["type"] == "ack", answer
        return Turn(answer)

    def follow(self, turn: Turn, timeout: float = 90, frames: int | None = None) -> Turn:
        """Read until the turn's final frame, or until it has `frames` frames."""
        deadline = time.monotonic() + timeout
        for frame in self.unread:
            turn.take(frame)
        while turn.final is None and (frames is None or len(turn.frames) < frames):
            turn.take(self.receive(max(deadline - time.monotonic(), 0.01)))
        return turn

    def ask(self, chatbot_id: str, content: str, **fields: Any) -> Turn:
        """A whole turn: `chat`, `ack`, frames, final frame."""
        return self.follow(self.start(chatbot_id, content, **fields))


@dataclass(slots=True)
class Tenant:
    """A user with a workspace and a chatbot of their own."""

    email: str
    user: dict[str, Any]
    tokens: dict[str, Any]
    rest: Rest
    workspace_id: str
    chatbot_id: str
    websocket_url: str

    @property
    def path(self) -> str:
        return f"/workspaces/{self.workspace_id}"

    @contextmanager
    def chat(self) -> Iterator[Chat]:
        """A connection opened with the user's access token."""
        with Chat(self.websocket_url, token=self.tokens["access_token"]) as chat:
            yield chat

    def messages(self, conversation_id: str) -> list[dict[str, Any]]:
        """All messages of a conversation, by its pages, oldest first."""
        found: list[dict[str, Any]] = []
        cursor = None
        while True:
            page = self.rest.ok(
                "GET",
                f"{self.path}/conversations/{conversation_id}/messages",
                params={"limit": "100"} | ({"cursor": cursor} if cursor else {}),
            )
            found += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return found


def sign_up(api_url: str, websocket_url: str) -> Tenant:
    """Register a new user and give them a workspace and a chatbot, all through the front door."""
    mark = uuid4().hex[:12]
    email = f"user-{mark}@example.com"
    open_rest = Rest(api_url)
    user = open_rest.ok(
        "POST",
        "/auth/register",
        {"email": email, "username": mark, "full_name": f"User {mark}", "password": PASSWORD},
    )
    tokens = open_rest.ok("POST", "/auth/login", {"email": email, "password": PASSWORD})
    rest = Rest(api_url, tokens["access_token"])
    workspace = rest.ok("POST", "/workspaces", {"name": f"Workspace {mark}"})
    chatbot = rest.ok(
        "POST",
        f"/workspaces/{workspace['id']}/chatbots",
        {"name": "Assistant", "system_prompt": "You help {{ user.full_name }}."},
    )
    return Tenant(email, user, tokens, rest, workspace["id"], chatbot["id"], websocket_url)


__all__ = [
    "FINAL",
    "PASSWORD",
    "Chat",
    "ConnectionClosed",
    "Frame",
    "Rest",
    "Tenant",
    "Turn",
    "sign_up",
]
