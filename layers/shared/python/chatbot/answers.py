"""The shapes that answers are made of. What a resource answers stands beside its handler, in
`functions/<resource>/answers.py`, as typed dictionaries and a map `ANSWERS` from endpoint to shape.

Nothing of this is loaded at run time: handlers return what SQL and DynamoDB give. The OpenAPI
document is made of it at build time, and the end-to-end tests hold every answer against that.
"""

from typing import Annotated, Literal, TypedDict

from pydantic import ConfigDict, Field

type Id = Annotated[str, Field(json_schema_extra={"format": "uuid"})]
type Time = Annotated[
    str,
    Field(
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|\+00:00)$",
        json_schema_extra={"format": "date-time"},
    ),
]
type Money = Annotated[
    str, Field(pattern=r"^\d+(\.\d+)?$", description="USD, as a decimal string.")
]
type Count = Annotated[int, Field(ge=0)]


class Shape(TypedDict):
    """A JSON object with exactly its fields; those that can be absent are `NotRequired`."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]


class Resource(Shape):
    """What every resource carries."""

    id: Id
    created_at: Time
    updated_at: Time


class User(Resource):
    """An account."""

    email: str
    username: str
    full_name: str
    is_active: bool
    is_admin: bool


class Quota(Shape, total=False):
    """Limits of a workspace; one that is absent does not hold."""

    monthly_tokens: Count
    monthly_cost: Money
    max_concurrent_turns: Annotated[int, Field(ge=1)]


class Workspace(Resource):
    """A tenant. `permissions` are the caller's own in it."""

    name: str
    slug: str
    status: Literal["active", "deleting"]
    quota: Quota
    permissions: list[str]


class TokenUsage(Shape):
    """Tokens of an answer, `estimated` where the model did not say."""

    input_tokens: Count
    output_tokens: Count
    estimated: bool


class Citation(Shape):
    """A passage that an answer quotes."""

    number: Annotated[int, Field(ge=1)]
    document_id: Id
    title: str
    url: str | None


class Failure(Shape):
    """Why an answer failed."""

    code: str
    detail: str
