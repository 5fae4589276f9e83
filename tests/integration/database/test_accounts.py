"""The narrow functions: sign-in, refresh families, passwords, workspaces, users."""

import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from chatbot import database
from chatbot.errors import (
    Conflict,
    Forbidden,
    NotFound,
    PreconditionFailed,
    Unauthorized,
    ValidationFailed,
)
from tests.integration.database.conftest import Cluster, Person, found_workspace, register

pytestmark = pytest.mark.usefixtures("app")
DAY = 24 * 3600


def _now() -> int:
    return time.time_ns() // 1_000_000


def _start(person: Person, family_expires_in: float = 30 * DAY) -> str:
    token = uuid.uuid4().hex
    database.call(
        "app.start_session",
        {
            "user_id": person.user_id,
            "token_version": person.token_version,
            "token_hash": token,
            "family_id": str(uuid.uuid4()),
            "expires_in": 7 * DAY,
            "family_expires_in": family_expires_in,
        },
    )
    return token


def _rotate(token: str, at_ms: int | None = None) -> tuple[str, str]:
    """Status, and the token that would follow."""
    following = uuid.uuid4().hex
    answer: dict[str, Any] = database.call(
        "app.rotate_session",
        {
            "token_hash": token,
            "new_token_hash": following,
            "expires_in": 7 * DAY,
            # A client that has the answer asks at least a round trip later.
            "at_ms": at_ms if at_ms is not None else _now() + 5,
        },
    )
    return answer["status"], following


def test_credentials_are_found_in_any_case_and_only_for_known_addresses() -> None:
    person = register("Known")
    found = database.call("app.credentials", {"email": person.email.upper()})
    assert found == {
        "user_id": person.user_id,
        "password_hash": "$2b$12$hash",
        "is_active": True,
        "is_admin": False,
        "email_verified": True,
        "token_version": 1,
    }
    assert database.call("app.credentials", {"email": "unknown@example.com"}) is None


def test_an_address_is_registered_once_in_any_case() -> None:
    user = {"username": "u", "full_name": "U", "password_hash": "h", "verified": True}
    email = f"Mixed-{uuid.uuid4().hex}@Example.com"
    made = database.call("app.register", {**user, "email": email, "is_admin": True})
    assert made["email"] == email
    assert made["is_admin"] is False
    assert made.keys() == {
        "id", "email", "username", "full_name", "is_active", "is_admin", "created_at",
        "updated_at", "version",
    }  # fmt: skip
    for same in (email, email.lower(), email.upper()):
        with pytest.raises(Conflict, match="already registered"):
            database.call("app.register", {**user, "email": same})


def test_a_family_lives_on_through_many_refreshes() -> None:
    token = _start(register())
    for _ in range(30):
        status, token = _rotate(token)
        assert status == "ok"


def test_a_spent_token_revokes_the_family_when_presented_later(cluster: Cluster) -> None:
    person = register()
    first, other_family = _start(person), _start(person)
    status, second = _rotate(first)
    assert status == "ok"
    assert _rotate(first)[0] == "reused"
    assert _rotate(second)[0] == "unknown"
    assert _rotate(other_family)[0] == "ok"
    trail = cluster.sql(
        f"""SELECT 1 FROM app.audit_log
            WHERE action = 'revoke' AND actor_id = '{person.user_id}'"""
    )
    assert len(trail) == 1


def test_an_older_spent_token_revokes_the_family_too() -> None:
    first = _start(register())
    _, second = _rotate(first)
    _, third = _rotate(second)
    assert _rotate(first)[0] == "reused"
    assert _rotate(third)[0] == "unknown"


@pytest.mark.parametrize("attempt", range(3))
def test_one_gets_the_pair_and_none_revokes_when_20_refresh_at_once(attempt: int) -> None:
    token = _start(register())
    received = _now()  # the gateway had all of them before the first was judged
    start = threading.Barrier(20)

    def refresh(_: int) -> tuple[str, str]:
        start.wait()
        return _rotate(token, at_ms=received)

    with ThreadPoolExecutor(20) as threads:
        outcomes = list(threads.map(refresh, range(20)))
    assert sorted(status for status, _ in outcomes) == ["ok"] + ["raced"] * 19
    winner = next(following for status, following in outcomes if status == "ok")
    assert _rotate(winner)[0] == "ok"


