"""Guardrails, as ConverseStream applies them to what is said and to what is answered.

What AWS decides by models (content filters, denied topics) two directives decide here:
`[[guardrail input]]` and `[[guardrail 80]]`, after 80 pieces of the answer. Blocked words are found
as they stand; of profanity, prompt attacks and personal data a few plain forms.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/guardrails-use-converse-api.html and
guardrails-streaming.html beside it.
"""

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp

from localstack.bedrock.directives import Directives
from localstack.bedrock.validation import Invalid

Event = tuple[str, dict[str, Any]]
Assessment = dict[str, Any]

CHUNK_CHARACTERS = 1000  # looked at together; AWS does not say how many
_SIGNED = (
    "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/bedrock/aws4_request, "
    "SignedHeaders=host, Signature=0"
)
_PROFANITY = ("damn", "bastard", "crap")
_ATTACK = re.compile(
    r"\b(?:ignore|disregard|forget)\b.{0,30}\b(?:instructions|rules|prompt)\b", re.IGNORECASE
)
_CARD = re.compile(r"(?<![\d-])(?:\d[ -]?){12,18}\d(?![\d-])")
_ENTITIES = {
    "AWS_ACCESS_KEY": re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    "CREDIT_DEBIT_CARD_NUMBER": _CARD,
    "EMAIL": re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b"),
    "PASSWORD": re.compile(r"\bpassword\s*(?:is|[:=])\s*\S+", re.IGNORECASE),
}


@dataclass(frozen=True)
class Guardrail:
    """A version of a guardrail, and how a request has it applied."""

    identifier: str
    input_message: str
    output_message: str
    words: tuple[str, ...]
    filters: frozenset[str]
    entities: frozenset[str]
    is_async: bool
    is_traced: bool

    def found(self, text: str, is_input: bool) -> Assessment | None:
        """What of a text is to be blocked, as a trace tells it."""
        for word in self.words:
            if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE):
                match = {"match": word, "action": "BLOCKED"}
                return {"wordPolicy": {"customWords": [match], "managedWordLists": []}}
        for kind in sorted(self.entities & _ENTITIES.keys()):
            for match_ in _ENTITIES[kind].finditer(text):
                if kind != "CREDIT_DEBIT_CARD_NUMBER" or _is_card(match_.group()):
                    entity = {"match": match_.group(), "type": kind, "action": "BLOCKED"}
                    policy = {"piiEntities": [entity], "regexes": []}
                    return {"sensitiveInformationPolicy": policy}
        if is_input and "PROMPT_ATTACK" in self.filters and _ATTACK.search(text):
            return _filtered("PROMPT_ATTACK")
        return None


def _filtered(kind: str) -> Assessment:
    return {
        "contentPolicy": {"filters": [{"type": kind, "confidence": "HIGH", "action": "BLOCKED"}]}
    }


def _is_card(text: str) -> bool:
    """By Luhn's sum."""
    digits = [int(character) for character in reversed(text) if character.isdigit()]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


async def load(gateway_url: str | None, config: Mapping[str, Any]) -> Guardrail:
    """The guardrail that a request names, from the control plane. Raises `Invalid`."""
    identifier, version = config.get("guardrailIdentifier"), config.get("guardrailVersion")
    missing = Invalid("The guardrail identifier or version provided in the request does not exist.")
    if not gateway_url or not identifier or not version:
        raise missing
    url = f"{gateway_url}/guardrails/{quote(identifier, safe='')}"
    async with (
        aiohttp.ClientSession(headers={"Authorization": _SIGNED}) as session,
        session.get(url, params={"guardrailVersion": version}) as answer,
    ):
        if answer.status != 200:
            raise missing
        read = await answer.json()
    words = read.get("wordPolicy") or {}
    entities = (read.get("sensitiveInformationPolicy") or {}).get("piiEntities") or []
    filters = (read.get("contentPolicy") or {}).get("filters") or []
    return Guardrail(
        identifier=read["guardrailId"],
        input_message=read["blockedInputMessaging"],
        output_message=read["blockedOutputsMessaging"],
        words=(
            *(word["text"] for word in words.get("words") or []),
            *(_PROFANITY if words.get("managedWordLists") else ()),
        ),
        filters=frozenset(entry["type"] for entry in filters),
        entities=frozenset(entry["type"] for entry in entities if entry["action"] == "BLOCK"),
        is_async=config.get("streamProcessingMode", "sync") == "async",
        is_traced=config.get("trace", "disabled") != "disabled",
    )


def _judged(messages: Sequence[Mapping[str, Any]]) -> str:
    """The blocks `guardContent` where there are some, else all texts."""
    blocks = [block for message in messages for block in message["content"]]
    guarded = [block["guardContent"].get("text", {}) for block in blocks if "guardContent" in block]
    return "\n".join(part["text"] for part in guarded or blocks if "text" in part)


def input_found(
    guardrail: Guardrail, messages: Sequence[Mapping[str, Any]], directives: Directives
) -> Assessment | None:
    """What keeps a request from the model."""
    if directives.guardrail_input:
        return _filtered("MISCONDUCT")
    return guardrail.found(_judged(messages), is_input=True)


async def applied(
    guardrail: Guardrail,
    events: AsyncIterator[Event],
    after: int | None,
    ending: Callable[[str, Assessment], list[Event]],
) -> AsyncIterator[Event]:
    """The events of an answer up to what is blocked, then the guardrail's message and the end.

    Text is looked at in chunks: before it is sent, or, asynchronously, after. `after` pieces the
    content filters find something. `ending` are the last events, for the text so far.
    """
    text, pieces, held, size = "", 0, list[Event](), 0
    async for kind, payload in events:
        piece = payload.get("delta", {}).get("text") if kind == "contentBlockDelta" else None
        if piece is not None:
            text, pieces, size = text + piece, pieces + 1, size + len(piece)
            if guardrail.is_async:
                yield kind, payload
            else:
                held.append((kind, payload))
            if size < CHUNK_CHARACTERS:
                continue
        found = guardrail.found(text, is_input=False) if size else None
        if size and after is not None and pieces > after:
            found = _filtered("MISCONDUCT")
        if found is not None:
            delta = {"delta": {"text": guardrail.output_message}, "contentBlockIndex": 0}
            yield "contentBlockDelta", delta
            yield "contentBlockStop", {"contentBlockIndex": 0}
            for event in ending(text, found):
                yield event
            return
        for event in held:
            yield event
        held, size = [], 0
        if piece is None:
            yield kind, payload


def trace(guardrail: Guardrail, found: Assessment, is_input: bool) -> dict[str, Any]:
    """What `metadata` says of an intervention: nothing unless the request asked for it."""
    if not guardrail.is_traced:
        return {}
    if is_input:
        return {"trace": {"guardrail": {"inputAssessment": {guardrail.identifier: found}}}}
    return {"trace": {"guardrail": {"outputAssessments": {guardrail.identifier: [found]}}}}
