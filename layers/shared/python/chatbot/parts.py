"""What a run keeps beside a source's jobs: values in little space, and the pages of a document that
takes more than one call to read.
"""

import base64
import json
import zlib
from collections.abc import Iterator
from itertools import batched
from typing import Any

from chatbot import tables
from chatbot.aws import client
from chatbot.settings import settings

# Of a text, in an item of at most 400 KB.
_PIECE = 350_000


def squeeze(value: Any) -> str:
    """A JSON value as a short text."""
    return base64.b85encode(zlib.compress(json.dumps(value).encode())).decode()


def unsqueeze(text: str) -> Any:
    """The value of such a text. Raises `ValueError` for another."""
    try:
        return json.loads(zlib.decompress(base64.b85decode(text)))
    except zlib.error as error:
        raise ValueError("not squeezed") from error


def put(source_id: str, page: int, items: list[Any]) -> None:
    """Keep a page, in the place of what was kept under its number."""
    text = squeeze(items)
    pieces = [text[start : start + _PIECE] for start in range(0, len(text), _PIECE)]
    for number, piece in enumerate(pieces):
        item = _key(source_id, page, number) | {"text": piece, "pieces": len(pieces)}
        client("dynamodb").put_item(TableName=settings().jobs_table, Item=tables.pack(item))


def get(source_id: str, pages: int) -> Iterator[Any]:
    """The items of so many pages."""
    for page in range(pages):
        text, number, count = "", 0, 1
        while number < count:
            row = tables.get(settings().jobs_table, _key(source_id, page, number))
            if row is None:
                raise LookupError("a page that was kept is gone")
            text, number, count = text + row["text"], number + 1, row["pieces"]
        yield from unsqueeze(text)


def drop(source_id: str) -> None:
    """Forget all pages."""
    rows = tables.query(
        settings().jobs_table,
        "source_id = :source AND begins_with(job_id, :part)",
        {":source": source_id, ":part": "PART#"},
        ProjectionExpression="source_id, job_id",
    )
    for some in batched(rows, 25):
        tables.delete_all(settings().jobs_table, some)


def _key(source_id: str, page: int, piece: int) -> dict[str, str]:
    return {"source_id": source_id, "job_id": f"PART#{page:06}#{piece:04}"}
