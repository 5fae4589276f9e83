"""What clients send of documents and searches."""

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, StringConstraints

from chatbot.bodies import Body

MAX_CONTENT_BYTES = 1024 * 1024


def _short_enough(text: str) -> str:
    if len(text.encode()) > MAX_CONTENT_BYTES:
        raise ValueError(f"a document has at most {MAX_CONTENT_BYTES} bytes of text")
    return text


type Id = Annotated[
    str,
    StringConstraints(
        pattern=r"^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$", to_lower=True
    ),
]


class NewDocument(Body):
    """A document by hand. Its text may be of Markdown: it is split at headings."""

    max_bytes: ClassVar[int] = 4 * MAX_CONTENT_BYTES  # as JSON, with what that escapes

    title: Annotated[str, Field(min_length=1, max_length=500)]
    content: Annotated[str, Field(min_length=1), AfterValidator(_short_enough)]
    url: Annotated[str, Field(max_length=2_000, pattern=r"^https?://\S+$")] | None = None


class Search(Body):
    """A question. `source_ids` limits where it is looked for; absent, everywhere."""

    query: Annotated[str, Field(min_length=1, max_length=8_000)]
    top_k: Annotated[int, Field(ge=1, le=50)] = 10
    source_ids: Annotated[list[Id], Field(max_length=100)] | None = None
