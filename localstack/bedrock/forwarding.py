"""Real answers from a server of the OpenAI kind (Ollama, vLLM), in Bedrock's shapes."""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from localstack.bedrock.answers import text_of

_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


@dataclass(frozen=True)
class Piece:
    """The next piece of text, or, at the end, `stop_reason`, tool calls and usage."""

    text: str = ""
    tools: tuple[tuple[str, str, str], ...] = ()
    stop_reason: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True)
class Server:
    url: str
    model: str
    key: str | None


def _message(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One Converse message is one chat message, and one more for each tool result."""
    content = message["content"]
    results = [
        {
            "role": "tool",
            "tool_call_id": block["toolResult"]["toolUseId"],
            "content": "".join(
                part["text"] if "text" in part else json.dumps(part.get("json"))
                for part in block["toolResult"]["content"]
            ),
        }
        for block in content
        if "toolResult" in block
    ]
    text = "\n\n".join(filter(None, map(text_of, content)))
    calls = [
        {
            "id": block["toolUse"]["toolUseId"],
            "type": "function",
            "function": {
                "name": block["toolUse"]["name"],
                "arguments": json.dumps(block["toolUse"]["input"]),
            },
        }
        for block in content
        if "toolUse" in block
    ]
    if text or calls:
        own: dict[str, Any] = {"role": message["role"], "content": text}
        if calls:
            own["tool_calls"] = calls
        results.append(own)
    return results


def request_body(body: Mapping[str, Any], model: str) -> dict[str, Any]:
    """A Converse request as a streaming chat completion."""
    system = "\n\n".join(block["text"] for block in body.get("system") or [] if "text" in block)
    messages = [{"role": "system", "content": system}] if system else []
    for message in body["messages"]:
        messages += _message(message)
    inference = body.get("inferenceConfig") or {}
    names = (
        ("maxTokens", "max_tokens"),
        ("temperature", "temperature"),
        ("topP", "top_p"),
        ("stopSequences", "stop"),
    )
    tools = [
        {
            "type": "function",
            "function": {
                "name": tool["toolSpec"]["name"],
                "description": tool["toolSpec"].get("description", ""),
                "parameters": tool["toolSpec"]["inputSchema"]["json"],
            },
        }
        for tool in (body.get("toolConfig") or {}).get("tools", [])
        if "toolSpec" in tool
    ]
    return {
        "model": model,
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
        **{there: inference[here] for here, there in names if here in inference},
        **({"tools": tools} if tools else {}),
    }


async def stream(server: Server, body: Mapping[str, Any]) -> AsyncIterator[Piece]:
    """The answer piece by piece; the last one has the stop reason. Raises `aiohttp.ClientError`."""
    headers = {"Authorization": f"Bearer {server.key}"} if server.key else {}
    timeout = aiohttp.ClientTimeout(total=900, sock_read=120)
    calls: dict[int, list[str]] = {}
    stop_reason, usage = "end_turn", {"prompt_tokens": 0, "completion_tokens": 0}
    async with (
        aiohttp.ClientSession(timeout=timeout, headers=headers, raise_for_status=True) as session,
        session.post(
            f"{server.url.rstrip('/')}/chat/completions", json=request_body(body, server.model)
        ) as response,
    ):
        async for line in response.content:
            data = line.decode().strip().removeprefix("data:").strip()
            if not data or data == "[DONE]" or not line.startswith(b"data:"):
                continue
            chunk = json.loads(data)
            usage = chunk.get("usage") or usage
            for choice in chunk.get("choices") or []:
                delta = choice.get("delta") or {}
                if delta.get("content"):
                    yield Piece(text=delta["content"])
                for call in delta.get("tool_calls") or []:
                    known = calls.setdefault(call.get("index", 0), ["", "", ""])
                    function = call.get("function") or {}
                    for place, part in enumerate(
                        (call.get("id"), function.get("name"), function.get("arguments"))
                    ):
                        known[place] += part or ""
                if choice.get("finish_reason"):
                    stop_reason = _STOP_REASONS.get(choice["finish_reason"], "end_turn")
    yield Piece(
        tools=tuple((key, name, text) for key, name, text in calls.values()),
        stop_reason=stop_reason,
        input_tokens=usage["prompt_tokens"],
        output_tokens=usage["completion_tokens"],
    )
