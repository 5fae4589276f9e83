"""The resources' own statements, through their handlers, on PostgreSQL: each with two tenants."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from chatbot import connections, rate_limit, tokens
from chatbot.principal import Principal
from chatbot.settings import settings
from functions.auth import handler as auth
from functions.chatbots import handler as chatbots
from functions.users import handler as users
from functions.workspaces import handler as workspaces
from tests.integration.database.conftest import Cluster, Person, Tenant, register
from tests.unit.conftest import ENVIRONMENT, SIGNING_SECRET
from tests.unit.rest import NOW_MS, Answer, event, send

PASSWORD = "correct horse battery"


class Keys(tokens.SigningKeys):
    """The signing keys without Secrets Manager."""

    def _load(self) -> None:
        self._keys, self._current = SIGNING_SECRET["keys"], SIGNING_SECRET["current"]


@pytest.fixture(autouse=True)
def deployed(app: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The handlers on the test's database; calls are counted nowhere, nobody is connected."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    window = rate_limit.Window("guard", 100, 99, 60)
    monkeypatch.setattr(rate_limit, "count", lambda *_: window)
    monkeypatch.setattr(rate_limit, "refund", lambda _: None)
    monkeypatch.setattr(connections, "end_user", lambda _: None)
    monkeypatch.setattr(tokens, "_keys", Keys())
    monkeypatch.setattr(connections, "end_user", lambda *_: None)
    yield
    settings.cache_clear()


def ask(
    module: Any, method: str, path: str, body: Any = None, *, caller: Person | None, **request: Any
) -> Answer:
    principal = Principal(caller.user_id, caller.token_version) if caller else None
    sent = event(method, f"/api/v1{path}", body, caller=principal, **request)
    return send(module.handler, sent)


@pytest.fixture
def ours(tenants: tuple[Tenant, Tenant]) -> Tenant:
    return tenants[0]


@pytest.fixture
def theirs(tenants: tuple[Tenant, Tenant]) -> Tenant:
    return tenants[1]


def bots(tenant: Tenant) -> str:
    return f"/workspaces/{tenant.workspace_id}/chatbots"


def create(tenant: Tenant, **fields: Any) -> Answer:
    body = {"name": "assistant"} | fields
    return ask(chatbots, "POST", bots(tenant), body, caller=tenant.owner)


FULL = {
    "name": " naïve \U0001f600 ",
    "description": "'; DROP TABLE app.chatbots; --",
    "system_prompt": "You help {{ user.full_name }}.\n",
    "model_id": "amazon.nova-lite-v1:0",
    "temperature": 1,
    "top_p": 0.25,
    "max_tokens": 2000,
    "tools": [],
    "max_tool_rounds": 10,
    "knowledge": {
        "enabled": True,
        "top_k": 20,
        "source_ids": ["0190aaaa-0000-7000-8000-000000000001"],
    },
    "guardrail_enabled": True,
    "is_active": False,
}
DEFAULTS = {
    "name": "assistant",
    "description": "",
    "system_prompt": "",
    "model_id": "eu.anthropic.claude-sonnet-4-20250514-v1:0",
    "temperature": 0.5,
    "max_tokens": 4096,
    "tools": [],
    "max_tool_rounds": 5,
    "knowledge": {"enabled": False, "top_k": 5},
    "guardrail_enabled": False,
    "is_active": True,
}


def fields(answer: Answer) -> dict[str, Any]:
    return {
        name: value
        for name, value in answer.json.items()
        if name not in ("id", "created_at", "updated_at")
    }


@pytest.mark.parametrize(("body", "made"), [({"name": "assistant"}, DEFAULTS), (FULL, FULL)])
def test_chatbot_is_read_as_it_was_made(
    body: dict[str, Any], made: dict[str, Any], ours: Tenant
) -> None:
    answer = ask(chatbots, "POST", bots(ours), body, caller=ours.owner)
    assert answer.status == 201
    assert fields(answer) == made
    path = f"{bots(ours)}/{answer.json['id']}"
    again = ask(chatbots, "GET", path, caller=ours.viewer)
    assert (again.status, again.json) == (200, answer.json)
    assert again.headers["ETag"] == answer.headers["ETag"]


def test_chatbot_changes_where_the_patch_says_so(ours: Tenant) -> None:
    made = ask(chatbots, "POST", bots(ours), FULL, caller=ours.owner)
    path = f"{bots(ours)}/{made.json['id']}"
    patch = {"name": "b", "top_p": None, "knowledge": {"top_k": 3, "source_ids": None}}
    answer = ask(chatbots, "PATCH", path, patch, caller=ours.owner)
    expected = {key: value for key, value in FULL.items() if key != "top_p"}
    assert fields(answer) == expected | {"name": "b", "knowledge": {"enabled": True, "top_k": 3}}
    assert answer.json["created_at"] == made.json["created_at"]
    assert answer.json["updated_at"] > made.json["updated_at"]


def test_chatbot_stays_when_the_version_is_stale(ours: Tenant) -> None:
    made = create(ours)
    path = f"{bots(ours)}/{made.json['id']}"
    stale = {"if-match": made.headers["ETag"]}
    assert (
        ask(chatbots, "PATCH", path, {"name": "b"}, caller=ours.owner, headers=stale).status == 200
    )
    for method, body in (("PATCH", {"name": "c"}), ("DELETE", None)):
        answer = ask(chatbots, method, path, body, caller=ours.owner, headers=stale)
        assert answer.status == 412
    assert ask(chatbots, "GET", path, caller=ours.owner).json["name"] == "b"
    assert ask(chatbots, "DELETE", path, caller=ours.owner, headers={"if-match": "*"}).status == 204
    assert ask(chatbots, "GET", path, caller=ours.owner).status == 404


def test_chatbot_of_another_workspace_is_not_found(ours: Tenant, theirs: Tenant) -> None:
    for path in (f"{bots(ours)}/{theirs.chatbot_id}", f"{bots(theirs)}/{theirs.chatbot_id}"):
        for method, body in (("GET", None), ("PATCH", {"name": "stolen"}), ("DELETE", None)):
            assert ask(chatbots, method, path, body, caller=ours.owner).status == 404
    assert ask(chatbots, "GET", bots(theirs), caller=ours.owner).status == 404
    assert ask(chatbots, "POST", bots(theirs), {"name": "x"}, caller=ours.owner).status == 404
    path = f"{bots(theirs)}/{theirs.chatbot_id}"
    assert ask(chatbots, "GET", path, caller=theirs.owner).json["name"] == "theirs's"


def test_viewer_reads_chatbots_and_changes_none(ours: Tenant) -> None:
    path = f"{bots(ours)}/{ours.chatbot_id}"
    assert ask(chatbots, "GET", path, caller=ours.viewer).status == 200
    assert ask(chatbots, "GET", bots(ours), caller=ours.viewer).status == 200
    assert ask(chatbots, "POST", bots(ours), {"name": "x"}, caller=ours.viewer).status == 403
    assert ask(chatbots, "PATCH", path, {"name": "x"}, caller=ours.viewer).status == 403
    assert ask(chatbots, "DELETE", path, caller=ours.viewer).status == 403


def test_pages_have_every_chatbot_once_and_no_other_tenants(ours: Tenant, theirs: Tenant) -> None:
    made = [ours.chatbot_id] + [create(ours).json["id"] for _ in range(6)]
    create(theirs)
    seen: list[str] = []
    query = {"limit": "3"}
    while True:
        answer = ask(chatbots, "GET", bots(ours), caller=ours.viewer, query=query)
        seen += [item["id"] for item in answer.json["items"]]
        if answer.json["next_cursor"] is None:
            break
        create(ours)  # newer than all that was seen: on no later page
        query = {"limit": "3", "cursor": answer.json["next_cursor"]}
    assert seen == made[::-1]


def test_same_key_makes_one_chatbot(ours: Tenant) -> None:
    def post(name: str) -> Answer:
        headers = {"idempotency-key": "key-1"}
        return ask(chatbots, "POST", bots(ours), {"name": name}, caller=ours.owner, headers=headers)

    first = post("once")
    again = post("once")
    assert (again.status, again.json, again.headers["ETag"]) == (
        201,
        first.json,
        first.headers["ETag"],
    )
    assert post("other").status == 422
    items = ask(chatbots, "GET", bots(ours), caller=ours.owner).json["items"]
    assert [item["name"] for item in items].count("once") == 1


def test_large_prompt_in_any_script_comes_back(ours: Tenant) -> None:
    prompt = "\U0001f600" * 20_000
    made = create(ours, system_prompt=prompt)
    assert made.status == 201
    path = f"{bots(ours)}/{made.json['id']}"
    assert ask(chatbots, "GET", path, caller=ours.owner).json["system_prompt"] == prompt


# --- Workspaces


def test_workspace_is_made_changed_and_closed() -> None:
    owner = register("founder")
    made = ask(workspaces, "POST", "/workspaces", {"name": "Acme Inc."}, caller=owner)
    assert made.status == 201
    assert made.json["slug"].startswith("acme-inc")
    assert made.json["status"] == "active"
    assert made.json["quota"] == {"monthly_tokens": 1_000_000, "max_concurrent_turns": 3}
    assert "workspace:delete" in made.json["permissions"]
    path = f"/workspaces/{made.json['id']}"
    assert ask(workspaces, "GET", path, caller=owner).json == made.json
    listed = ask(workspaces, "GET", "/workspaces", caller=owner).json
    assert listed == {"items": [made.json], "next_cursor": None}

    slug = f"s-{uuid.uuid4()}"
    changed = ask(workspaces, "PATCH", path, {"name": "B", "slug": slug}, caller=owner)
    assert (changed.json["name"], changed.json["slug"]) == ("B", slug)
    assert changed.json["permissions"] == made.json["permissions"]

    closed = ask(workspaces, "DELETE", path, caller=owner)
    assert (closed.status, closed.json["status"]) == (202, "deleting")
    for method, body in (("GET", None), ("PATCH", {"name": "C"}), ("DELETE", None)):
        assert ask(workspaces, method, path, body, caller=owner).status == 404
    assert ask(workspaces, "GET", "/workspaces", caller=owner).json["items"] == []


def test_slug_is_taken_once(ours: Tenant, theirs: Tenant) -> None:
    slug = f"s-{uuid.uuid4()}"
    body = {"name": "x", "slug": slug}
    assert ask(workspaces, "POST", "/workspaces", body, caller=ours.owner).status == 201
    assert ask(workspaces, "POST", "/workspaces", body, caller=theirs.owner).status == 409
    path = f"/workspaces/{theirs.workspace_id}"
    assert ask(workspaces, "PATCH", path, {"slug": slug}, caller=theirs.owner).status == 409


def test_pages_of_workspaces_are_the_callers_own(theirs: Tenant) -> None:
    owner = register("founder")
    made = [
        ask(workspaces, "POST", "/workspaces", {"name": f"w{n}"}, caller=owner).json["id"]
        for n in range(3)
    ]
    first = ask(workspaces, "GET", "/workspaces", caller=owner, query={"limit": "2"}).json
    query = {"limit": "2", "cursor": first["next_cursor"]}
    second = ask(workspaces, "GET", "/workspaces", caller=owner, query=query).json
    assert [item["id"] for item in first["items"] + second["items"]] == made[::-1]
    assert second["next_cursor"] is None


def test_workspace_is_for_members_with_the_permission(ours: Tenant, theirs: Tenant) -> None:
    path = f"/workspaces/{ours.workspace_id}"
    seen = ask(workspaces, "GET", path, caller=ours.viewer)
    assert seen.json["permissions"] == [
        "members:read", "chatbots:read", "chat:use", "documents:read"
    ]  # fmt: skip
    for method, body in (("PATCH", {"name": "x"}), ("PATCH", {}), ("DELETE", None)):
        assert ask(workspaces, method, path, body, caller=ours.viewer).status == 403
        assert ask(workspaces, method, path, body, caller=theirs.owner).status == 404
    assert ask(workspaces, "GET", path, caller=theirs.owner).status == 404


def test_quota_is_changed_by_platform_administrators_only(app: Cluster, ours: Tenant) -> None:
    path = f"/workspaces/{ours.workspace_id}"
    administrator = register("administrator")
    app.sql(f"UPDATE app.users SET is_admin = true WHERE id = '{administrator.user_id}'")
    quota = {"monthly_tokens": 5, "monthly_cost": "12.50"}
    assert ask(workspaces, "PATCH", path, {"quota": quota}, caller=ours.owner).status == 403

    changed = ask(workspaces, "PATCH", path, {"quota": quota}, caller=administrator)
    assert changed.json["quota"] == quota | {"max_concurrent_turns": 5}
    assert changed.json["permissions"] == []
    taken_away = {"quota": {"monthly_cost": None}}
    changed = ask(workspaces, "PATCH", path, taken_away, caller=administrator)
    assert changed.json["quota"] == {"monthly_tokens": 5, "max_concurrent_turns": 5}

    assert ask(workspaces, "GET", path, caller=administrator).status == 200
    both = {"name": "x", "quota": quota}
    assert ask(workspaces, "PATCH", path, both, caller=administrator).status == 404
    assert ask(workspaces, "PATCH", path, {"name": "x"}, caller=administrator).status == 404
    assert ask(workspaces, "DELETE", path, caller=administrator).status == 404
    assert ask(chatbots, "GET", bots(ours), caller=administrator).status == 404


# --- Accounts and sessions


def registration() -> dict[str, str]:
    return {
        "email": f"Someone-{uuid.uuid4().hex}@Example.com",
        "username": " someone ",
        "full_name": "Someone Else",
        "password": PASSWORD,
    }


def log_in(email: str, password: str = PASSWORD) -> Answer:
    body = {"email": email, "password": password}
    return ask(auth, "POST", "/auth/login", body, caller=None)


def signed_up() -> tuple[Person, dict[str, Any]]:
    """A registered person, and the pair of tokens of a log-in."""
    body = registration()
    user = ask(auth, "POST", "/auth/register", body, caller=None).json
    return Person(user["id"], 1, body["email"]), log_in(body["email"].lower()).json


def refresh(token: str, at_ms: int) -> Answer:
    sent = event("POST", "/api/v1/auth/refresh", {"refresh_token": token}, caller=None)
    sent["requestContext"]["timeEpoch"] = at_ms
    return send(auth.handler, sent)


def test_account_is_what_was_registered() -> None:
    body = registration()
    answer = ask(auth, "POST", "/auth/register", body, caller=None)
    assert answer.status == 201
    expected = {name: body[name] for name in ("email", "username", "full_name")}
    assert fields(answer) == expected | {"is_active": True, "is_admin": False}
    me = Person(answer.json["id"], 1, body["email"])
    assert ask(users, "GET", "/users/me", caller=me).json == answer.json
    again = {**body, "email": body["email"].upper()}
    assert ask(auth, "POST", "/auth/register", again, caller=None).status == 409

    changed = ask(users, "PATCH", "/users/me", {"full_name": "S. E."}, caller=me)
    assert fields(changed) == expected | {
        "full_name": "S. E.", "is_active": True, "is_admin": False
    }  # fmt: skip


def test_log_in_gives_a_pair_for_the_right_password_only() -> None:
    person, pair = signed_up()
    assert pair["token_type"] == "bearer"
    assert pair["expires_in"] == 900
    principal = tokens.verify_access_token(pair["access_token"])
    assert (principal.user_id, principal.token_version) == (person.user_id, 1)
    assert log_in(person.email, PASSWORD + "!").status == 401


def test_spent_refresh_token_revokes_the_family_when_it_comes_later() -> None:
    _, pair = signed_up()
    far_away = 4_000_000_000_000
    second = refresh(pair["refresh_token"], NOW_MS).json
    assert refresh(pair["refresh_token"], NOW_MS).status == 401
    third = refresh(second["refresh_token"], NOW_MS).json
    assert refresh(pair["refresh_token"], far_away).status == 401
    assert refresh(third["refresh_token"], NOW_MS).status == 401
    assert refresh("unknown", NOW_MS).status == 401


def test_session_ends_at_log_out_and_others_log_out_nobody() -> None:
    person, pair = signed_up()
    other, _ = signed_up()
    body = {"refresh_token": pair["refresh_token"]}
    assert ask(auth, "POST", "/auth/logout", body, caller=other).status == 204
    pair = refresh(pair["refresh_token"], NOW_MS).json
    body = {"refresh_token": pair["refresh_token"]}
    assert ask(auth, "POST", "/auth/logout", body, caller=person).status == 204
    assert refresh(pair["refresh_token"], NOW_MS).status == 401


def test_all_sessions_end_when_the_password_changes() -> None:
    person, pair = signed_up()
    body = {"current_password": "not the password", "new_password": PASSWORD + "!"}
    refused = ask(users, "POST", "/users/me/password", body, caller=person)
    assert refused.status == 422
    assert refused.json["errors"][0]["loc"] == ["body", "current_password"]
    body["current_password"] = PASSWORD
    assert ask(users, "POST", "/users/me/password", body, caller=person).status == 204
    assert ask(users, "GET", "/users/me", caller=person).status == 401
    assert refresh(pair["refresh_token"], NOW_MS).status == 401
    assert log_in(person.email).status == 401
    assert log_in(person.email, PASSWORD + "!").status == 200


def test_deleted_account_is_gone_everywhere() -> None:
    person, pair = signed_up()
    assert ask(users, "DELETE", "/users/me", caller=person).status == 204
    assert ask(users, "GET", "/users/me", caller=person).status == 401
    assert refresh(pair["refresh_token"], NOW_MS).status == 401
    assert log_in(person.email).status == 401
    assert ask(auth, "POST", "/auth/ws-ticket", caller=person).status == 401


def test_last_owner_stays(ours: Tenant) -> None:
    assert ask(users, "DELETE", "/users/me", caller=ours.owner).status == 409
    assert ask(users, "DELETE", "/users/me", caller=ours.viewer).status == 204


def test_deactivated_user_signs_in_no_more(app: Cluster) -> None:
    person, pair = signed_up()
    app.sql(f"UPDATE app.users SET is_active = false WHERE id = '{person.user_id}'")
    assert log_in(person.email).status == 401
    assert refresh(pair["refresh_token"], NOW_MS).status == 401
    body = {"refresh_token": pair["refresh_token"]}
    assert ask(auth, "POST", "/auth/logout", body, caller=person).status == 401
    for module, path in ((users, "/users/me"), (workspaces, "/workspaces")):
        assert ask(module, "GET", path, caller=person).status == 401
