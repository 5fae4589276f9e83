"""Directives: how a client steers the stand-in from within the user's own words.

| Directive | What happens |
|---|---|
| `[[words 400]]` | an answer of 400 words, always the same |
| `[[text …]]` | exactly that text |
| `[[pace 20]]` | milliseconds between pieces (5 unless said) |
| `[[stall 5]]` | seconds of silence before the first piece |
| `[[throttle 2]]` | the first two calls for this message get `ThrottlingException` |
| `[[break 10]]` | `modelStreamErrorException` after ten pieces |
| `[[tool NAME {"json": 1}]]` | asks for this tool first; several are asked for at once |
| `[[tool-loop NAME {"json": 1}]]` | asks for this tool again and again |
| `[[max-tokens]]` | the answer stops with `max_tokens` |
| `[[guardrail input]]` | a guardrail, where one is applied, finds this message harmful |
| `[[guardrail 80]]` | a guardrail finds the answer harmful after 80 pieces |

The user's own words are the last text block of the last user message that has text; passages and
other context stand in blocks before it and direct nothing.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any

_PLAIN = re.compile(r"\[\[(words|pace|stall|throttle|break|guardrail)\s+(\d+(?:\.\d+)?)\s*\]\]")
_TEXT = re.compile(r"\[\[text (.*?)\]\](?!\])", re.DOTALL)
_TOOL = re.compile(r"\[\[tool\s+([A-Za-z0-9_-]+)\s*")
_TOOL_LOOP = re.compile(r"\[\[tool-loop\s+([A-Za-z0-9_-]+)\s*")
_MAX_TOKENS = "[[max-tokens]]"
_GUARDRAIL_INPUT = "[[guardrail input]]"


@dataclass(frozen=True)
class ToolCall:
    name: str
    input: dict[str, Any]


@dataclass(frozen=True)
class Directives:
    """What was asked for. `text` and `words` are None without their directive."""

    text: str | None = None
    words: int | None = None
    pace_seconds: float = 0.005
    stall_seconds: float = 0.0
    throttled_calls: int = 0
    break_after: int | None = None
    tools: tuple[ToolCall, ...] = field(default=())
    tool_loop: ToolCall | None = None
    max_tokens: bool = False
    guardrail_input: bool = False
    guardrail_after: int | None = None


def _tool_calls(directive: re.Pattern[str], text: str) -> tuple[ToolCall, ...]:
    """Read by a JSON decoder, since the input may have brackets of its own."""
    calls = []
    for match in directive.finditer(text):
        try:
            arguments, end = json.JSONDecoder().raw_decode(text, match.end())
        except ValueError:
            arguments, end = {}, match.end()
        if isinstance(arguments, dict) and re.match(r"\s*\]\]", text[end:]):
            calls.append(ToolCall(match.group(1), arguments))
    return tuple(calls)


def parse(words: str) -> Directives:
    """The directives in the user's own words; what is no directive is left alone."""
    exact = _TEXT.search(words)
    rest = _TEXT.sub("", words)
    numbers = {name: float(value) for name, value in _PLAIN.findall(rest)}
    loop = _tool_calls(_TOOL_LOOP, rest)
    return Directives(
        text=exact.group(1) if exact else None,
        words=int(numbers["words"]) if "words" in numbers else None,
        pace_seconds=numbers.get("pace", 5.0) / 1000,
        stall_seconds=numbers.get("stall", 0.0),
        throttled_calls=int(numbers.get("throttle", 0)),
        break_after=int(numbers["break"]) if "break" in numbers else None,
        tools=_tool_calls(_TOOL, rest),
        tool_loop=loop[0] if loop else None,
        max_tokens=_MAX_TOKENS in rest,
        guardrail_input=_GUARDRAIL_INPUT in rest,
        guardrail_after=int(numbers["guardrail"]) if "guardrail" in numbers else None,
    )


def without(words: str) -> str:
    """The words with their directives taken out, outer white space trimmed."""
    rest = _PLAIN.sub("", _TEXT.sub("", words))
    rest = re.sub(r"\[\[tool(-loop)?\s.*?\]\]", "", rest, flags=re.DOTALL)
    return rest.replace(_MAX_TOKENS, "").replace(_GUARDRAIL_INPUT, "").strip()
