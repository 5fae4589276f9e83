"""The HTTP side of the stand-in: routes, streams, errors in AWS's shapes."""

import asyncio
import json
import secrets
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler

from localstack.bedrock import (
    answers,
    embeddings,
    eventstream,
    forwarding,
    guardrails,
    validation,
)
from localstack.bedrock.answers import Answer
from localstack.bedrock.caching import Cache
from localstack.bedrock.guardrails import Guardrail
from localstack.bedrock.requests import Kept, Request

_BODY_BYTES = 20 * 1024 * 1024
_TITAN = "amazon.titan-embed-text-v2:0"
_TITAN_CHARACTERS = 50_000
Event = tuple[str, dict[str, Any]]


class Refused(Exception):
    """An answer other than 200, by the name and the HTTP status of AWS's exception."""

    def __init__(self, kind: str, status: int, message: str) -> None:
        super().__init__(message)
        self.kind, self.status, self.message = kind, status, message


class Broken(Exception):
    """The stream ends with `modelStreamErrorException`."""


class StandIn:
    """The handlers and what they share: kept requests, and the calls that were throttled."""

    def __init__(self, forward: forwarding.Server | None, gateway_url: str | None) -> None:
        self._forward, self._gateway_url = forward, gateway_url
        self._cache = Cache()
        self._kept = Kept()
        self._throttled: Counter[str] = Counter()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/model/{model}/converse-stream", self.converse_stream),
            web.post("/model/{model}/converse", self.converse),
            web.post("/model/{model}/invoke", self.invoke),
            web.get("/requests", self.requests),
            web.delete("/requests", self.forget),
            web.get("/health", self.health),
        ]

    async def health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def requests(self, _request: web.Request) -> web.Response:
        return web.json_response(self._kept.as_json())

    async def forget(self, _request: web.Request) -> web.Response:
        self._kept.forget()
        return web.Response(status=204)

    async def converse_stream(self, http: web.Request) -> web.StreamResponse:
        kept, events = await self._begin(http, "ConverseStream")
        response = web.StreamResponse(
            headers={
                "Content-Type": "application/vnd.amazon.eventstream",
                "x-amzn-RequestId": str(uuid.uuid4()),
            }
        )
        response.enable_chunked_encoding()
        await response.prepare(http)
        try:
            async for kind, payload in events:
                kept.pieces += kind == "contentBlockDelta"
                await response.write(eventstream.event(kind, payload))
        except Broken as error:
            kept.end("broken")
            await response.write(
                eventstream.exception(
                    "modelStreamErrorException",
                    str(error),
                    originalStatusCode=500,
                    originalMessage="Internal server error",
                )
            )
        except ConnectionError:
            pass  # the client hung up, which the next line notes
        else:
            kept.end("completed")
        finally:
            kept.end("aborted")
        return response

    async def converse(self, http: web.Request) -> web.Response:
        kept, events = await self._begin(http, "Converse")
        content: list[dict[str, Any]] = []
        inputs: list[str] = []
        ending: dict[str, Any] = {}
        try:
            async for kind, payload in events:
                if kind == "contentBlockStart":
                    content.append({"toolUse": dict(payload["start"]["toolUse"])})
                    inputs.append("")
                elif kind == "contentBlockDelta" and "text" in payload["delta"]:
                    if not content:
                        content.append({"text": ""})
                    content[0]["text"] += payload["delta"]["text"]
                elif kind == "contentBlockDelta":
                    inputs[-1] += payload["delta"]["toolUse"]["input"]
                elif kind in {"messageStop", "metadata"}:
                    ending |= payload
        except Broken as error:
            kept.end("broken")
            raise Refused("ModelErrorException", 424, str(error)) from error
        else:
            kept.end("completed")
        finally:
            kept.end("aborted")
        uses = [block["toolUse"] for block in content if "toolUse" in block]
        for use, text in zip(uses, inputs, strict=True):
            use["input"] = json.loads(text or "{}")
        return web.json_response(
            {"output": {"message": {"role": "assistant", "content": content}}, **ending}
        )

    async def invoke(self, http: web.Request) -> web.Response:
        """Titan Text Embeddings v2; nothing else is invoked here."""
        model, body = await self._read(http)
        kept = self._kept.add("InvokeModel", model, body)
        try:
            answer = _embedding(model, body)
        except validation.Invalid as error:
            kept.end("refused")
            raise Refused("ValidationException", 400, str(error)) from error
        kept.end("completed")
        return web.json_response(
            answer,
            headers={
                "X-Amzn-Bedrock-Input-Token-Count": str(answer["inputTextTokenCount"]),
                "X-Amzn-Bedrock-Output-Token-Count": "0",
            },
        )

    async def _read(self, http: web.Request) -> tuple[str, dict[str, Any]]:
        if not http.headers.get("Authorization"):
            raise Refused("AccessDeniedException", 403, "Missing Authentication Token")
        try:
            body = json.loads(await http.read())
        except ValueError as error:
            raise Refused("SerializationException", 400, "The body is no JSON.") from error
        if not isinstance(body, dict):
            raise Refused("SerializationException", 400, "The body is no JSON object.")
        # The model may be an ARN, whose slashes arrive encoded.
        return unquote(http.match_info["model"]), body

    async def _begin(
        self, http: web.Request, operation: str
    ) -> tuple[Request, AsyncIterator[Event]]:
        """Read, keep, validate, throttle; then plan the answer's events. Raises `Refused`."""
        model, body = await self._read(http)
        kept = self._kept.add(operation, model, body)
        try:
            validation.check_conversation(operation, model, body)
            answer = answers.plan(body)
            config, guardrail = body.get("guardrailConfig"), None
            if config:
                guardrail = await guardrails.load(self._gateway_url, config)
            self._throttle(body, answer)
            events = self._events(body, answer, self._cache.use(model, body))
            if guardrail:
                events = _guarded(guardrail, body, answer, events)
            return kept, events
        except validation.Invalid as error:
            kept.end("refused")
            raise Refused("ValidationException", 400, str(error)) from error
        except Refused:
            kept.end("refused")
            raise

    def _throttle(self, body: dict[str, Any], answer: Answer) -> None:
        """The count starts anew once a call went through."""
        mark = answers.fingerprint(body["messages"])
        if self._throttled[mark] < answer.directives.throttled_calls:
            self._throttled[mark] += 1
            raise Refused(
                "ThrottlingException", 429, "Too many requests, please wait before trying again."
            )
        del self._throttled[mark]

    async def _events(
        self, body: dict[str, Any], answer: Answer, cached: tuple[int, int]
    ) -> AsyncIterator[Event]:
        started = time.monotonic()
        yield "messageStart", {"role": "assistant"}
        if self._forward is not None:
            async for event in _forwarded(self._forward, body, started):
                yield event
            return
        await asyncio.sleep(answer.directives.stall_seconds)
        async for event in _paced(answer):
            yield event
        for event in _tool_blocks(
            len(answer.pieces) > 0,
            [(_tool_use_id(), tool.name, json.dumps(tool.input)) for tool in answer.tools],
        ):
            yield event
        usage = (answers.input_tokens(body), answer.output_tokens)
        for event in _ending(answer.stop_reason, *usage, started, cached=cached):
            yield event


