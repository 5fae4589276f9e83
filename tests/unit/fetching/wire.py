"""A real server on loopback, and a wire that shows every connection that anybody asks for.

To the client the server is a public one, home.example.org: what is asked of an address in `public`
goes to the server's port. All else is noted and refused.
"""

import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest

HOME = "home.example.org"
PUBLIC = "93.184.216.34"

type Serve = Callable[[socket.socket, bytes], None]


def answer(*lines: str, body: bytes = b"") -> Serve:
    """Send a head of these lines, and a body."""

    def serve(connection: socket.socket, _: bytes) -> None:
        head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "Connection: close", "", ""])
        connection.sendall(head.encode("latin-1") + body)

    return serve


class Wire:
    """`connected` are the addresses that a connection was asked for, `requests` the heads that
    reached the server. `wrap` makes the server's side of an accepted connection."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.public = {PUBLIC}
        self.connected: list[tuple[str, int]] = []
        self.requests: list[bytes] = []
        self.accepted = 0
        self.resolved: list[str] = []
        self.names: dict[str, list[Sequence[str]]] = {HOME: [[PUBLIC]]}
        self.serve: Serve = answer("HTTP/1.1 200 OK", body=b'"home"')
        self.wrap: Callable[[socket.socket], socket.socket] = lambda connection: connection
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._connect = socket.socket.connect
        self._look_up = socket.getaddrinfo
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        monkeypatch.setattr(socket.socket, "connect", lambda one, to: self._route(one, to))
        monkeypatch.setattr(socket, "getaddrinfo", self._resolve)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _route(self, one: socket.socket, address: Any) -> None:
        self.connected.append(address[:2])
        if address[0] not in self.public:
            raise ConnectionRefusedError
        self._connect(one, ("127.0.0.1", self.port))

    def _resolve(self, host: str, port: int, *rest: Any, **options: Any) -> list[Any]:
        answers = self.names.get(host.lower().rstrip("."))
        if answers is None:
            return self._look_up(host, port, *rest, **options)  # an address, or localhost
        self.resolved.append(host)
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(0, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._talk, args=[connection], daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with suppress(OSError), self.wrap(connection) as wrapped:  # the client may hang up
            head = wrapped.recv(65536)
            self.requests.append(head)
            self.serve(wrapped, head)
