"""Accounts, the caller's own and all; the statements run in tests/integration/database."""

from typing import Any

import pytest

from chatbot import connections, passwords, purging
from chatbot.errors import Conflict, Forbidden
from functions.users.handler import handler
from tests.unit.conftest import FakeDatabase
from tests.unit.rest import ALICE, BOB, Answer, event, send

PASSWORD = "correct horse battery"
HASH = passwords.hashed(PASSWORD)
CHANGE = {"current_password": PASSWORD, "new_password": "another password"}
NEW = {"email": "n@example.com", "username": "n", "full_name": "N", "password": PASSWORD}


@pytest.fixture(autouse=True)
def stores(cloud: None, database: FakeDatabase) -> None:
    """Counters in DynamoDB, answers from the fake database."""


@pytest.fixture(autouse=True)
def ended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The users whose connections were ended; purges start nothing."""
    users: list[str] = []
    monkeypatch.setattr(connections, "end_user", users.append)
    monkeypatch.setattr(purging, "start", lambda *_: None)
    return users


def ask(method: str, path: str, body: Any = None, **request: Any) -> Answer:
    return send(handler, event(method, f"/api/v1/users{path}", body, **request))


def test_account_is_asked_for_as_the_caller(database: FakeDatabase) -> None:
    for caller in (ALICE, BOB):
        database.answers = [{"id": caller.user_id, "version": 2}]
        answer = ask("GET", "/me", caller=caller)
        assert (answer.status, answer.json) == (200, {"id": caller.user_id})
        asked = database.asked.pop()
        assert (asked["caller"], asked["workspace_id"], asked["permission"]) == (caller, None, None)


@pytest.mark.parametrize(
    "body",
    [{"email": "b@example.com"}, {"is_admin": True}, {"is_active": False}, {"username": None},
     {"username": ""}, {"full_name": 1}],
)  # fmt: skip
def test_account_stays_when_the_change_is_not_the_callers_to_make(
    body: dict[str, Any], database: FakeDatabase
) -> None:
    assert ask("PATCH", "/me", body).status == 422
    assert database.asked == []


def test_password_changes_when_the_current_one_is_right(
    database: FakeDatabase, ended: list[str]
) -> None:
    database.answers = [{"password_hash": HASH}, {"token_version": 2}]
    assert ask("POST", "/me/password", CHANGE).status == 204
    changed = database.asked[1]["params"]
    assert (changed["user_id"], changed["token_version"]) == (ALICE.user_id, 1)
    assert passwords.matches("another password", changed["password_hash"])
    assert ended == [ALICE.user_id]


def test_password_is_guessed_at_five_times_a_minute(
    database: FakeDatabase, ended: list[str]
) -> None:
    statuses = []
    for _ in range(6):
        database.answers = [{"password_hash": HASH}]
        statuses.append(ask("POST", "/me/password", CHANGE | {"current_password": "guess"}).status)
    assert statuses == [422] * 5 + [429]
    assert ended == []


@pytest.mark.parametrize("new", ["x" * 11, "x" * 73, "\U0001f600" * 19])
def test_password_stays_when_the_new_one_is_too_short_or_long(
    new: str, database: FakeDatabase
) -> None:
    assert ask("POST", "/me/password", CHANGE | {"new_password": new}).status == 422
    assert database.asked == []


@pytest.mark.parametrize("refused", [False, True])
def test_connections_end_when_the_account_is_deleted(
    refused: bool, database: FakeDatabase, ended: list[str]
) -> None:
    for path, answer in (("/me", ALICE.user_id), (f"/{BOB.user_id}", {"id": BOB.user_id})):
        database.answers = [Conflict() if refused else answer]
        assert ask("DELETE", path).status == (409 if refused else 204)
    assert ended == ([] if refused else [ALICE.user_id, BOB.user_id])


# --- All accounts


def test_all_accounts_are_asked_for_as_an_administrator(database: FakeDatabase) -> None:
    database.answers = [{"items": [], "more": False}, {"id": BOB.user_id, "version": 1}]
    assert ask("GET", "").json == {"items": [], "next_cursor": None}
    assert ask("GET", f"/{BOB.user_id}").headers["ETag"] == '"1"'
    assert [asked["administrator"] for asked in database.asked] == ["required"] * 2


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("GET", "", None), ("POST", "", NEW), ("GET", f"/{BOB.user_id}", None),
     ("PATCH", f"/{BOB.user_id}", {"is_active": False}), ("DELETE", f"/{BOB.user_id}", None)],
)  # fmt: skip
def test_accounts_are_untouched_when_the_caller_is_no_administrator(
    method: str, path: str, body: Any, database: FakeDatabase, ended: list[str]
) -> None:
    database.answers = [Forbidden()]
    assert ask(method, path, body).status == 403
    assert ended == []
    assert ask(method, path, body, caller=None).status == 401


def test_user_is_made_with_a_hash_and_once_for_a_key(database: FakeDatabase) -> None:
    database.answers = [{"id": BOB.user_id, "version": 1}]
    answer = ask("POST", "", NEW | {"is_admin": True}, headers={"idempotency-key": "k"})
    assert answer.status == 201
    [asked] = database.asked
    assert asked["function"] == "app.create_user"
    made = asked["params"]
    assert passwords.matches(PASSWORD, made.pop("password_hash"))
    assert "password" not in made
    assert (made["is_admin"], made["idempotency"]["route"]) == (True, "POST /api/v1/users")


@pytest.mark.parametrize(
    "body",
    [{"email": "b@example.com"}, {"password": PASSWORD}, {"is_active": None}, {"is_admin": 1},
     {"username": ""}, {"token_version": 1}],
)  # fmt: skip
def test_user_stays_when_the_change_is_wrong(body: dict[str, Any], database: FakeDatabase) -> None:
    assert ask("PATCH", f"/{BOB.user_id}", body).status == 422
    assert database.asked == []


@pytest.mark.parametrize("is_active", [True, False])
def test_connections_end_when_the_user_is_not_active(
    is_active: bool, database: FakeDatabase, ended: list[str]
) -> None:
    database.answers = [{"id": BOB.user_id, "version": 2, "is_active": is_active}]
    headers = {"if-match": '"1"'}
    answer = ask("PATCH", f"/{BOB.user_id}", {"is_active": is_active}, headers=headers)
    assert (answer.status, answer.headers["ETag"]) == (200, '"2"')
    assert database.asked[0]["params"]["if_match"] == ["1"]
    assert ended == ([] if is_active else [BOB.user_id])


@pytest.mark.parametrize(("method", "body"), [("PATCH", {"username": "x"}), ("DELETE", None)])
def test_unknown_user_is_not_found(
    method: str, body: Any, database: FakeDatabase, ended: list[str]
) -> None:
    database.answers = [None]
    assert ask(method, f"/{BOB.user_id}", body).status == 404
    assert ended == []
