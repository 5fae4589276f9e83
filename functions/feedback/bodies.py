"""What clients send of feedback."""

from typing import Annotated

from pydantic import Field

from chatbot.bodies import Body


class Rating(Body):
    """A rating from 1 to 5, with words or without."""

    rating: Annotated[int, Field(ge=1, le=5)]
    comment: Annotated[str, Field(max_length=4000)] | None = None
