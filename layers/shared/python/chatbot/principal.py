"""Who is calling, as the authorizer found out: no handler ever sees a token."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from chatbot.errors import ServiceUnavailable, Unauthorized


@dataclass(frozen=True, slots=True)
class Principal:
    """The signed-in user: the subject of a verified access token, and the version it was made for.

    Whether that user is active and the version still current, the database checks in the same call
    as the work itself.
    """

    user_id: str
    token_version: int

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> Self:
        """The principal in an HTTP API event (payload 2.0) behind the Lambda authorizer.

        Raises `Unauthorized` with the authorizer's reason, or without one when no authorizer ran:
        a route that was deployed without it is closed, not open. Raises `ServiceUnavailable` where
        it could not tell a good token from a bad one.
        """
        authorizer = event["requestContext"].get("authorizer") or {}
        context = authorizer.get("lambda") or {}
        match context:
            case {"user_id": str(user_id), "token_version": int(version)}:
                return cls(user_id, version)
            case {"unavailable": True}:
                raise ServiceUnavailable("Sign-in cannot be checked now.", retry_after=1)
        raise Unauthorized(context.get("refusal"))
