"""Roles; the statements and the database's own rules run in tests/integration/database."""

import base64
import json
from pathlib import Path
from typing import Any, get_args

import pytest

from chatbot.permissions import Permission
from functions.roles.handler import handler
from tests.unit.conftest import FakeDatabase
from tests.unit.rest import ALICE, WORKSPACE_A, Answer, event, send

PERMISSIONS = get_args(Permission.__value__)
ROLE = ALICE.user_id
PATH = f"/api/v1/workspaces/{WORKSPACE_A}"


@pytest.fixture(autouse=True)
def stores(cloud: None, database: FakeDatabase) -> None:
    """Counters in DynamoDB, answers from the fake database."""


def ask(method: str, path: str, body: Any = None, **request: Any) -> Answer:
    return send(handler, event(method, PATH + path, body, **request))


def test_permissions_are_those_of_the_database() -> None:
    folder = Path(__file__).parents[2] / "functions/migrate/migrations"
    text = (folder / "0002_tenants.up.sql").read_text(encoding="utf-8")
    listed = text.split("FUNCTION app.all_permissions()")[1].split("'{")[1].split("}'")[0]
    assert tuple(listed.replace("\n", "").replace(" ", "").split(",")) == PERMISSIONS


@pytest.mark.parametrize(
    ("method", "path", "body", "permission"),
    [
        ("GET", "/permissions", None, "roles:read"),
        ("GET", "/roles", None, "roles:read"),
        ("POST", "/roles", {"name": "r", "permissions": []}, "roles:write"),
        ("GET", f"/roles/{ROLE}", None, "roles:read"),
        ("PATCH", f"/roles/{ROLE}", {"name": "r"}, "roles:write"),
        ("DELETE", f"/roles/{ROLE}", None, "roles:write"),
    ],
)
def test_route_asks_for_its_permission(
    method: str, path: str, body: Any, permission: str, database: FakeDatabase
) -> None:
    database.answers = [{"items": [], "more": False}]
    if path == "/permissions":
        database.answers = [list(PERMISSIONS)]
    assert ask(method, path, body).status in (200, 201, 204)
    [asked] = database.asked
    assert (asked["workspace_id"], asked["permission"]) == (WORKSPACE_A, permission)


def test_permissions_come_in_pages(database: FakeDatabase) -> None:
    seen: list[str] = []
    query = {"limit": "7"}
    for more in (True, True, False):
        database.answers = [list(PERMISSIONS)]
        answer = ask("GET", "/permissions", query=query).json
        seen += answer["items"]
        assert (answer["next_cursor"] is not None) is more
        query = {"limit": "7", "cursor": answer["next_cursor"]}
    assert tuple(seen) == PERMISSIONS


def test_page_is_empty_when_a_cursor_is_beyond_the_list(database: FakeDatabase) -> None:
    database.answers = [list(PERMISSIONS)] * 2
    cursor = ask("GET", "/permissions", query={"limit": "7"}).json["next_cursor"]
    fields = json.loads(base64.urlsafe_b64decode(cursor + "=="))
    fields[1] = "f" * 8 + "-ffff" * 3 + "-" + "f" * 12
    made = base64.urlsafe_b64encode(json.dumps(fields).encode()).rstrip(b"=").decode()
    answer = ask("GET", "/permissions", query={"limit": "7", "cursor": made})
    assert answer.json == {"items": [], "next_cursor": None}


@pytest.mark.parametrize(
    "change",
    [{"name": ""}, {"name": "x" * 101}, {"name": None}, {"permissions": None},
     {"permissions": "chat:use"}, {"permissions": ["root"]}, {"permissions": [1]},
     {"permissions": ["chat:use", "chat:use"]}, {"is_system": True}],
)  # fmt: skip
def test_role_is_refused_when_a_field_is_wrong(
    change: dict[str, Any], database: FakeDatabase
) -> None:
    new = {"name": "r", "permissions": ["chat:use"]} | change
    assert ask("POST", "/roles", new).status == 422
    assert ask("PATCH", f"/roles/{ROLE}", change).status == 422
    assert database.asked == []
