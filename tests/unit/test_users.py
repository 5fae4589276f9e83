"""The caller's own account; its statements run in tests/integration/database."""

from typing import Any

import pytest

from chatbot import connections, passwords
from chatbot.errors import Conflict
from functions.users.handler import handler
from tests.unit.conftest import FakeDatabase
from tests.unit.rest import ALICE, BOB, Answer, event, send

PASSWORD = "correct horse battery"
HASH = passwords.hashed(PASSWORD)
CHANGE = {"current_password": PASSWORD, "new_password": "another password"}


@pytest.fixture(autouse=True)
def stores(cloud: None, database: FakeDatabase) -> None:
    """Counters in DynamoDB, answers from the fake database."""


def ask(method: str, path: str, body: Any = None, **request: Any) -> Answer:
    return send(handler, event(method, f"/api/v1/users/me{path}", body, **request))


def test_account_is_asked_for_as_the_caller(database: FakeDatabase) -> None:
    for caller in (ALICE, BOB):
        database.answers = [{"id": caller.user_id, "version": 2}]
        answer = ask("GET", "", caller=caller)
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
    assert ask("PATCH", "", body).status == 422
    assert database.asked == []


def test_password_changes_when_the_current_one_is_right(database: FakeDatabase) -> None:
    database.answers = [{"password_hash": HASH}, {"token_version": 2}]
    assert ask("POST", "/password", CHANGE).status == 204
    changed = database.asked[1]["params"]
    assert (changed["user_id"], changed["token_version"]) == (ALICE.user_id, 1)
    assert passwords.matches("another password", changed["password_hash"])


def test_password_is_guessed_at_five_times_a_minute(database: FakeDatabase) -> None:
    statuses = []
    for _ in range(6):
        database.answers = [{"password_hash": HASH}]
        statuses.append(ask("POST", "/password", CHANGE | {"current_password": "guess"}).status)
    assert statuses == [422] * 5 + [429]


@pytest.mark.parametrize("new", ["x" * 11, "x" * 73, "\U0001f600" * 19])
def test_password_stays_when_the_new_one_is_too_short_or_long(
    new: str, database: FakeDatabase
) -> None:
    assert ask("POST", "/password", CHANGE | {"new_password": new}).status == 422
    assert database.asked == []


@pytest.mark.parametrize("refused", [False, True])
def test_connections_end_when_the_account_is_deleted(
    refused: bool, database: FakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []
    monkeypatch.setattr(connections, "end_user", ended.append)
    database.answers = [Conflict() if refused else ALICE.user_id]
    assert ask("DELETE", "").status == (409 if refused else 204)
    assert ended == ([] if refused else [ALICE.user_id])
