"""Prompt caching, as Converse counts it: what stands before a cache point is kept for 5 minutes.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html
"""

import hashlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from localstack.bedrock.answers import count_tokens
from localstack.bedrock.validation import Invalid

_SECONDS = 300
_POINTS = 4
# Tokens that a prefix must have; the first pattern that fits a model's id counts.
_MINIMUM = (
    (re.compile(r"claude-(?:opus|haiku)-4-5"), 4096),
    (re.compile(r"claude-3-5-haiku"), 2048),
    (re.compile(r"claude-3-7-sonnet|claude-(?:opus|sonnet)-4|amazon\.nova"), 1024),
)


class Cache:
    """What was kept, by the prefix's digest, and until when."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def use(self, model_id: str, body: Mapping[str, Any]) -> tuple[int, int]:
        """(tokens read from the cache, tokens written to it) by a request. Raises `Invalid`."""
        points = prefixes(body)
        minimum = next((least for model, least in _MINIMUM if model.search(model_id)), None)
        if points and minimum is None:
            raise Invalid("You do not have access to explicit prompt caching")
        if len(points) > _POINTS:
            raise Invalid(f"The request has more than {_POINTS} cache points.")
        read = longest = 0
        for prefix in points:
            tokens = count_tokens(prefix)
            if tokens < (minimum or 0):
                continue
            digest = hashlib.sha256(f"{model_id}\n{prefix}".encode()).hexdigest()
            longest = tokens
            if self._until.get(digest, 0) > time.monotonic():
                read = tokens
            self._until[digest] = time.monotonic() + _SECONDS
        return read, longest - read


def prefixes(body: Mapping[str, Any]) -> list[str]:
    """What stands before each cache point, in the order of the prompt: tools, system, messages."""
    tools = (body.get("toolConfig") or {}).get("tools") or []
    messages = [(message["role"], message["content"]) for message in body["messages"]]
    parts: Sequence[tuple[str, Any]] = [("tools", tools), ("system", body.get("system") or [])]
    found, text = [], ""
    for name, blocks in [*parts, *messages]:
        text += f"{name}:"
        for block in blocks:
            if "cachePoint" in block:
                found.append(text)
            else:
                text += json.dumps(block, ensure_ascii=False)
    return found
