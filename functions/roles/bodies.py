"""What clients send of a role."""

from typing import Annotated

from pydantic import AfterValidator, Field

from chatbot.bodies import Body
from chatbot.permissions import Permission


def _once(permissions: list[Permission]) -> list[Permission]:
    if len(set(permissions)) < len(permissions):
        raise ValueError("a permission stands there twice")
    return permissions


type Name = Annotated[str, Field(min_length=1, max_length=100)]
type Permissions = Annotated[
    list[Permission], AfterValidator(_once), Field(json_schema_extra={"uniqueItems": True})
]


class NewRole(Body):
    name: Name
    permissions: Permissions


class RolePatch(Body):
    name: Name = ""
    permissions: Permissions = Field(default_factory=list)