def test_requests_sent_at_once_race_although_some_arrive_later() -> None:
    token = _start(register())

    def refresh(_: int) -> str:
        return _rotate(token, at_ms=_now())[0]

    with ThreadPoolExecutor(4) as threads:
        outcomes = list(threads.map(refresh, range(4)))
    assert sorted(outcomes) == ["ok", "raced", "raced", "raced"]


def test_no_token_outlives_a_revocation_when_reuse_and_refresh_meet() -> None:
    for _ in range(5):
        first = _start(register())
        _, second = _rotate(first)
        with ThreadPoolExecutor(2) as threads:
            reuse = threads.submit(_rotate, first)
            refresh = threads.submit(_rotate, second)
        assert reuse.result()[0] == "reused"
        status, third = refresh.result()
        assert status in {"ok", "unknown"}
        assert _rotate(third)[0] == "unknown"


def test_a_token_is_refused_when_expired_unknown_or_its_user_is_not_active(
    cluster: Cluster,
) -> None:
    person = register()
    assert _rotate(uuid.uuid4().hex)[0] == "unknown"
    assert _rotate(_start(person, family_expires_in=0))[0] == "expired"
    token = _start(person)
    cluster.sql(f"UPDATE app.refresh_tokens SET expires_at = now() WHERE token_hash = '{token}'")
    assert _rotate(token)[0] == "expired"
    token = _start(person)
    for active in ("false", "true"):  # reactivation revives nothing
        cluster.sql(f"UPDATE app.users SET is_active = {active} WHERE id = '{person.user_id}'")
        assert _rotate(token)[0] == "unknown"


def test_a_refreshed_token_never_outlives_its_family(cluster: Cluster) -> None:
    token = _start(register(), family_expires_in=3600)
    status, following = _rotate(token)
    assert status == "ok"
    ends = cluster.sql(
        f"""SELECT expires_at = family_expires_at FROM app.refresh_tokens
            WHERE token_hash = '{following}'"""
    )
    assert ends == [["t"]]


def test_log_out_ends_the_callers_own_family_only() -> None:
    person, other = register(), register()
    mine, mine_elsewhere, theirs = _start(person), _start(person), _start(other)
    for token in (mine, theirs, uuid.uuid4().hex):
        database.call(
            "app.end_session",
            {"user_id": person.user_id, "token_version": 1, "token_hash": token},
        )
    assert _rotate(mine)[0] == "unknown"
    assert _rotate(mine_elsewhere)[0] == "ok"
    assert _rotate(theirs)[0] == "ok"


def test_a_password_change_ends_all_sessions_and_tokens() -> None:
    person = register()
    token = _start(person)
    caller = {"user_id": person.user_id, "token_version": 1}
    assert database.call("app.password_hash", caller) == {"password_hash": "$2b$12$hash"}
    change = {**caller, "password_hash": "$2b$12$new"}
    assert database.call("app.change_password", change) == {"token_version": 2}
    assert _rotate(token)[0] == "unknown"
    for function in ("app.password_hash", "app.change_password"):
        with pytest.raises(Unauthorized):
            database.call(function, change)
    with pytest.raises(Unauthorized):
        _start(person)
    found = database.call("app.credentials", {"email": person.email})
    assert (found["password_hash"], found["token_version"]) == ("$2b$12$new", 2)


def _workspace(person: Person, name: str, **given: Any) -> Any:
    caller = {"user_id": person.user_id, "token_version": 1, "quota": {}}
    return database.call("app.create_workspace", {**caller, "name": name, **given})