async def _guarded(
    guardrail: Guardrail, body: dict[str, Any], answer: Answer, events: AsyncIterator[Event]
) -> AsyncIterator[Event]:
    started, directives = time.monotonic(), answer.directives

    def ending(text: str, found: guardrails.Assessment) -> list[Event]:
        usage = (answers.input_tokens(body), answers.count_tokens(text))
        traced = guardrails.trace(guardrail, found, is_input=False)
        return _ending("guardrail_intervened", *usage, started, **traced)

    found = guardrails.input_found(guardrail, body["messages"], directives)
    if found is None:
        after = directives.guardrail_after
        async for event in guardrails.applied(guardrail, events, after, ending):
            yield event
        return
    yield "messageStart", {"role": "assistant"}
    delta = {"delta": {"text": guardrail.input_message}, "contentBlockIndex": 0}
    yield "contentBlockDelta", delta
    yield "contentBlockStop", {"contentBlockIndex": 0}
    # The model was not asked: nothing was read.
    traced = guardrails.trace(guardrail, found, is_input=True)
    for event in _ending("guardrail_intervened", 0, 0, started, **traced):
        yield event


def _tool_use_id() -> str:
    return f"tooluse_{secrets.token_urlsafe(16)}"


async def _paced(answer: Answer) -> AsyncIterator[Event]:
    """The text, each piece at its time: a late one does not make the next late as well."""
    directives, loop = answer.directives, asyncio.get_running_loop()
    due = loop.time()
    for position, piece in enumerate(answer.pieces):
        if directives.break_after == position:
            break
        due += directives.pace_seconds
        await asyncio.sleep(max(due - loop.time(), 0))
        yield "contentBlockDelta", {"delta": {"text": piece}, "contentBlockIndex": 0}
    if directives.break_after is not None and directives.break_after <= len(answer.pieces):
        raise Broken("The model stream broke. Try your request again.")
    if answer.pieces:
        yield "contentBlockStop", {"contentBlockIndex": 0}


