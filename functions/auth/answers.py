"""What the routes of sign-in answer."""

from typing import Annotated, Any, Literal

from pydantic import Field

from chatbot.answers import Shape, User, Workspace

type Seconds = Annotated[int, Field(ge=1, description="Seconds from now.")]


class TokenPair(Shape):
    """An access token for the header `Authorization`, and the refresh token for the next pair."""

    access_token: str
    refresh_token: str
    token_type: Literal["bearer"]
    expires_in: Seconds


class Ticket(Shape):
    """Opens one WebSocket connection, as `?ticket=`."""

    ticket: str
    expires_in: Seconds


ANSWERS: dict[str, Any] = {
    "register": User,
    "login": TokenPair,
    "refresh": TokenPair,
    "forgot_password": None,
    "ws_ticket": Ticket,
    "accept_invitation": Workspace,
}
