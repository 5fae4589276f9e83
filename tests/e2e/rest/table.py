"""The contract's permission table, and for each of its rows a request that the route takes.

A new route needs a row here; `test_access.py` fails without one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

from chatbot.api import Access, Api, Route

FUNCTIONS = Path(__file__).parents[3] / "functions"
PASSWORD = "correct horse battery staple"
STALE = {"If-Match": '"0"'}  # no row has this version: whoever may change it gets a 412

OPEN, ACCOUNT, MEMBER = Access.OPEN, Access.ACCOUNT, Access.MEMBER
ADMINISTRATOR = Access.ADMINISTRATOR  # who is no member of the workspace

ROLES: dict[str, set[str]] = {
    "viewer": {"members:read", "chatbots:read", "chat:use", "documents:read"},
    "editor": {
        "members:read",
        "roles:read",
        "chatbots:read",
        "chatbots:write",
        "chat:use",
        "feedback:read",
        "sources:read",
        "sources:write",
        "documents:read",
        "documents:write",
        "usage:read",
    },
}
ROLES["admin"] = ROLES["editor"] | {
    "workspace:update",
    "members:write",
    "roles:write",
    "conversations:read_all",
    "audit:read",
}
ROLES["owner"] = ROLES["admin"] | {"workspace:delete"}

type Ids = Mapping[str, str]


def _nothing(_: Ids) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Row:
    """A route, who may call it, what it answers to them, and a body for it.

    `who` is a permission's name or an `Access`. Where `also_administrator`, platform administrators
    may call it without being members.
    """

    route: str
    who: str | Access
    status: int = 200
    body: Callable[[Ids], Any] = _nothing
    also_administrator: bool = False

    @property
    def method(self) -> str:
        return self.route.split(" ")[0]

    @property
    def path(self) -> str:
        return self.route.split(" ")[1]

    @property
    def name(self) -> str:
        return self.route.replace("/workspaces/{workspace_id}", "/w").replace(" ", "_")

    @property
    def headers(self) -> dict[str, str]:
        return dict(STALE) if self.status == 412 else {}

    def url(self, ids: Ids) -> str:
        """The path with ids in it, below `/api/v1`."""
        return self.path.format(**ids)

    def expected(self, actor: str) -> int:
        """The status that an actor of the cast gets."""
        if self.who is OPEN:
            return self.status
        if actor in ("nobody", "deactivated"):
            return 401
        if self.who is ACCOUNT:
            return self.status
        within = self.path.startswith("/workspaces/")
        if actor == "administrator" and (self.also_administrator or self.who == ADMINISTRATOR):
            return self.status
        if within and actor not in ROLES:
            return 404
        if self.who is MEMBER or self.who in ROLES.get(actor, ()):
            return self.status
        return 403


def _new_email() -> str:
    return f"someone-{uuid4().hex[:16]}@example.com"


def _name() -> str:
    return f"Another {uuid4().hex[:16]}"


def _person(_: Ids) -> dict[str, Any]:
    return {
        "email": _new_email(),
        "username": "someone",
        "full_name": "Someone Else",
        "password": PASSWORD,
    }


def _source(_: Ids) -> dict[str, Any]:
    """A source that no schedule ever runs."""
    return {
        "provider": "slack",
        "name": _name(),
        "config": {},
        "credentials": {"bot_token": "xoxb-unknown"},
        "schedule": "cron(0 0 1 1 ? 2199)",
    }


W = "/workspaces/{workspace_id}"
ROWS = [
    Row("POST /auth/register", OPEN, 201, _person),
    Row("POST /auth/verify-email", OPEN, 422, lambda _: {"token": "unknown"}),
    Row("POST /auth/login", OPEN, 200, lambda i: {"email": i["email"], "password": PASSWORD}),
    Row("POST /auth/refresh", OPEN, 401, lambda _: {"refresh_token": "unknown"}),
    Row("POST /auth/logout", ACCOUNT, 204, lambda _: {"refresh_token": "unknown"}),
    Row("POST /auth/password/forgot", OPEN, 202, lambda _: {"email": _new_email()}),
    Row(
        "POST /auth/password/reset",
        OPEN,
        422,
        lambda _: {"token": "unknown", "password": PASSWORD},
    ),
    Row("POST /auth/ws-ticket", ACCOUNT),
    Row("POST /auth/invitations/accept", ACCOUNT, 404, lambda _: {"token": "unknown"}),
    Row("GET /users/me", ACCOUNT),
    Row("PATCH /users/me", ACCOUNT, 412, lambda _: {"full_name": "Other"}),
    Row("DELETE /users/me", ACCOUNT, 412),
    Row(
        "POST /users/me/password",
        ACCOUNT,
        422,
        lambda _: {"current_password": "wrong", "new_password": PASSWORD},
    ),
    Row("GET /users", ADMINISTRATOR),
    Row("POST /users", ADMINISTRATOR, 201, _person),
    Row("GET /users/{user_id}", ADMINISTRATOR),
    Row("PATCH /users/{user_id}", ADMINISTRATOR, 412, lambda _: {"full_name": "Other"}),
    Row("DELETE /users/{user_id}", ADMINISTRATOR, 412),
    Row("GET /workspaces", ACCOUNT),
    Row("POST /workspaces", ACCOUNT, 201, lambda _: {"name": _name()}),
    Row(f"GET {W}", MEMBER, also_administrator=True),
    Row(f"PATCH {W}", "workspace:update", 412, lambda _: {"name": "Other"}),
    Row(f"PATCH {W} quota", ADMINISTRATOR, 412, lambda _: {"quota": {"monthly_tokens": 1}}),
    Row(f"DELETE {W}", "workspace:delete", 412),
    Row(f"GET {W}/members", "members:read"),
    Row(
        f"PATCH {W}/members/{{user_id}}",
        "members:write",
        412,
        lambda i: {"role_id": i["viewer_role_id"]},
    ),
    Row(f"DELETE {W}/members/{{user_id}}", "members:write", 412),
    Row(f"GET {W}/invitations", "members:write"),
    Row(
        f"POST {W}/invitations",
        "members:write",
        201,
        lambda i: {"email": _new_email(), "role_id": i["viewer_role_id"]},
    ),
    Row(f"DELETE {W}/invitations/{{invitation_id}}", "members:write", 412),
    Row(f"GET {W}/permissions", "roles:read"),
    Row(f"GET {W}/roles", "roles:read"),
    Row(
        f"POST {W}/roles",
        "roles:write",
        201,
        lambda _: {"name": _name(), "permissions": ["chat:use"]},
    ),
    Row(f"GET {W}/roles/{{role_id}}", "roles:read"),
    Row(f"PATCH {W}/roles/{{role_id}}", "roles:write", 412, lambda _: {"name": "Other"}),
    Row(f"DELETE {W}/roles/{{role_id}}", "roles:write", 412),
    Row(f"GET {W}/models", "chatbots:read"),
    Row(f"GET {W}/tools", "chatbots:read"),
    Row(f"GET {W}/chatbots", "chatbots:read"),
    Row(f"POST {W}/chatbots", "chatbots:write", 201, lambda _: {"name": _name()}),
    Row(f"GET {W}/chatbots/{{chatbot_id}}", "chatbots:read"),
    Row(f"PATCH {W}/chatbots/{{chatbot_id}}", "chatbots:write", 412, lambda _: {"name": "Other"}),
    Row(f"DELETE {W}/chatbots/{{chatbot_id}}", "chatbots:write", 412),
    Row(f"GET {W}/conversations", "chat:use"),
    Row(
        f"POST {W}/conversations",
        "chat:use",
        201,
        lambda i: {"chatbot_id": i["chatbot_id"], "title": _name()},
    ),
    Row(f"GET {W}/conversations/{{conversation_id}}", "chat:use"),
    Row(
        f"PATCH {W}/conversations/{{conversation_id}}",
        "chat:use",
        412,
        lambda _: {"title": "Other"},
    ),
    Row(f"DELETE {W}/conversations/{{conversation_id}}", "chat:use", 412),
    Row(f"GET {W}/conversations/{{conversation_id}}/messages", "chat:use"),
    Row(
        f"PUT {W}/conversations/{{conversation_id}}/messages/{{message_id}}/feedback",
        "chat:use",
        200,
        lambda _: {"rating": 4, "comment": "good"},
    ),
    Row(
        f"DELETE {W}/conversations/{{conversation_id}}/messages/{{message_id}}/feedback",
        "chat:use",
        412,
    ),
    Row(f"GET {W}/feedback", "feedback:read"),
    Row(f"GET {W}/feedback/summary", "feedback:read"),
    Row(f"GET {W}/sources", "sources:read"),
    Row(f"POST {W}/sources", "sources:write", 201, _source),
    Row(f"GET {W}/sources/{{source_id}}", "sources:read"),
    Row(f"PATCH {W}/sources/{{source_id}}", "sources:write", 412, lambda _: {"name": "Other"}),
    Row(f"DELETE {W}/sources/{{source_id}}", "sources:write", 412),
    Row(f"POST {W}/sources/{{source_id}}/sync", "sources:write", 409),  # one runs already
    Row(f"POST {W}/sources/{{source_id}}/replay", "sources:write", 202),
    Row(f"GET {W}/jobs", "sources:read"),
    Row(f"GET {W}/jobs/{{job_id}}", "sources:read"),
    Row(f"GET {W}/documents", "documents:read"),
    Row(
        f"POST {W}/documents",
        "documents:write",
        201,
        lambda _: {"title": _name(), "content": "Some text."},
    ),
    Row(f"GET {W}/documents/{{document_id}}", "documents:read"),
    Row(f"DELETE {W}/documents/{{document_id}}", "documents:write", 412),
    Row(f"POST {W}/search", "chat:use", 200, lambda _: {"query": "some text"}),
    Row(f"GET {W}/usage", "usage:read"),
    Row(f"GET {W}/audit", "audit:read"),
]


@cache
def declared() -> dict[str, Route]:
    """The routes below `/api/v1` that the handlers declare, by `METHOD path` as in `ROWS`."""
    found = {}
    for file in sorted(FUNCTIONS.glob("*/handler.py")):
        module = import_module(f"functions.{file.parent.name}.handler")
        api = getattr(module, "api", None)
        if isinstance(api, Api):
            for route in api.routes:
                prefix, _, path = route.path.partition("/api/v1")
                if path and not prefix:
                    found[f"{route.method} {re.sub(r'<(\w+)>', r'{\1}', path)}"] = route
    return found


def route_of(row: Row) -> Route:
    return declared()[f"{row.method} {row.path}"]


def rows(wanted: Callable[[Row], bool] = lambda _: True) -> list[Row]:
    """The rows of the routes that there are."""
    return [row for row in ROWS if f"{row.method} {row.path}" in declared() and wanted(row)]
