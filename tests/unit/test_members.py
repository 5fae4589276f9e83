"""Members and invitations; the statements, and the rules that the database holds, run in
tests/integration/database."""

import json
from typing import Any

import pytest

from chatbot import connections, mail
from chatbot.errors import Conflict, Forbidden, NotFound
from functions.members.handler import handler
from tests.unit.conftest import FakeDatabase
from tests.unit.rest import BOB, WORKSPACE_A, Answer, event, send

PATH = f"/api/v1/workspaces/{WORKSPACE_A}"
ROLE = "0190c000-0000-7000-8000-00000000000c"
INVITATION = {"id": BOB.user_id, "version": 3, "email": "b@example.com", "status": "pending"}
NEW = {"email": "b@example.com", "role_id": ROLE}


@pytest.fixture(autouse=True)
def stores(cloud: None, database: FakeDatabase) -> None:
    """Counters in DynamoDB, answers from the fake database."""


@pytest.fixture(autouse=True)
def ended(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Who was cut off of what."""
    users: list[tuple[str, ...]] = []
    monkeypatch.setattr(connections, "end_user", lambda *who: users.append(who))
    return users


@pytest.fixture(autouse=True)
def mails(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The mails that were wished for."""
    wishes: list[dict[str, Any]] = []
    monkeypatch.setattr(
        mail, "enqueue", lambda kind, **about: wishes.append({"kind": kind} | about)
    )
    return wishes


def ask(method: str, path: str, body: Any = None, **request: Any) -> Answer:
    return send(handler, event(method, PATH + path, body, **request))


@pytest.mark.parametrize(
    ("method", "path", "body", "permission"),
    [
        ("GET", "/members", None, "members:read"),
        ("PATCH", f"/members/{BOB.user_id}", {"role_id": ROLE}, "members:write"),
        ("DELETE", f"/members/{BOB.user_id}", None, "members:write"),
        ("GET", "/invitations", None, "members:write"),
        ("POST", "/invitations", NEW, "members:write"),
        ("DELETE", f"/invitations/{ROLE}", None, "members:write"),
    ],
)
def test_route_asks_for_its_permission(
    method: str, path: str, body: Any, permission: str, database: FakeDatabase
) -> None:
    database.answers = [{"items": [], "more": False} if method == "GET" else dict(INVITATION)]
    assert ask(method, path, body).status in (200, 201, 204)
    [asked] = database.asked
    assert (asked["workspace_id"], asked["permission"]) == (WORKSPACE_A, permission)


def test_member_is_known_by_the_user(database: FakeDatabase) -> None:
    member = {"user": {"id": BOB.user_id}, "role": {"id": ROLE}, "created_at": "2026-01-01T00:00Z"}
    database.answers = [
        {"items": [{"id": BOB.user_id, **member}], "more": True},
        {**member, "version": 7},
    ]
    listed = ask("GET", "/members")
    assert listed.json["items"] == [member]
    assert listed.json["next_cursor"]
    changed = ask("PATCH", f"/members/{BOB.user_id}", {"role_id": ROLE})
    assert (changed.json, changed.headers["ETag"]) == (member, '"7"')


@pytest.mark.parametrize("refusal", [None, Conflict(), Forbidden(), NotFound()])
def test_member_is_cut_off_of_the_workspace_when_removed(
    refusal: Any, database: FakeDatabase, ended: list[tuple[str, ...]]
) -> None:
    database.answers = [refusal or BOB.user_id]
    status = ask("DELETE", f"/members/{BOB.user_id}").status
    assert status == (refusal.status if refusal else 204)
    assert ended == ([] if refusal else [(BOB.user_id, WORKSPACE_A)])


def test_mail_is_wished_for_when_the_guest_is_no_verified_user(
    database: FakeDatabase, mails: list[dict[str, Any]]
) -> None:
    database.answers = [dict(INVITATION), INVITATION | {"status": "accepted"}]
    answer = ask("POST", "/invitations", NEW)
    assert (answer.status, answer.headers["ETag"]) == (201, '"3"')
    assert ask("POST", "/invitations", NEW).json["status"] == "accepted"
    assert mails == [
        {
            "kind": "invitation",
            "workspace_id": WORKSPACE_A,
            "invitation_id": INVITATION["id"],
            "version": 3,
        }
    ]


@pytest.mark.parametrize(
    "change",
    [{"email": "nobody"}, {"email": "\u212aim@example.com"}, {"email": "a@b.c\nBcc: d@e.f"},
     {"email": "<a@b.c>"}, {"role_id": "owner"}, {"role_id": None}, {"status": "accepted"}],
)  # fmt: skip
def test_invitation_is_refused_when_a_field_is_wrong(
    change: dict[str, Any], database: FakeDatabase, mails: list[dict[str, Any]]
) -> None:
    assert ask("POST", "/invitations", json.dumps(NEW | change)).status == 422
    assert database.asked == []
    assert mails == []
