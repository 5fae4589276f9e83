"""What the routes of members and invitations answer."""

from typing import Any, Literal

from chatbot.answers import Id, Resource, Shape, Time


class Person(Shape):
    """Who the member is."""

    id: Id
    email: str
    username: str
    full_name: str


class MemberRole(Shape):
    """What the member may do; the role's permissions are read with the role."""

    id: Id
    name: str


class Member(Shape):
    """A user of the workspace, known by the user's id."""

    user: Person
    role: MemberRole
    created_at: Time


class Invitation(Resource):
    """An address that was asked to join, and who joined."""

    email: str
    role_id: Id
    status: Literal["pending", "accepted"]
    expires_at: Time


ANSWERS: dict[str, Any] = {
    "index": Member,
    "update": Member,
    "invitations": Invitation,
    "invite": Invitation,
}
