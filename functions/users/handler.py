"""The caller's own account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chatbot import connections, passwords
from chatbot.api import Access, Api, Request
from chatbot.errors import ValidationFailed
from chatbot.settings import settings

if TYPE_CHECKING:
    from functions.users.bodies import AccountPatch, PasswordChange

api = Api("users")


@api.get("/users/me", Access.ACCOUNT)
def read(request: Request) -> Any:
    """Read the caller's account."""
    return request.query(
        "SELECT app.json(account) FROM app.users AS account WHERE id = app.user_id()"
    )


@api.patch("/users/me", Access.ACCOUNT)
def update(request: Request, body: AccountPatch) -> Any:
    """Change the caller's names."""
    return request.query(
        """
        UPDATE app.users AS account
        SET username = coalesce($1 ->> 'username', username),
            full_name = coalesce($1 ->> 'full_name', full_name)
        WHERE id = app.user_id()
        RETURNING app.json(account)
        """,
        body.changes(),
    )


@api.delete("/users/me", Access.ACCOUNT, status=204)
def delete(request: Request) -> None:
    """Delete the caller's account. The last owner of a workspace gets a 409."""
    request.query("DELETE FROM app.users WHERE id = app.user_id() RETURNING to_jsonb(id)")
    connections.end_user(request.principal.user_id)


@api.post("/users/me/password", Access.ACCOUNT, status=204)
def change_password(request: Request, body: PasswordChange) -> None:
    """Change the password. All sessions and tokens of the user end, this one too."""
    account = f"sign-in#{request.principal.user_id}"
    request.count(account, settings().sign_in_attempts_per_minute)
    held = request.call("app.password_hash")
    if not passwords.matches(body.current_password, held["password_hash"]):
        message = "the current password is wrong"
        error = {"loc": ["body", "current_password"], "msg": message, "type": "password_wrong"}
        raise ValidationFailed(message, errors=[error])
    request.call("app.change_password", {"password_hash": passwords.hashed(body.new_password)})


handler = api.handler
