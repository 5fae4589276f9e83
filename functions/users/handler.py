"""The caller's own account, and all accounts for platform administrators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chatbot import connections, passwords, purging
from chatbot.api import Access, Api, Request
from chatbot.errors import NotFound, ValidationFailed
from chatbot.paging import Page
from chatbot.settings import settings

if TYPE_CHECKING:
    from functions.users.bodies import AccountPatch, NewUser, PasswordChange, UserPatch

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
    purging.start("user", request.principal.user_id)


@api.post("/users/me/password", Access.ACCOUNT, status=204)
def change_password(request: Request, body: PasswordChange) -> None:
    """Change the password. All sessions, tokens and connections of the user end, these too."""
    account = f"sign-in#{request.principal.user_id}"
    request.count(account, settings().sign_in_attempts_per_minute)
    held = request.call("app.password_hash")
    if not passwords.matches(body.current_password, held["password_hash"]):
        message = "the current password is wrong"
        error = {"loc": ["body", "current_password"], "msg": message, "type": "password_wrong"}
        raise ValidationFailed(message, errors=[error])
    request.call("app.change_password", {"password_hash": passwords.hashed(body.new_password)})
    connections.end_user(request.principal.user_id)


@api.get("/users", Access.ADMINISTRATOR)
def index(request: Request, page: Page) -> Any:
    """List all users."""
    return page.answer(request.query(LIST, page.params, administrator="required"))


@api.post("/users", Access.ADMINISTRATOR, status=201, idempotent=True)
def create_user(request: Request, body: NewUser) -> Any:
    """Make a user, whose address counts as verified."""
    given = body.changes()
    given["password_hash"] = passwords.hashed(given.pop("password"))
    return request.call("app.create_user", given)


@api.get("/users/<user_id>", Access.ADMINISTRATOR)
def read_user(request: Request, user_id: str) -> Any:
    """Read a user."""
    return request.query(SELECT, {"id": user_id}, administrator="required")


@api.patch("/users/<user_id>", Access.ADMINISTRATOR)
def update_user(request: Request, user_id: str, body: UserPatch) -> Any:
    """Change a user. The last active administrator stays one: 409."""
    changes = body.changes()
    changed = request.call("app.update_user", {"target_id": user_id, "changes": changes})
    if changed is None:
        raise NotFound
    if not changed["is_active"]:
        connections.end_user(user_id)
    return changed


@api.delete("/users/<user_id>", Access.ADMINISTRATOR, status=204)
def delete_user(request: Request, user_id: str) -> None:
    """Delete a user. The last administrator and the last owner of a workspace get a 409."""
    if request.call("app.delete_user", {"target_id": user_id}) is None:
        raise NotFound
    connections.end_user(user_id)
    purging.start("user", user_id)


LIST = """
SELECT app.page(array_agg(item ORDER BY created_at DESC, id DESC), ($1 ->> 'limit')::int)
FROM (
    SELECT created_at, id, app.json(account) AS item
    FROM app.users AS account
    WHERE $1 -> 'after' IS NULL OR (created_at, id)
        < (($1 #>> '{after,created_at}')::timestamptz, ($1 #>> '{after,id}')::uuid)
    ORDER BY created_at DESC, id DESC
    LIMIT ($1 ->> 'limit')::int + 1
) AS listed
"""
SELECT = """
SELECT app.json(account) FROM app.users AS account WHERE id = ($1 ->> 'id')::uuid
"""

handler = api.handler