def test_the_creator_owns_a_workspace_with_a_slug_made_of_its_name() -> None:
    person, name = register(), f"Ümlaut & Söhne {uuid.uuid4().hex[:6]}!"
    made = _workspace(person, name)
    assert made["name"] == name
    assert made["slug"] == f"mlaut-s-hne-{name[-7:-1]}"
    assert made["status"] == "active"
    assert "workspace:delete" in made["permissions"]
    assert _workspace(person, name)["slug"].startswith(made["slug"] + "-")
    assert _workspace(person, "日本")["slug"]
    with pytest.raises(Conflict, match="slug"):
        _workspace(person, "other", slug=made["slug"])


def test_a_workspace_is_made_once_when_its_key_is_sent_20_times_at_once() -> None:
    person = register()
    key = {"key": "k", "route": "POST /workspaces", "body_hash": "a"}
    with ThreadPoolExecutor(20) as threads:
        made = list(threads.map(lambda _: _workspace(person, "one", idempotency=key), range(20)))
    assert all(one == made[0] for one in made)
    page = database.call(
        "app.list_workspaces", {"user_id": person.user_id, "token_version": 1, "limit": 100}
    )
    assert [item["id"] for item in page["items"]] == [made[0]["id"]]
    with pytest.raises(ValidationFailed):
        _workspace(person, "one", idempotency={**key, "body_hash": "b"})


def test_the_list_of_workspaces_pages_through_own_ones_newest_first() -> None:
    person = register()
    found_workspace("foreign")
    made = [_workspace(person, f"number {number}")["id"] for number in range(5)]
    seen: list[str] = []
    params: dict[str, Any] = {"user_id": person.user_id, "token_version": 1, "limit": 2}
    for more in (True, True, False):
        page = database.call("app.list_workspaces", params)
        assert page["more"] is more
        seen += [item["id"] for item in page["items"]]
        last = page["items"][-1]
        params["after"] = {"created_at": last["created_at"], "id": last["id"]}
    assert seen == made[::-1]


def test_users_are_made_changed_and_removed_by_administrators_only(cluster: Cluster) -> None:
    administrator, person = register("administrator"), register("plain")
    cluster.sql(f"UPDATE app.users SET is_admin = true WHERE id = '{administrator.user_id}'")
    new = {
        "email": f"{uuid.uuid4().hex}@example.com",
        "username": "new",
        "full_name": "New",
        "password_hash": "h",
        "is_admin": True,
    }
    target = {"target_id": person.user_id}
    calls: list[tuple[str, dict[str, Any]]] = [
        ("app.create_user", new),
        ("app.update_user", {**target, "changes": {"is_active": False, "full_name": "F"}}),
        ("app.delete_user", target),
    ]
    for function, params in calls:
        with pytest.raises(Forbidden):
            database.call(function, {"user_id": person.user_id, "token_version": 1, **params})
    caller = {"user_id": administrator.user_id, "token_version": 1}
    made, changed, gone = (
        database.call(function, {**caller, **params}) for function, params in calls
    )
    assert made["is_admin"] is True
    assert (changed["is_active"], changed["full_name"]) == (False, "F")
    assert gone == {"id": person.user_id}
    assert database.call("app.delete_user", {**caller, **target}) is None
    with pytest.raises(PreconditionFailed):
        database.call("app.delete_user", {**caller, "target_id": made["id"], "if_match": ["9"]})


def test_a_chat_finds_its_chatbot_in_the_callers_workspaces_only() -> None:
    ours, theirs = found_workspace("ours"), found_workspace("theirs")
    caller = {"user_id": ours.viewer.user_id, "token_version": 1}
    context = database.call("app.chat_context", {**caller, "chatbot_id": ours.chatbot_id})
    assert context["workspace"]["id"] == ours.workspace_id
    assert context["chatbot"]["id"] == ours.chatbot_id
    for chatbot_id in (theirs.chatbot_id, str(uuid.uuid4())):
        with pytest.raises(NotFound):
            database.call("app.chat_context", {**caller, "chatbot_id": chatbot_id})
