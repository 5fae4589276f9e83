"""The caller's own account."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from chatbot import passwords
from chatbot.api import Access, Api, Body, Request
from chatbot.errors import ValidationFailed
from chatbot.settings import settings

api = Api("users")


class AccountPatch(Body):
    username: Annotated[str, Field(min_length=1, max_length=64)] = ""
    full_name: Annotated[str, Field(min_length=1, max_length=200)] = ""


class PasswordChange(Body):
    current_password: Annotated[str, AfterValidator(passwords.check_length)]
    new_password: Annotated[str, AfterValidator(passwords.check_new)]


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
