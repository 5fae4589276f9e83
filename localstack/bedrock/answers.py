"""What the stand-in says: a plan of the whole answer, made before the first piece is sent."""

import hashlib
import json
import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from localstack.bedrock.directives import Directives, ToolCall, parse, without
from localstack.bedrock.embeddings import FUNCTION_WORDS

_WORDS = Path(__file__).with_name("words.txt").read_text(encoding="utf-8").split()
_PIECE = re.compile(r"\S{1,16}\s*|\s+")
_PASSAGE = re.compile(r"(?:^|\n)\s*(?:<passage[^>]*\bnumber=\"|\[)(\d+)(?:\"[^>]*>|\])")
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]?")
_WORD = re.compile(r"\w{3,}")


@dataclass(frozen=True)
class Answer:
    """`pieces` joined are the text; then come the tool calls; then the stream stops."""

    pieces: list[str]
    tools: list[ToolCall]
    stop_reason: str
    output_tokens: int
    directives: Directives = field(repr=False)


def count_tokens(text: str) -> int:
    """The fixed rule: a token for every four bytes of UTF-8, rounded up."""
    return math.ceil(len(text.encode()) / 4)


def input_tokens(body: Mapping[str, Any]) -> int:
    """The tokens of all that the model is sent: system, messages and tool descriptions."""
    parts = [body.get("system"), body.get("messages"), body.get("toolConfig")]
    return sum(
        count_tokens(json.dumps(_without_points(part), ensure_ascii=False))
        for part in parts
        if part
    )


def _without_points(part: Any) -> Any:
    if isinstance(part, dict):
        return {name: _without_points(value) for name, value in part.items()}
    if isinstance(part, list):
        kept = (item for item in part if not isinstance(item, dict) or "cachePoint" not in item)
        return [_without_points(item) for item in kept]
    return part


def text_of(block: Mapping[str, Any]) -> str | None:
    """The text of a block that has one, guarded or not."""
    text = block.get("guardContent", {}).get("text", block).get("text")
    return None if text is None else str(text)


def own_words(messages: Sequence[Mapping[str, Any]]) -> str:
    """The last text block of the last user message that has one, or an empty string."""
    for message in reversed(messages):
        texts = [text for block in message["content"] if (text := text_of(block)) is not None]
        if message["role"] == "user" and texts:
            return texts[-1]
    return ""


def words(count: int) -> str:
    """The same words every time, one space between them."""
    source = random.Random(42)  # noqa: S311  # a fixed text, nothing secret
    return " ".join(source.choice(_WORDS) for _ in range(count))


def fingerprint(messages: Sequence[Mapping[str, Any]]) -> str:
    """What `[[throttle]]` counts its calls by: the conversation as it was sent."""
    return hashlib.sha256(json.dumps(messages, sort_keys=True).encode()).hexdigest()


def _results(message: Mapping[str, Any]) -> list[str]:
    """The tool results in a message, as text."""
    return [
        part["text"] if "text" in part else json.dumps(part.get("json"))
        for block in message["content"]
        for part in block.get("toolResult", {}).get("content", [])
    ]


def _passages(body: Mapping[str, Any], question: str) -> list[tuple[str, str]]:
    """Numbered passages in the system prompt and in blocks before the question."""
    texts = [block["text"] for block in body.get("system") or [] if "text" in block]
    texts += [
        block["text"]
        for block in body["messages"][-1]["content"]
        if "text" in block and block["text"] is not question
    ]
    found = []
    for text in texts:
        marks = list(_PASSAGE.finditer(text))
        ends = [mark.start() for mark in marks[1:]] + [len(text)]
        found += [
            (mark.group(1), text[mark.end() : end]) for mark, end in zip(marks, ends, strict=False)
        ]
    return found


def _stems(text: str) -> set[str]:
    words = {word.casefold() for word in _WORD.findall(text)}
    return {word[:6] for word in words - FUNCTION_WORDS}


def _from_passages(body: Mapping[str, Any], question: str) -> str | None:
    """The sentence of each passage that shares most words with the question, with its number: of
    the best passages, as a model cites what it used and not all that it was sent. Where that one
    asks, as in a thread, a sentence that does not."""
    asked = _stems(without(question))

    def shared(sentence: str) -> int:
        return len(asked & _stems(sentence))

    quotes = []
    for number, passage in _passages(body, question):
        sentences = [sentence.strip() for sentence in _SENTENCE.findall(passage)]
        best = max(sentences, key=shared, default="")
        said = [sentence for sentence in sentences if not sentence.endswith("?")]
        quote = max(said, key=shared, default=best) if best.endswith("?") else best
        quotes.append((shared(best), int(number), f"{quote} [{number}]"))
    most = max((found for found, _, _ in quotes), default=0)
    used = sorted((-found, number, quote) for found, number, quote in quotes if 2 * found > most)
    return " ".join(quote for _, _, quote in used[:3]) or None


def _text(body: Mapping[str, Any], question: str, directives: Directives) -> str:
    if directives.text is not None:
        return directives.text
    if directives.words is not None:
        return words(directives.words)
    results = _results(body["messages"][-1])
    if results:
        return "The tools answered: " + " ".join(results)
    return _from_passages(body, question) or f"You asked: {without(question) or question}"


def _tools(body: Mapping[str, Any], directives: Directives) -> list[ToolCall]:
    if directives.tool_loop is not None:
        return [directives.tool_loop]
    # The results of the round before stand in the last message, which then has no words.
    answered = any("toolResult" in block for block in body["messages"][-1]["content"])
    return [] if answered else list(directives.tools)


def _cut(pieces: list[str], limit: int) -> list[str]:
    """As many pieces as fit a number of tokens."""
    kept, length = [], 0
    for piece in pieces:
        length += len(piece.encode())
        if length > limit * 4:
            break
        kept.append(piece)
    return kept


def plan(body: Mapping[str, Any]) -> Answer:
    """The answer to a request that is valid."""
    question = own_words(body["messages"])
    directives = parse(question)
    tools = _tools(body, directives)
    text = "" if tools else _text(body, question, directives)
    stop_reason = "tool_use" if tools else "end_turn"
    inference = body.get("inferenceConfig") or {}
    for sequence in inference.get("stopSequences") or []:
        if sequence in text:
            text, stop_reason = text[: text.index(sequence)], "stop_sequence"
    pieces = _PIECE.findall(text)
    limit = inference.get("maxTokens")
    if limit is not None and count_tokens(text) > limit:
        pieces, stop_reason = _cut(pieces, limit), "max_tokens"
    elif directives.max_tokens:
        stop_reason = "max_tokens"
    tokens = count_tokens("".join(pieces)) + sum(
        count_tokens(tool.name + json.dumps(tool.input)) for tool in tools
    )
    return Answer(pieces, tools, stop_reason, max(tokens, 1), directives)
