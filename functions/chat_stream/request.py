"""Builds what the model is asked: the system prompt, the newest whole turns, the user's words."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from chatbot import conversations
from chatbot.models import Model
from chatbot.quotas import estimate_tokens, most_tokens
from chatbot.settings import settings
from chatbot.tool_rounds import Round
from chatbot.tools import Tool
from chatbot.turns import Head
from functions.chat_stream import caching, tool_use
from functions.chat_stream.knowledge import Knowledge, without_citations
from functions.chat_stream.prompt import render

HISTORY_TOKENS = 24_000

type Exchange = list[dict[str, Any]]


def build(
    turn: Head,
    model: Model,
    knowledge: Knowledge | None,
    tools: Mapping[str, Tool],
    rounds: Sequence[Round] = (),
) -> dict[str, Any]:
    """The arguments of `ConverseStream`; `knowledge` is what was found for the question, None where
    nothing was to be looked for; `rounds` are those that this turn had of `tools`.

    Raises `BadInput` for a prompt that does not render.
    """
    context = turn.context
    chatbot = context["chatbot"]
    request: dict[str, Any] = {
        "modelId": model.called,
        "messages": [],
        "inferenceConfig": _inference(turn, model, chatbot),
    }
    system = [
        render(context),
        knowledge.guide if knowledge else "",
        tool_use.GUIDE if tools else "",
    ]
    system_blocks = [{"text": text} for text in system if text.strip()]
    if system_blocks:
        request["system"] = system_blocks
    if tools:
        request["toolConfig"] = tool_use.offer(tools.values())
    made = list(tool_use.messages(rounds))
    passages = knowledge.blocks if knowledge else []
    others = [
        *system_blocks,
        *passages,
        *(block for message in made for block in message["content"]),
    ]
    stored = conversations.messages_before(turn.conversation_id, turn.message_id)
    room = model.context_tokens - turn.max_tokens - _estimated(others)
    exchanges, has_all = _newest(stored, turn, room)
    guarded = chatbot["guardrail_enabled"]
    messages = request["messages"] = _messages(exchanges, guarded, bool(tools))
    messages[-1]["content"][-1:-1] = passages
    if guarded:
        request["guardrailConfig"] = {
            "guardrailIdentifier": settings().guardrail_id,
            "guardrailVersion": settings().guardrail_version,
            "streamProcessingMode": "sync",  # nothing is sent on that was not looked at
            "trace": "disabled",  # what was found in a message stays with Bedrock
        }
    # A prompt that tells the time is another one each time, and so is a history that is cut.
    if not re.search(r"\{.*\bnow\b", chatbot["system_prompt"], re.DOTALL):
        ends = [len(messages) - 2] if has_all else []
        caching.mark(request, ends, model.cache_minimum_tokens)
    messages += made
    if tools and len(rounds) >= chatbot["max_tool_rounds"]:
        request["system"].append({"text": tool_use.LAST})
    return request


def _inference(turn: Head, model: Model, chatbot: dict[str, Any]) -> dict[str, Any]:
    inference: dict[str, Any] = {"maxTokens": turn.max_tokens}
    top_p = chatbot.get("top_p")
    if top_p is not None:
        inference["topP"] = top_p
    if top_p is None or not model.takes_top_p_alone:
        inference["temperature"] = chatbot["temperature"]
    return inference


def estimate(request: dict[str, Any]) -> int:
    """About how many tokens a request has."""
    blocks = [*request.get("system", []), *(b for m in request["messages"] for b in m["content"])]
    return _estimated(blocks) + _estimated(request.get("toolConfig", {}).get("tools", []))


def most(request: dict[str, Any]) -> int:
    """How many tokens a request has at most."""
    parts = (request.get(name) for name in ("system", "messages", "toolConfig"))
    return sum(most_tokens(json.dumps(part, ensure_ascii=False)) for part in parts if part)


def _estimated(blocks: Iterable[dict[str, Any]]) -> int:
    return sum(estimate_tokens(_text(block)) for block in blocks)


def _text(block: dict[str, Any]) -> str:
    match block:
        case {"text": str(text)} | {"guardContent": {"text": {"text": str(text)}}}:
            return text
        case {"cachePoint": _}:
            return ""
    return json.dumps(block, ensure_ascii=False)


def _messages(
    exchanges: Iterable[Exchange], guarded: bool, with_tools: bool
) -> list[dict[str, Any]]:
    """The history and the user's own words, which are the last text block of the last message.

    A model wants users and assistants to alternate, and no empty text: a question that got no
    answer stands before the next one. `guarded` are the questions that the guardrail has not let
    pass yet, so that a thing said long ago is not judged, and paid for, each time again. Uses of
    tools are for a model that has some (`with_tools`).
    """
    messages: list[dict[str, Any]] = []
    for exchange in exchanges:
        answer = exchange[-1]
        passed = answer["role"] == "assistant" and answer["status"] == "completed"
        for item in exchange:
            said = [*_used(item)] if with_tools else []
            block: dict[str, Any] = {"text": without_citations(item)}
            if block["text"].strip():
                if guarded and not passed and item["role"] == "user":
                    block = {"guardContent": {"text": block}}
                said.append({"role": item["role"], "content": [block]})
            for message in said:
                if messages and messages[-1]["role"] == message["role"]:
                    messages[-1]["content"] += message["content"]
                else:
                    messages.append(message)
    return messages


def _used(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rounds of tools before an earlier answer."""
    for _, calls in groupby(item["tool_calls"], lambda call: call["round"]):
        yield from tool_use.exchange(list(calls))


def _newest(stored: Iterable[dict[str, Any]], turn: Head, room: int) -> tuple[list[Exchange], bool]:
    """Of messages, newest first: this turn's question and as many whole turns as there is room for,
    oldest first; and whether these are all. What the guardrail stopped is not said again."""
    kept: list[Exchange] = []
    left = HISTORY_TOKENS
    for exchange in _exchanges(stored):
        tokens = sum(_tokens(item) for item in exchange)
        current = any(item["message_id"] == turn.user_message_id for item in exchange)
        room -= tokens
        if not current:
            if exchange[-1]["stop_reason"] == "guardrail_intervened":
                continue
            left -= tokens
            if min(left, room) < 0:
                return kept, False
        said = [i for i in exchange if i["content"].strip() or i["tool_calls"] or current]
        if said:
            kept.insert(0, said)
    return kept, True


def _tokens(item: dict[str, Any]) -> int:
    calls = "".join(call["input"] + call["output"] for call in item["tool_calls"])
    return estimate_tokens(item["content"]) + estimate_tokens(calls)


def _exchanges(stored: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """A user's message with what follows it, newest exchange first."""
    exchange: list[dict[str, Any]] = []
    for item in stored:
        exchange.insert(0, item)
        if item["role"] == "user":
            yield exchange
            exchange = []
