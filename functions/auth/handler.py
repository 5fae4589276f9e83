"""Registration, sign-in and sessions. Open routes are limited by address, log-in by account too."""

import uuid
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from chatbot import database, passwords, rate_limit, tokens
from chatbot.api import Access, Api, Request
from chatbot.bodies import Body
from chatbot.errors import Forbidden, Unauthorized
from chatbot.settings import settings

api = Api("auth")

type Email = Annotated[str, Field(max_length=254, pattern=r"^[^@\s]+@[^@\s.]+(\.[^@\s.]+)+$")]
type NewPassword = Annotated[str, AfterValidator(passwords.check_new)]
type OpaqueToken = Annotated[str, Field(min_length=1, max_length=256)]


class Registration(Body):
    email: Email
    username: Annotated[str, Field(min_length=1, max_length=64)]
    full_name: Annotated[str, Field(min_length=1, max_length=200)]
    password: NewPassword


class Login(Body):
    email: Annotated[str, Field(max_length=254)]
    password: Annotated[str, AfterValidator(passwords.check_length)]


class RefreshToken(Body):
    refresh_token: OpaqueToken


@api.post("/auth/register", Access.OPEN, status=201)
def register(body: Registration) -> dict[str, Any]:
    """Register an account."""
    if not settings().registration_enabled:
        raise Forbidden("registration is off")
    given = body.changes()
    given["password_hash"] = passwords.hashed(given.pop("password"))
    given["verified"] = not settings().email_verification_required
    user: dict[str, Any] = database.call("app.register", given)
    return user


@api.post("/auth/login", Access.OPEN)
def login(request: Request, body: Login) -> dict[str, Any]:
    """Sign in. A wrong password, an unknown and an inactive user get one answer, as late."""
    account = tokens.digest(passwords.account_name(body.email))
    window = request.count(f"sign-in#{account}", settings().sign_in_attempts_per_minute)
    user = database.call("app.credentials", {"email": body.email}) or {}
    right = passwords.matches(body.password, user.get("password_hash"))
    verified = user.get("email_verified") or not settings().email_verification_required
    if not (right and user["is_active"] and verified):
        raise Unauthorized("the address or the password is wrong")
    rate_limit.refund(window)
    refresh_token = tokens.new_opaque_token()
    database.call(
        "app.start_session",
        {
            "user_id": user["user_id"],
            "token_version": user["token_version"],
            "token_hash": tokens.digest(refresh_token),
            "family_id": str(uuid.uuid4()),
            "expires_in": settings().refresh_token_seconds,
            "family_expires_in": settings().refresh_family_seconds,
        },
    )
    return _pair(user, refresh_token)


@api.post("/auth/refresh", Access.OPEN)
def refresh(request: Request, body: RefreshToken) -> dict[str, Any]:
    """Spend a refresh token for a new pair."""
    refresh_token = tokens.new_opaque_token()
    session = database.call(
        "app.rotate_session",
        {
            "token_hash": tokens.digest(body.refresh_token),
            "new_token_hash": tokens.digest(refresh_token),
            "expires_in": settings().refresh_token_seconds,
            "at_ms": request.at_ms,
        },
    )
    if session["status"] != "ok":
        raise Unauthorized("the refresh token is not valid")
    return _pair(session, refresh_token)


def _pair(user: dict[str, Any], refresh_token: str) -> dict[str, Any]:
    return {
        "access_token": tokens.issue_access_token(user["user_id"], user["token_version"]),
        "refresh_token": refresh_token,
        "token_type": "bearer",
        "expires_in": settings().access_token_seconds,
    }


@api.post("/auth/logout", Access.ACCOUNT, status=204)
def logout(request: Request, body: RefreshToken) -> None:
    """End the session of a refresh token."""
    request.call("app.end_session", {"token_hash": tokens.digest(body.refresh_token)})


@api.post("/auth/ws-ticket", Access.ACCOUNT)
def ws_ticket(request: Request) -> dict[str, Any]:
    """Get a ticket for one WebSocket handshake."""
    request.query("SELECT to_jsonb(true)")  # refuses an inactive user
    return {
        "ticket": tokens.issue_ticket(request.principal),
        "expires_in": tokens.TICKET_SECONDS,
    }


handler = api.handler
