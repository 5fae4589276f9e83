"""The audit trail: what is in it, who sees it, and that it tells no secret."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from chatbot import audit as trail
from chatbot import database, rate_limit, tokens
from chatbot.principal import Principal
from chatbot.settings import settings
from functions.audit import handler as audit
from functions.auth import handler as auth
from functions.chatbots import handler as chatbots
from tests.integration.database.conftest import Cluster, Person, Tenant, register
from tests.integration.database.test_resources import PASSWORD, Keys, ask
from tests.unit.conftest import ENVIRONMENT
from tests.unit.rest import event, send


@pytest.fixture(autouse=True)
def deployed(app: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    window = rate_limit.Window("guard", 100, 99, 60)
    monkeypatch.setattr(rate_limit, "count", lambda *_: window)
    monkeypatch.setattr(rate_limit, "refund", lambda _: None)
    monkeypatch.setattr(tokens, "_keys", Keys())
    yield
    settings.cache_clear()


@pytest.fixture
def ours(tenants: tuple[Tenant, Tenant]) -> Tenant:
    return tenants[0]


@pytest.fixture
def theirs(tenants: tuple[Tenant, Tenant]) -> Tenant:
    return tenants[1]


def entries(tenant: Tenant, **query: str) -> list[dict[str, Any]]:
    """The whole trail of a workspace by its pages, newest first."""
    found: list[dict[str, Any]] = []
    while True:
        path = f"/workspaces/{tenant.workspace_id}/audit"
        answer = ask(audit, "GET", path, caller=tenant.owner, query=query)
        assert answer.status == 200
        found += answer.json["items"]
        if answer.json["next_cursor"] is None:
            return found
        query["cursor"] = answer.json["next_cursor"]


def told(tenant: Tenant) -> list[tuple[str, str, str | None, str | None]]:
    names = ("action", "resource_type", "resource_id", "actor_id")
    return [tuple(entry[name] for name in names) for entry in entries(tenant)]


def test_trail_tells_what_a_workspaces_members_did(ours: Tenant, theirs: Tenant) -> None:
    path = f"/workspaces/{ours.workspace_id}/chatbots/{ours.chatbot_id}"
    body = {"name": "renamed", "system_prompt": "a secret prompt"}
    changed = ask(chatbots, "PATCH", path, body, caller=ours.owner, headers={"x-request-id": "r-1"})
    assert changed.status == 200
    newest = entries(ours)[0]
    assert newest == {
        "id": newest["id"],
        "actor_id": ours.owner.user_id,
        "action": "update",
        "resource_type": "chatbot",
        "resource_id": ours.chatbot_id,
        "changes": {
            "name": {"from": "ours's", "to": "renamed"},
            "system_prompt": {"withheld": True},
        },
        "request_id": "r-1",
        "created_at": newest["created_at"],
    }
    assert "secret" not in json.dumps(entries(ours))
    ids = {entry["id"] for entry in entries(ours)}
    assert ids & {entry["id"] for entry in entries(theirs)} == set()
    assert ours.workspace_id not in json.dumps(entries(theirs))


def test_every_entry_is_listed_once_newest_first_when_paged(ours: Tenant) -> None:
    path = f"/workspaces/{ours.workspace_id}/chatbots"
    for number in range(5):
        ask(chatbots, "POST", path, {"name": f"bot {number}"}, caller=ours.owner)
    whole = entries(ours)
    assert len(whole) > 10
    assert entries(ours, limit="2") == whole
    times = [entry["created_at"] for entry in whole]
    assert times == sorted(times, reverse=True)


def test_trail_is_for_those_who_may_read_it(ours: Tenant, theirs: Tenant) -> None:
    path = f"/workspaces/{ours.workspace_id}/audit"
    statuses = {
        ask(audit, "GET", path, caller=caller).status: caller
        for caller in (ours.owner, ours.viewer, theirs.owner, None)
    }
    assert list(statuses) == [200, 403, 404, 401]


def test_denial_is_told_to_the_workspace_and_to_no_other(ours: Tenant, theirs: Tenant) -> None:
    path = f"/workspaces/{ours.workspace_id}/chatbots/{ours.chatbot_id}"
    before = told(theirs)
    assert ask(chatbots, "PATCH", path, {"name": "x"}, caller=ours.viewer).status == 403
    newest = entries(ours)[0]
    assert (newest["action"], newest["actor_id"]) == ("denied", ours.viewer.user_id)
    assert (newest["resource_type"], newest["resource_id"]) == ("route", ours.chatbot_id)
    assert newest["changes"] == {
        "method": "PATCH",
        "path": "/api/v1/workspaces/<workspace_id>/chatbots/<chatbot_id>",
        "access": "chatbots:write",
    }
    count = len(entries(ours))
    assert ask(chatbots, "PATCH", path, {"name": "x"}, caller=theirs.owner).status == 404
    assert len(entries(ours)) == count
    assert told(theirs) == before


def test_request_is_answered_when_the_trail_cannot_be_written(
    ours: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = database.query

    def broken(caller: Any, statement: str, *args: Any, **options: Any) -> Any:
        if statement == trail.RECORD:
            raise OSError("down")
        return query(caller, statement, *args, **options)

    monkeypatch.setattr(database, "query", broken)
    path = f"/workspaces/{ours.workspace_id}/chatbots/{ours.chatbot_id}"
    assert ask(chatbots, "DELETE", path, caller=ours.viewer).status == 403


def test_act_elsewhere_is_told_to_a_workspace_of_the_actor_only(
    ours: Tenant, theirs: Tenant
) -> None:
    caller = Principal(ours.owner.user_id, 1)
    trail.record(caller, ours.workspace_id, "delete", "conversation", ours.chatbot_id)
    assert told(ours)[0] == ("delete", "conversation", ours.chatbot_id, ours.owner.user_id)
    before = told(theirs)
    trail.record(caller, theirs.workspace_id, "delete", "conversation", ours.chatbot_id)
    assert told(theirs) == before


def sign_in(email: str, password: str) -> int:
    body = {"email": email, "password": password}
    request = event("POST", "/api/v1/auth/login", body, caller=None)
    return send(auth.handler, request).status


def signed_up(monkeypatch: pytest.MonkeyPatch, tenant: Tenant) -> Person:
    """A viewer of a workspace who has a password."""
    monkeypatch.setattr("chatbot.passwords.ROUNDS", 4, raising=False)
    from chatbot import passwords

    person = register("signing-in")
    hashed = passwords.hashed(PASSWORD)
    params = {"user_id": person.user_id, "token_version": 1, "password_hash": hashed}
    database.call("app.change_password", params)
    join(tenant, person)
    return Person(person.user_id, 2, person.email)


def join(tenant: Tenant, person: Person) -> None:
    database.query(
        tenant.owner,
        """INSERT INTO app.memberships AS m (user_id, role_id)
           VALUES (($1->>'user_id')::uuid, ($1->>'role_id')::uuid) RETURNING app.json(m)""",
        {"user_id": person.user_id, "role_id": tenant.roles["viewer"]},
        workspace_id=tenant.workspace_id,
    )


def test_sign_in_is_told_to_the_users_workspaces(
    ours: Tenant, theirs: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = signed_up(monkeypatch, ours)
    before = told(theirs)
    assert sign_in(person.email, PASSWORD) == 200
    action, kind, _, actor = told(ours)[0]
    assert (action, kind, actor) == ("sign_in", "session", person.user_id)
    assert told(theirs) == before
    join(theirs, person)
    assert sign_in(person.email, PASSWORD) == 200
    sessions = [
        [entry for entry in told(tenant) if entry[0] == "sign_in"] for tenant in (ours, theirs)
    ]
    assert [len(found) for found in sessions] == [2, 1]
    assert sessions[0][0] == sessions[1][0]


def test_refresh_is_no_sign_in(ours: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    person = signed_up(monkeypatch, ours)
    body = {"email": person.email, "password": PASSWORD}
    pair = send(auth.handler, event("POST", "/api/v1/auth/login", body, caller=None)).json
    again = {"refresh_token": pair["refresh_token"]}
    assert (
        send(auth.handler, event("POST", "/api/v1/auth/refresh", again, caller=None)).status == 200
    )
    assert [entry[0] for entry in told(ours)].count("sign_in") == 1


def test_refused_sign_in_is_told_without_the_address(
    ours: Tenant, app: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = signed_up(monkeypatch, ours)
    assert sign_in(person.email.upper(), "a wrong password") == 401
    assert told(ours)[0] == ("sign_in_refused", "user", person.user_id, None)
    assert entries(ours)[0]["changes"] == {}
    before = told(ours)
    assert sign_in("nobody-knows@example.com", "a wrong password") == 401
    assert told(ours) == before
    kept = app.sql("SELECT to_jsonb(entry)::text FROM app.audit_log AS entry")
    assert "nobody-knows" not in json.dumps(kept)
    assert person.email not in json.dumps(kept)
