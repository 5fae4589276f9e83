"""WebSocket APIs as API Gateway runs them.

MiniStack calls the function of a route for one connection after the other, writes no log, sends
the function's errors to the client and answers the client with whatever the function returns.
"""

import asyncio
import contextlib
import contextvars
import json
import time
from typing import Any
from urllib.parse import parse_qs

from ministack.core.concurrency import run_reentrant
from ministack.core.responses import new_uuid, request_scope
from ministack.services import apigateway, lambda_svc

from localstack.additions.seam import replace, require

MESSAGE_BYTES = 128 * 1024

Json = dict[str, Any]
Answer = tuple[int, dict[str, str], bytes]

_authorizer_error: contextvars.ContextVar[str | None] = contextvars.ContextVar(
    "authorizer_error", default=None
)


class _Failed(Exception):
    """The integration's function failed: the client gets a message without the reason."""


class _Connection:
    """One client, from the handshake to `$disconnect`."""

    def __init__(self, api_id: str, owner: tuple[str, str], stage: str, scope: Json) -> None:
        self.api_id, (self.account, self.region), self.stage = api_id, owner, stage
        self.id = new_uuid().replace("-", "")[:16]
        self.headers = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in scope["headers"]
        }
        self.query = parse_qs(scope["query_string"].decode(), keep_blank_values=True)
        self.source_ip = (scope.get("client") or ("127.0.0.1", 0))[0]
        self.connected_at = int(time.time() * 1000)
        self.authorizer: Json | None = None
        self.outbox: asyncio.Queue[str | None] = asyncio.Queue()
        self.closing = asyncio.Event()
        self.ended = asyncio.Event()
        self._calls: set[asyncio.Task[None]] = set()

    def context(self, route_key: str, event_type: str, request_id: str) -> Json:
        """The `requestContext` of an event."""
        found: Json = apigateway._ws_request_context(
            self.api_id,
            route_key,
            self.stage,
            self.id,
            event_type,
            request_id,
            self.source_ip,
            self.headers,
        )
        found |= {"connectedAt": self.connected_at, "messageDirection": "IN"}
        if self.authorizer is not None:
            found["authorizer"] = self.authorizer
        return found

    def record(self) -> Json:
        """What MiniStack's `@connections` API keeps of a connection."""
        return {
            "apiId": self.api_id,
            "accountId": self.account,
            "stage": self.stage,
            "connectedAt": self.connected_at // 1000,
            "lastActiveAt": self.connected_at // 1000,
            "sourceIp": self.source_ip,
            "identity": {
                "sourceIp": self.source_ip,
                "userAgent": self.headers.get("user-agent", ""),
            },
            "outbox": self.outbox,
            "close_event": self.closing,
        }

    def answer_later(self, text: str) -> None:
        """Call the function of a message's route, beside whatever else this connection does."""
        call = asyncio.create_task(self._answer(text))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    def _route_key(self, text: str) -> str:
        api = apigateway._apis.get(self.api_id) or {}
        expression = api.get("routeSelectionExpression", "")
        try:
            return str(apigateway._evaluate_route_selection(expression, text))
        except RecursionError:
            # JSON too deep for MiniStack to find the expression in.
            return "$default"

    async def _answer(self, text: str) -> None:
        route = apigateway._match_ws_route(self.api_id, self._route_key(text))
        request_id = new_uuid()
        if route is None:
            await self.outbox.put(self._generic("Forbidden", request_id))
            return
        context = self.context(route["routeKey"], "MESSAGE", request_id)
        context["messageId"] = new_uuid()
        event = {"requestContext": context, "body": text, "isBase64Encoded": False}
        try:
            answer = await self.call(route, event)
        except _Failed:
            await self.outbox.put(self._generic("Internal server error", request_id))
            return
        # "You configure a route response if you want to send a response back to the client."
        if route.get("routeResponseSelectionExpression") and answer.get("body"):
            await self.outbox.put(str(answer["body"]))

    def _generic(self, message: str, request_id: str) -> str:
        return json.dumps({"message": message, "connectionId": self.id, "requestId": request_id})

    async def call(self, route: Json, event: Json) -> Json:
        """The answer of the route's integration. Raises _Failed, without a reason."""
        target = route.get("target", "").removeprefix("integrations/")
        integration = apigateway._integrations.get(self.api_id, {}).get(target) or {}
        if integration.get("integrationType") == "MOCK":
            return {"statusCode": 200}
        result = await _invoke(
            integration.get("integrationUri", ""), self.account, self.region, event
        )
        body = result.get("body")
        if result.get("error"):
            raise _Failed
        return body if isinstance(body, dict) else {"statusCode": 200}


