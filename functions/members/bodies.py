"""What clients send of members and invitations."""

from typing import Annotated

from pydantic import Field

from chatbot.accounts import Email
from chatbot.bodies import Body

type Id = Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$")]


class MemberPatch(Body):
    role_id: Id


class NewInvitation(Body):
    email: Email
    role_id: Id
