"""What the routes of feedback answer."""

from typing import Annotated, Any

from pydantic import Field

from chatbot.answers import Count, Id, Resource, Shape


class Feedback(Resource):
    """What a user thinks of an answer."""

    conversation_id: Id
    message_id: Id
    chatbot_id: Id
    user_id: Id
    rating: Annotated[int, Field(ge=1, le=5)]
    comment: str | None


ByRating = Annotated[dict[str, Count], Field(description="How many of each rating, `1` to `5`.")]


class Counts(Shape):
    """How many ratings there are, and their mean: null where there are none."""

    count: Count
    mean: float | None
    by_rating: ByRating


class Summary(Counts):
    """All ratings that the filters let through, and those of each chatbot by its id."""

    by_chatbot: dict[str, Counts]


ANSWERS: dict[str, Any] = {"put": Feedback, "index": Feedback, "summary": Summary}
