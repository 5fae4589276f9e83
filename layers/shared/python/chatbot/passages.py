"""The passages that were found for a turn, numbered, between the states that find and use them."""

import json
from typing import NamedTuple

from chatbot import tables, turns
from chatbot.aws import client
from chatbot.identifiers import now_ms
from chatbot.settings import settings

SEQ = -1  # before the turn's head, where no reader of frames looks


class Passage(NamedTuple):
    """A chunk of a document; `number` is what the model cites it by."""

    number: int
    document_id: str
    title: str
    url: str | None
    content: str


def put(message_id: str, found: list[Passage]) -> None:
    """Store a turn's passages, in the place of those of an earlier try."""
    item = turns.key(message_id, SEQ) | {
        "passages": json.dumps([passage._asdict() for passage in found], ensure_ascii=False),
        "expires_at": now_ms() // 1000 + turns.FRAME_TTL_SECONDS,
    }
    client("dynamodb").put_item(TableName=settings().turns_table, Item=tables.pack(item))


def get(message_id: str) -> list[Passage] | None:
    """A turn's passages; None where nothing was looked for, or the search failed."""
    item = tables.get(settings().turns_table, turns.key(message_id, SEQ))
    return [Passage(**values) for values in json.loads(item["passages"])] if item else None
