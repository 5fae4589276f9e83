"""Which rule guards which change; the statements run in tests/integration/database."""

from typing import Any

import pytest

from functions.workspaces.handler import handler
from tests.unit.conftest import FakeDatabase
from tests.unit.rest import WORKSPACE_A, Answer, event, send

PATH = f"/api/v1/workspaces/{WORKSPACE_A}"


@pytest.fixture(autouse=True)
def stores(cloud: None, database: FakeDatabase) -> None:
    """Counters in DynamoDB, answers from the fake database."""


def ask(method: str, path: str, body: Any = None, **request: Any) -> Answer:
    return send(handler, event(method, path, body, **request))


@pytest.mark.parametrize(
    ("body", "permission", "administrator"),
    [
        ({"name": "b"}, "workspace:update", None),
        ({"slug": "b"}, "workspace:update", None),
        ({}, "workspace:update", None),
        ({"quota": {"monthly_tokens": 1}}, None, "required"),
        ({"quota": {}}, None, "required"),
        ({"name": "b", "quota": {}}, "workspace:update", "required"),
    ],
)
def test_change_is_guarded_by_what_it_changes(
    body: dict[str, Any],
    permission: str | None,
    administrator: str | None,
    database: FakeDatabase,
) -> None:
    database.answers = [{"id": WORKSPACE_A, "version": 1}]
    assert ask("PATCH", PATH, body).status == 200
    asked = database.asked[0]
    assert (asked["permission"], asked["administrator"]) == (permission, administrator)
    assert asked["workspace_id"] == WORKSPACE_A


@pytest.mark.parametrize(
    "body",
    [
        {"name": ""},
        {"name": "x" * 201},
        {"slug": "A"},
        {"slug": "-a"},
        {"slug": "a--b"},
        {"slug": "x" * 64},
        {"slug": None},
        {"status": "deleting"},
        {"permissions": ["workspace:delete"]},
        {"quota": None},
        {"quota": {"monthly_tokens": -1}},
        {"quota": {"monthly_tokens": "1"}},
        {"quota": {"monthly_tokens": 10**19}},
        {"quota": {"monthly_cost": 12.5}},
        {"quota": {"monthly_cost": "-1"}},
        {"quota": {"monthly_cost": "1e9"}},
        {"quota": {"max_concurrent_turns": 0}},
        {"quota": {"max_concurrent_turns": None}},
        {"quota": {"unlimited": True}},
    ],
)
def test_change_is_refused_when_it_is_not_valid(
    body: dict[str, Any], database: FakeDatabase
) -> None:
    assert ask("PATCH", PATH, body).status == 422
    assert database.asked == []


def test_workspace_starts_with_the_environments_quota(database: FakeDatabase) -> None:
    database.answers = [{"id": WORKSPACE_A, "version": 1}]
    headers = {"idempotency-key": "k"}
    answer = ask("POST", "/api/v1/workspaces", {"name": "a"}, headers=headers)
    assert answer.status == 201
    params = database.asked[0]["params"]
    assert params["quota"] == {"monthly_tokens": 1_000_000, "max_concurrent_turns": 3}
    assert params["idempotency"]["route"] == "POST /api/v1/workspaces"


def test_closed_workspace_is_answered_with_202(database: FakeDatabase) -> None:
    database.answers = [{"id": WORKSPACE_A, "version": 2, "status": "deleting"}]
    answer = ask("DELETE", PATH)
    assert (answer.status, answer.json["status"]) == (202, "deleting")
    assert database.asked[0]["permission"] == "workspace:delete"
