"""Builds what the model is asked: the system prompt, the newest whole turns, the user's words."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from chatbot import conversations
from chatbot.closing import estimate_tokens
from chatbot.tool_rounds import Round
from chatbot.tools import Tool
from chatbot.turns import Head
from functions.chat_stream import tool_use
from functions.chat_stream.knowledge import Knowledge, without_citations
from functions.chat_stream.prompt import render

HISTORY_TOKENS = 24_000


def build(
    turn: Head, knowledge: Knowledge | None, tools: Mapping[str, Tool], rounds: Sequence[Round] = ()
) -> dict[str, Any]:
    """The arguments of `ConverseStream`; `knowledge` is what was found for the question, None where
    nothing was to be looked for; `rounds` are those that this turn had of `tools`.

    Raises `BadInput` for a prompt that does not render.
    """
    context = json.loads(turn.snapshot)
    chatbot = context["chatbot"]
    inference = {
        "maxTokens": turn.max_tokens,
        "temperature": chatbot["temperature"],
    }
    if chatbot.get("top_p") is not None:
        inference["topP"] = chatbot["top_p"]
    request: dict[str, Any] = {
        "modelId": chatbot["model_id"],
        "messages": [*_messages(turn, knowledge, bool(tools)), *tool_use.messages(rounds)],
        "inferenceConfig": inference,
    }
    system = [render(context), knowledge.guide if knowledge else ""]
    if tools:
        request["toolConfig"] = tool_use.offer(tools.values())
        system.append(tool_use.GUIDE)
        if len(rounds) >= chatbot["max_tool_rounds"]:
            system.append(tool_use.LAST)
    if blocks := [{"text": text} for text in system if text.strip()]:
        request["system"] = blocks
    return request


def estimate(request: dict[str, Any]) -> int:
    """About how many tokens a request has."""
    blocks = [*request.get("system", []), *(b for m in request["messages"] for b in m["content"])]
    blocks += request.get("toolConfig", {}).get("tools", [])
    return sum(estimate_tokens(block.get("text") or json.dumps(block)) for block in blocks)


def _messages(turn: Head, knowledge: Knowledge | None, with_tools: bool) -> list[dict[str, Any]]:
    """The history, passages, and the user's own words, which are the last text block of the last
    message.

    A model wants users and assistants to alternate, and no empty text: a question that got no
    answer stands before the next one. Uses of tools are for a model that has some.
    """
    stored = conversations.messages_before(turn.conversation_id, turn.message_id)
    messages: list[dict[str, Any]] = []
    for item in _newest(stored, turn):
        said = [*_used(item)] if with_tools else []
        text = without_citations(item)
        if text.strip():
            said.append({"role": item["role"], "content": [{"text": text}]})
        for message in said:
            if messages and messages[-1]["role"] == message["role"]:
                messages[-1]["content"] += message["content"]
            else:
                messages.append(message)
    if knowledge:
        messages[-1]["content"][-1:-1] = knowledge.blocks
    return messages


def _used(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rounds of tools before an earlier answer."""
    for _, calls in groupby(item["tool_calls"], lambda call: call["round"]):
        yield from tool_use.exchange(list(calls))


def _newest(stored: Iterable[dict[str, Any]], turn: Head) -> list[dict[str, Any]]:
    """Of messages, newest first: this turn's question and as many whole turns as the budget holds,
    oldest first."""
    kept: list[dict[str, Any]] = []
    left = HISTORY_TOKENS
    for exchange in _exchanges(stored):
        current = any(item["message_id"] == turn.user_message_id for item in exchange)
        if not current:
            left -= sum(_tokens(item) for item in exchange)
            if left < 0:
                break
        kept = [i for i in exchange if i["content"].strip() or i["tool_calls"] or current] + kept
    return kept


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
