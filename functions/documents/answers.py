"""What the routes of documents and the search answer."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field

from chatbot.answers import Count, Id, Resource, Shape, Time


class Document(Resource):
    """A document, by hand or of a source. `error` says why one failed."""

    source_id: Id | None
    external_id: str | None
    title: str
    url: str | None
    status: Literal["pending", "embedded", "failed"]
    chunk_count: Count
    source_updated_at: Time | None
    error: NotRequired[str]


class Passage(Shape):
    """A passage that was found; the greater its score, the better it fits."""

    document_id: Id
    title: str
    url: str | None
    content: str
    score: Annotated[float, Field(ge=0)]


class Passages(Shape):
    """The passages that fit best, best first."""

    items: list[Passage]


ANSWERS: dict[str, Any] = {
    "index": Document,
    "create": Document,
    "read": Document,
    "search": Passages,
}
