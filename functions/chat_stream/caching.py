"""Marks what of a request Bedrock may keep: what the next request of the conversation repeats.

A cached prefix is tools, system prompt and messages up to a mark; shorter ones than the model's
minimum are not kept. Reads cost a tenth, writes a quarter more than input: only what will be said
again, word for word, is marked.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from chatbot.quotas import estimate_tokens

POINT = {"cachePoint": {"type": "default"}}


def mark(request: dict[str, Any], ends: Sequence[int], minimum_tokens: int) -> None:
    """Put marks behind the system prompt and behind the messages of these indexes; Bedrock takes
    four at most. Models without a minimum keep nothing."""
    if not minimum_tokens:
        return
    tokens = _tokens([request.get("toolConfig", {})]) + _tokens(request.get("system", []))
    if "system" in request and tokens >= minimum_tokens:
        request["system"].append(POINT)
    for index, message in enumerate(request["messages"]):
        tokens += _tokens(message["content"])
        if index in ends and tokens >= minimum_tokens:
            message["content"].append(POINT)


def _tokens(blocks: Iterable[Any]) -> int:
    return sum(estimate_tokens(json.dumps(block, ensure_ascii=False)) for block in blocks)