_open: set[_Connection] = set()


async def _invoke(uri: str, account: str, region: str, event: Json) -> Json:
    """Run the function of an integration's or an authorizer's URI, with a log."""
    reference = apigateway._extract_lambda_ref_from_integration_uri(uri)
    func, config, _ = lambda_svc._get_func_record_for_ref_in_scope(
        reference, account_id=account, region=region
    )
    if func is None or config is None:
        return {"error": True}
    record = lambda_svc._execution_record_for_config(func, config)
    result: Json = await run_reentrant(
        lambda_svc._execute_function_with_config_scope, record, event, thread_name="websocket"
    )
    return result


async def _invoke_request_authorizer_lambda(
    authorizer: Json, event: Json, account_id: str, region: str
) -> Json | None:
    """The authorizer's answer, None if it failed; then the message of its error is kept."""
    result = await _invoke(authorizer.get("authorizerUri", ""), account_id, region, event)
    body = result.get("body")
    failed = bool(result.get("error"))
    _authorizer_error.set(str((body or {}).get("errorMessage")) if failed else None)
    return body if isinstance(body, dict) and not failed else None


async def _handshake(connection: _Connection) -> tuple[int, str] | None:
    """Authorize and call `$connect`: None, or the status and message that refuse the client."""
    if connection.stage not in apigateway._stages.get(connection.api_id, {}):
        return 403, "Forbidden"
    route = apigateway._match_ws_route(connection.api_id, "$connect")
    if route is None or route["routeKey"] != "$connect":
        return None
    request_id = new_uuid()
    if route.get("authorizationType") == "CUSTOM":
        context = connection.context("$connect", "CONNECT", request_id)
        refusal, connection.authorizer = await apigateway._authorize_ws_connect(
            connection.api_id,
            route,
            context,
            connection.headers,
            connection.query,
            connection.account,
            connection.region,
        )
        if refusal:
            # "callback('Unauthorized')  // Return a 401 Unauthorized response"
            unauthorized = refusal[0] == 500 and _authorizer_error.get() == "Unauthorized"
            return (401, "Unauthorized") if unauthorized else refusal
    event = {
        "requestContext": connection.context("$connect", "CONNECT", request_id),
        "isBase64Encoded": False,
        **apigateway._ws_connect_fields(connection.headers, connection.query),
    }
    try:
        answer = await connection.call(route, event)
    except _Failed:
        return 502, "Internal server error"
    status = int(answer.get("statusCode", 200))
    if status < 300:
        return None
    return status, "Forbidden" if status in (401, 403) else "Internal server error"


async def _exchange(connection: _Connection, record: Json, receive: Any, send: Any) -> int:
    """Carry messages both ways until one side closes; returns the close code."""

    async def deliver() -> None:
        while (text := await connection.outbox.get()) is not None:
            await send({"type": "websocket.send", "text": text})

    delivery = asyncio.create_task(deliver())
    deleted = asyncio.create_task(connection.closing.wait())
    code = 1000
    try:
        while True:
            receiving = asyncio.ensure_future(receive())
            await asyncio.wait({receiving, deleted}, return_when=asyncio.FIRST_COMPLETED)
            if not receiving.done():
                receiving.cancel()
                # What was posted before the connection was deleted still goes out.
                await asyncio.wait({delivery}, timeout=1)
                break
            message = receiving.result()
            if message["type"] == "websocket.disconnect":
                code = int(message.get("code") or 1005)
                break
            text = message.get("text")
            if text is None:
                text = (message.get("bytes") or b"").decode("utf-8", "replace")
            if len(text.encode()) > MESSAGE_BYTES:
                code = 1009
                break
            record["lastActiveAt"] = int(time.time())
            connection.answer_later(text)
    finally:
        deleted.cancel()
        delivery.cancel()
    return code


