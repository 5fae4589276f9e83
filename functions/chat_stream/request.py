"""Builds what the model is asked: the system prompt, the newest whole turns, the user's words."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from chatbot import conversations
from chatbot.quotas import estimate_tokens
from chatbot.turns import Head
from functions.chat_stream.knowledge import Knowledge, without_citations
from functions.chat_stream.prompt import render

HISTORY_TOKENS = 24_000


def build(turn: Head, knowledge: Knowledge | None) -> dict[str, Any]:
    """The arguments of `ConverseStream`; `knowledge` is what was found for the question, None where
    nothing was to be looked for.

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
        "messages": _messages(turn, knowledge),
        "inferenceConfig": inference,
    }
    system = [render(context), knowledge.guide if knowledge else ""]
    if blocks := [{"text": text} for text in system if text.strip()]:
        request["system"] = blocks
    return request


def estimate(request: dict[str, Any]) -> int:
    """About how many tokens a request has."""
    blocks = [*request.get("system", []), *(b for m in request["messages"] for b in m["content"])]
    return sum(estimate_tokens(block["text"]) for block in blocks)


def _messages(turn: Head, knowledge: Knowledge | None) -> list[dict[str, Any]]:
    """The history, passages, and the user's own words, which are the last text block of the last
    message.

    A model wants users and assistants to alternate, and no empty text: a question that got no
    answer stands before the next one.
    """
    stored = conversations.messages_before(turn.conversation_id, turn.message_id)
    said = [(item["role"], without_citations(item)) for item in _newest(stored, turn)]
    messages: list[dict[str, Any]] = []
    for role, text in said:
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"].append({"text": text})
        else:
            messages.append({"role": role, "content": [{"text": text}]})
    if knowledge:
        messages[-1]["content"][-1:-1] = knowledge.blocks
    return messages


def _newest(stored: Iterable[dict[str, Any]], turn: Head) -> list[dict[str, Any]]:
    """Of messages, newest first: this turn's question and as many whole turns as the budget holds,
    oldest first."""
    kept: list[dict[str, Any]] = []
    left = HISTORY_TOKENS
    for exchange in _exchanges(stored):
        current = any(item["message_id"] == turn.user_message_id for item in exchange)
        if not current:
            left -= sum(estimate_tokens(item["content"]) for item in exchange)
            if left < 0:
                break
        kept = [item for item in exchange if item["content"].strip() or current] + kept
    return kept


def _exchanges(stored: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """A user's message with what follows it, newest exchange first."""
    exchange: list[dict[str, Any]] = []
    for item in stored:
        exchange.insert(0, item)
        if item["role"] == "user":
            yield exchange
            exchange = []
