"""What clients send of a workspace."""

from typing import Annotated

from pydantic import Field

from chatbot.bodies import Body

type Name = Annotated[str, Field(min_length=1, max_length=200)]
type Slug = Annotated[str, Field(max_length=63, pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]


class NewWorkspace(Body):
    name: Name
    slug: Slug | None = None


class QuotaPatch(Body):
    """A limit of null is taken away."""

    monthly_tokens: Annotated[int, Field(ge=0, le=10**15)] | None = None
    monthly_cost: Annotated[str, Field(pattern=r"^[0-9]{1,12}(\.[0-9]{1,6})?$")] | None = None
    max_concurrent_turns: Annotated[int, Field(ge=1, le=10_000)] = 1


class WorkspacePatch(Body):
    name: Name = ""
    slug: Slug = ""
    quota: QuotaPatch = QuotaPatch()
