"""A chat in the terminal: Ctrl-C cancels an answer, `/new` starts anew, `/quit` ends."""

import json
import sys
import uuid
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from localstack.layout import StackError
from localstack.seed import Api

_ANSWER_SECONDS = 900
_ENDS = {"completed", "cancelled", "failed"}


class Chat:
    """One connection, one conversation at a time."""

    def __init__(self, outputs: dict[str, Any]) -> None:
        self._outputs = outputs
        self._conversation: str | None = None
        self._message: str | None = None

    def _connect(self) -> ClientConnection:
        api = Api(self._outputs["api_url"])
        api.log_in(self._outputs["admin_email"], self._outputs["admin_password"])
        ticket = api("POST", "/auth/ws-ticket")["ticket"]
        try:
            return connect(f"{self._outputs['websocket_url']}?ticket={ticket}", open_timeout=30)
        except InvalidStatus as error:
            raise StackError(f"The WebSocket refused the connection: {error}") from error

    def ask(self, socket: ClientConnection, content: str) -> dict[str, Any]:
        """Send a message, print its answer as it streams, and return the final frame."""
        mark = str(uuid.uuid4())
        frame = {
            "type": "chat",
            "chatbot_id": self._outputs["chatbot_id"],
            "content": content,
            "client_message_id": mark,
        }
        if self._conversation:
            frame["conversation_id"] = self._conversation
        socket.send(json.dumps(frame))
        seen = 0
        while True:
            got = json.loads(socket.recv(timeout=_ANSWER_SECONDS))
            if "type" not in got:  # API Gateway's own
                print(f"[{got['message']}]")
                return dict(got)
            if got["type"] == "error":
                print(f"[{got['code']}] {got['detail']}")
                return dict(got)
            if got["type"] == "ack" and got.get("client_message_id") == mark:
                self._conversation, self._message = got["conversation_id"], got["message_id"]
            if got.get("message_id") != self._message or got.get("seq", 0) <= seen:
                continue
            seen = got["seq"]
            if got["type"] == "tool":
                print(f"[{got['tool']}: {got['status']}]")
            elif got["status"] in _ENDS:
                print("" if got["status"] == "completed" else f" [{got['status']}]")
                for cited in got["citations"]:
                    print(f"  [{cited['number']}] {cited['title']} {cited['url'] or ''}")
                return dict(got)
            else:
                print(got["content"], end="", flush=True)

    def first_answer(self, content: str) -> None:
        """Ask once and print, for the end of `make up`.

        Raises `StackError` if it fails, or cites nothing of the seeded sources.
        """
        with self._connect() as socket:
            print(f"> {content}")
            end = self.ask(socket, content)
        if end.get("status") != "completed":
            raise StackError(f"The first answer failed: {end.get('error') or end.get('detail')}")
        if not end["citations"]:
            raise StackError("The first answer cites nothing: see make logs.")

    def talk(self) -> None:
        """Read lines and print answers until the person leaves."""
        socket = self._connect()
        print("Chat with the assistant. /new starts a new conversation, /quit ends.")
        while True:
            try:
                content = input("> ").strip()
            except (EOFError, KeyboardInterrupt):
                break
            if content == "/quit":
                break
            if content == "/new":
                self._conversation = None
            elif content:
                socket = self._ask_patiently(socket, content)
        socket.close()

    def _ask_patiently(self, socket: ClientConnection, content: str) -> ClientConnection:
        """Ask; Ctrl-C cancels, and a connection that went away is opened anew."""
        try:
            self.ask(socket, content)
        except KeyboardInterrupt:
            socket.send(json.dumps({"type": "cancel", "message_id": self._message}))
            print(" [cancelled]")
        except ConnectionClosed:
            socket = self._connect()
            self.ask(socket, content)
        return socket


def talk(outputs: dict[str, Any]) -> None:
    Chat(outputs).talk()
    sys.stdout.flush()
