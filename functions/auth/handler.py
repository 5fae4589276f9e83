"""Registration, sign-in and sessions. Open routes are limited by address, log-in by account too,
mails by whom they go to."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from chatbot import audit, connections, database, mail, passwords, rate_limit, tokens
from chatbot.api import Access, Api, Request
from chatbot.errors import Conflict, Forbidden, NotFound, Unauthorized, ValidationFailed
from chatbot.settings import settings

if TYPE_CHECKING:
    from functions.auth.bodies import (
        Address,
        Login,
        MailedToken,
        PasswordReset,
        RefreshToken,
        Registration,
    )

api = Api("auth")


@api.post("/auth/register", Access.OPEN, status=201, problems=[Conflict, Forbidden])
def register(body: Registration) -> dict[str, Any]:
    """Register an account. Where addresses are verified, a known one gets the same answer as a new
    one, and a mail that says so."""
    if not settings().registration_enabled:
        raise Forbidden("registration is off")
    given = body.changes()
    given["verified"] = not settings().email_verification_required
    given["password_hash"] = passwords.hashed(given.pop("password"))
    user: dict[str, Any] = database.call("app.register", given)
    if not given["verified"]:
        mail.enqueue("verify_email", email=body.email)
    return user


@api.post("/auth/verify-email", Access.OPEN, status=204)
def verify_email(body: MailedToken) -> None:
    """Confirm an address with the token that was mailed there."""
    if database.call("app.verify_email", {"token_hash": tokens.digest(body.token)}) is None:
        raise _invalid_token()


def _invalid_token() -> ValidationFailed:
    message = "the token is unknown, spent or expired"
    error = {"loc": ["body", "token"], "msg": message, "type": "token_invalid"}
    return ValidationFailed(message, errors=[error])


@api.post("/auth/login", Access.OPEN, problems=[Unauthorized])
def login(request: Request, body: Login) -> dict[str, Any]:
    """Sign in. A wrong password, an unknown and an inactive user get one answer, as late."""
    account = tokens.digest(passwords.account_name(body.email))
    window = request.count(f"sign-in#{account}", settings().sign_in_attempts_per_minute)
    user = database.call("app.credentials", {"email": body.email}) or {}
    right = passwords.matches(body.password, user.get("password_hash"))
    verified = user.get("email_verified") or not settings().email_verification_required
    if not (right and user["is_active"] and verified):
        audit.sign_in_refused(body.email)
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


@api.post("/auth/refresh", Access.OPEN, problems=[Unauthorized])
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


@api.post("/auth/password/forgot", Access.OPEN, status=202)
def forgot_password(body: Address) -> None:
    """Ask for a mail with a link to a new password. The answer does not tell whether it comes."""
    mail.enqueue("reset_password", email=body.email)


@api.post("/auth/password/reset", Access.OPEN, status=204)
def reset_password(body: PasswordReset) -> None:
    """Set a password with a mailed token. All sessions and connections of the user end."""
    change = {
        "token_hash": tokens.digest(body.token),
        "password_hash": passwords.hashed(body.password),
    }
    user = database.call("app.reset_password", change)
    if user is None:
        raise _invalid_token()
    connections.end_user(user["user_id"])


@api.post("/auth/invitations/accept", Access.ACCOUNT, problems=[NotFound])
def accept_invitation(request: Request, body: MailedToken) -> Any:
    """Join a workspace with the token that was mailed to the caller's own verified address."""
    return request.call("app.accept_invitation", {"token_hash": tokens.digest(body.token)})


@api.post("/auth/ws-ticket", Access.ACCOUNT)
def ws_ticket(request: Request) -> dict[str, Any]:
    """Get a ticket for one WebSocket handshake."""
    request.query("SELECT to_jsonb(true)")  # refuses an inactive user
    return {
        "ticket": tokens.issue_ticket(request.principal),
        "expires_in": tokens.TICKET_SECONDS,
    }


handler = api.handler
