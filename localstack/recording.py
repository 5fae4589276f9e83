"""Writes down what reaches the gateway, for the cost model (tests/benchmarks/cost/record.py).

    POST   /_recording   begin anew
    DELETE /_recording   end; answers {"requests": [...], "sockets": {"opened", "in", "out"}}

A request is `{"service", "operation", "request_bytes", "response_bytes", "body", "status",
"by_function"}`: `service` by the name that the caller's signature has, `operation` as AWS's JSON
services are told, else method and path; `body` of DynamoDB's requests only; `by_function` tells
functions from tests and scripts. Frames are counted by direction. What the gateway does inside (a
state machine calls a function) passes no door and is not seen here.
"""

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type App = Callable[[Message, Receive, Send], Awaitable[None]]

PATH = "/_recording"
_SIGNED_FOR = re.compile(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/aws4_request")


class Recorder:
    """An ASGI application around the gateway's own."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._requests: list[dict[str, Any]] | None = None
        self._sockets = {"opened": 0, "in": 0, "out": 0}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == PATH:
            await self._control(scope["method"], send)
        elif scope["type"] == "websocket":
            # Always: one may be open before what is recorded begins.
            await self._socket(scope, receive, send)
        elif self._requests is None or scope["type"] != "http":
            await self._app(scope, receive, send)
        else:
            await self._request(self._requests, scope, receive, send)

    async def _control(self, method: str, send: Send) -> None:
        answer = json.dumps({"requests": self._requests or [], "sockets": self._sockets}).encode()
        self._requests = [] if method == "POST" else None
        self._sockets = dict.fromkeys(self._sockets, 0)
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def _socket(self, scope: Message, receive: Receive, send: Send) -> None:
        self._sockets["opened"] += 1

        async def received() -> Message:
            message = await receive()
            self._sockets["in"] += message["type"] == "websocket.receive"
            return message

        async def sent(message: Message) -> None:
            self._sockets["out"] += message["type"] == "websocket.send"
            await send(message)

        await self._app(scope, received, sent)

    async def _request(
        self, requests: list[dict[str, Any]], scope: Message, receive: Receive, send: Send
    ) -> None:
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        body = bytearray()
        made: dict[str, Any] = {"response_bytes": 0, "status": 0}

        async def received() -> Message:
            message = await receive()
            body.extend(message.get("body", b""))
            return message

        async def sent(message: Message) -> None:
            made["status"] = message.get("status", made["status"])
            made["response_bytes"] += len(message.get("body", b""))
            await send(message)

        await self._app(scope, received, sent)
        signed = _SIGNED_FOR.search(headers.get("authorization", ""))
        made["service"] = signed[1] if signed else "http"
        target = headers.get("x-amz-target", "").rpartition(".")[2]
        made["operation"] = target or f"{scope['method']} {scope['path']}"
        made["by_function"] = "AWS_Lambda" in headers.get("user-agent", "")
        made["request_bytes"] = len(body)
        made["body"] = json.loads(body) if made["service"] == "dynamodb" else None
        requests.append(made)