async def handle_websocket(
    scope: Json, receive: Any, send: Any, api_id: str, path_override: str | None = None
) -> None:
    """Serve one client of a WebSocket API: an ASGI application for MiniStack's dispatcher."""
    await receive()
    owner = apigateway._api_owner(api_id)
    if not owner or owner[0] != "WEBSOCKET":
        await send({"type": "websocket.close", "code": 1008})
        return
    _, account, region = owner
    path = scope.get("path", "") if path_override is None else path_override
    stage = path.lstrip("/").split("/", 1)[0]
    connection = _Connection(api_id, (account, region), stage, scope)
    with request_scope(account, region):
        refusal = await _handshake(connection)
        if refusal:
            await apigateway._refuse_ws_handshake(scope, send, *refusal, connection.id, new_uuid())
            return
        _open.add(connection)
        await send({"type": "websocket.accept"})
        record = connection.record()
        apigateway._ws_connections[connection.id] = record
        code = 1006
        try:
            code = await _exchange(connection, record, receive, send)
        finally:
            apigateway._ws_connections.pop(connection.id, None)
            await _disconnect(connection, code, send)
            _open.discard(connection)
            connection.ended.set()


async def close_all(seconds: float) -> None:
    """Close every connection, and wait so long for their `$disconnect`."""
    for connection in _open:
        connection.closing.set()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            for connection in list(_open):
                await connection.ended.wait()


async def _disconnect(connection: _Connection, code: int, send: Any) -> None:
    await send({"type": "websocket.close", "code": 1009 if code == 1009 else 1000})
    route = apigateway._match_ws_route(connection.api_id, "$disconnect")
    if route is None or route["routeKey"] != "$disconnect":
        return
    context = connection.context("$disconnect", "DISCONNECT", new_uuid())
    context |= {"disconnectStatusCode": code, "disconnectReason": ""}
    event = {
        "requestContext": context,
        "headers": connection.headers,
        "multiValueHeaders": {name: [value] for name, value in connection.headers.items()},
        "isBase64Encoded": False,
    }
    try:
        await connection.call(route, event)
    except _Failed:
        apigateway.logger.warning("$disconnect of %s failed", connection.id)


async def handle_connections_api(
    method: str, api_id: str, stage: str, connection_id: str, body: bytes, headers: Json
) -> Answer:
    """`@connections`: a message over 128 KB is refused; the rest is MiniStack's."""
    if method == "POST" and len(body) > MESSAGE_BYTES:
        message = json.dumps({"message": "Message too long", "connectionId": connection_id})
        kind = {"Content-Type": "application/json", "x-amzn-ErrorType": "PayloadTooLargeException"}
        return 413, kind, message.encode()
    answer: Answer = await _stock_handle_connections_api(
        method, api_id, stage, connection_id, body, headers
    )
    return answer


def _create_authorizer(api_id: str, data: Json) -> Any:
    """MiniStack's, but a REQUEST authorizer that names no identity source demands no header."""
    if data.get("authorizerType") == "REQUEST":
        data = {"identitySource": [], **data}
    return _stock_create_authorizer(api_id, data)


def install() -> None:
    """Replace how WebSocket APIs are served. Fails if what it replaces has moved."""
    global _stock_handle_connections_api, _stock_create_authorizer
    require(
        apigateway,
        "_ws_request_context",
        *("api_id", "route_key", "stage", "connection_id", "event_type"),
        *("request_id", "source_ip", "headers"),
    )
    require(apigateway, "_ws_connect_fields", "headers", "query_params")
    require(apigateway, "_match_ws_route", "api_id", "route_key")
    require(apigateway, "_evaluate_route_selection", "expr", "payload_text")
    require(apigateway, "_api_owner", "api_id")
    require(apigateway, "_extract_lambda_ref_from_integration_uri", "uri")
    require(
        apigateway,
        "_authorize_ws_connect",
        *("api_id", "route", "request_context", "headers", "query_params", "account_id", "region"),
    )
    require(
        apigateway,
        "_refuse_ws_handshake",
        *("scope", "send", "status", "message", "connection_id", "request_id"),
    )
    replace(apigateway, "_invoke_request_authorizer_lambda", _invoke_request_authorizer_lambda)
    replace(apigateway, "handle_websocket", handle_websocket)
    _stock_create_authorizer = replace(apigateway, "_create_authorizer", _create_authorizer)
    _stock_handle_connections_api = replace(
        apigateway, "handle_connections_api", handle_connections_api
    )


_stock_handle_connections_api: Any
_stock_create_authorizer: Any