def _tool_blocks(after_text: bool, tools: list[tuple[str, str, str]]) -> list[Event]:
    """Each tool call is a block of its own; its input comes as text in two pieces."""
    events: list[Event] = []
    for index, (identifier, name, text) in enumerate(tools, start=int(after_text)):
        start = {"toolUse": {"toolUseId": identifier, "name": name}}
        events.append(("contentBlockStart", {"start": start, "contentBlockIndex": index}))
        half = len(text) // 2
        events.extend(
            (
                "contentBlockDelta",
                {"delta": {"toolUse": {"input": part}}, "contentBlockIndex": index},
            )
            for part in (text[:half], text[half:])
        )
        events.append(("contentBlockStop", {"contentBlockIndex": index}))
    return events


def _ending(
    stop_reason: str,
    read: int,
    written: int,
    started: float,
    cached: tuple[int, int] = (0, 0),
    **more: Any,
) -> list[Event]:
    """`cached` of the tokens read came from the cache, and went there: they are counted apart."""
    usage = {"inputTokens": read, "outputTokens": written, "totalTokens": read + written}
    if any(cached):
        usage["inputTokens"] -= sum(cached)
        usage["cacheReadInputTokens"], usage["cacheWriteInputTokens"] = cached
    metrics = {"latencyMs": int((time.monotonic() - started) * 1000)}
    return [
        ("messageStop", {"stopReason": stop_reason}),
        ("metadata", {"usage": usage, "metrics": metrics, **more}),
    ]


async def _forwarded(
    server: forwarding.Server, body: dict[str, Any], started: float
) -> AsyncIterator[Event]:
    has_text = False
    try:
        async for piece in forwarding.stream(server, body):
            if piece.text:
                has_text = True
                yield "contentBlockDelta", {"delta": {"text": piece.text}, "contentBlockIndex": 0}
            if piece.stop_reason is None:
                continue
            if has_text:
                yield "contentBlockStop", {"contentBlockIndex": 0}
            tools = [(key or _tool_use_id(), name, text) for key, name, text in piece.tools]
            for event in _tool_blocks(has_text, tools):
                yield event
            for event in _ending(
                piece.stop_reason, piece.input_tokens, piece.output_tokens, started
            ):
                yield event
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Broken(f"The forwarded model failed: {type(error).__name__}") from error


def _embedding(model: str, body: dict[str, Any]) -> dict[str, Any]:
    validation.check_model(model)
    if model.split("/")[-1] != _TITAN:
        raise validation.Invalid("The provided model identifier is invalid.")
    unknown = set(body) - {"inputText", "dimensions", "normalize", "embeddingTypes"}
    text, dimensions = body.get("inputText"), body.get("dimensions", 1024)
    if unknown:
        raise validation.Invalid(f"Malformed input request: extraneous key {min(unknown)}")
    if not isinstance(text, str) or not 1 <= len(text) <= _TITAN_CHARACTERS:
        raise validation.Invalid("Malformed input request: inputText has 1 to 50000 characters.")
    if dimensions not in embeddings.DIMENSIONS:
        raise validation.Invalid("Malformed input request: dimensions is 256, 512 or 1024.")
    vector = embeddings.embed(text, dimensions, bool(body.get("normalize", True)))
    return {
        "embedding": vector,
        "embeddingsByType": {"float": vector},
        "inputTextTokenCount": answers.count_tokens(text),
    }


@web.middleware
async def _aws_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refused as error:
        return web.json_response(
            {"message": error.message},
            status=error.status,
            headers={"x-amzn-ErrorType": error.kind, "x-amzn-RequestId": str(uuid.uuid4())},
        )


def make_app(
    forward: forwarding.Server | None = None, gateway_url: str | None = None
) -> web.Application:
    """The application; `forward` answers conversations by a real model, guardrails are read from
    the gateway."""
    app = web.Application(middlewares=[_aws_errors], client_max_size=_BODY_BYTES)
    app.add_routes(StandIn(forward, gateway_url).routes())
    return app
