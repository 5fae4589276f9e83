"""`app.query`: who may call it, versions, idempotency, sizes, the audit trail, the last owner."""

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from chatbot import database
from chatbot.database import Idempotency
from chatbot.errors import (
    Conflict,
    Forbidden,
    NotFound,
    PreconditionFailed,
    Unauthorized,
    ValidationFailed,
)
from tests.integration.database.conftest import (
    INSERT_CHATBOT,
    Cluster,
    Person,
    Tenant,
    found_workspace,
    register,
)

RENAME = """
    UPDATE app.chatbots AS c SET name = $1->>'name' WHERE id = ($1->>'id')::uuid
    RETURNING app.json(c)
"""
DELETE = "DELETE FROM app.chatbots WHERE id = ($1->>'id')::uuid RETURNING to_jsonb(id)"
READ = "SELECT app.json(c) FROM app.chatbots c WHERE id = ($1->>'id')::uuid"
COUNT = "SELECT to_jsonb(count(*)) FROM app.chatbots"


@pytest.fixture
def ours(app: Cluster) -> Tenant:
    return found_workspace("ours")


@pytest.fixture
def administrator(cluster: Cluster, app: Cluster) -> Person:
    person = register("administrator")
    cluster.sql(f"UPDATE app.users SET is_admin = true WHERE id = '{person.user_id}'")
    return person


def _at_once(work: Callable[[int], Any], count: int) -> list[Any]:
    """What `count` threads return or raise that start together."""
    start = threading.Barrier(count)

    def run(number: int) -> Any:
        start.wait()
        try:
            return work(number)
        except Exception as error:  # noqa: BLE001
            return error

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(run, range(count)))


def test_one_round_trip_a_call(app: Cluster, ours: Tenant) -> None:
    before = app.data_api.calls
    database.query(ours.owner, READ, {"id": ours.chatbot_id}, workspace_id=ours.workspace_id)
    assert app.data_api.calls == before + 1


def test_a_member_needs_the_permission(ours: Tenant) -> None:
    call: dict[str, Any] = {"workspace_id": ours.workspace_id, "permission": "chatbots:write"}
    assert database.query(ours.owner, INSERT_CHATBOT, {"name": "b"}, **call)["name"] == "b"
    with pytest.raises(Forbidden):
        database.query(ours.viewer, INSERT_CHATBOT, {"name": "b"}, **call)
    read: dict[str, Any] = {"workspace_id": ours.workspace_id, "permission": "chatbots:read"}
    assert database.query(ours.viewer, COUNT, **read) == 2
    assert database.query(ours.viewer, COUNT, workspace_id=ours.workspace_id) == 2


def test_system_roles_hold_what_the_contract_says(ours: Tenant) -> None:
    roles = database.query(
        ours.owner,
        "SELECT jsonb_object_agg(name, permissions) FROM app.roles WHERE is_system",
        workspace_id=ours.workspace_id,
    )
    everything = {
        "workspace:update", "workspace:delete", "members:read", "members:write", "roles:read",
        "roles:write", "chatbots:read", "chatbots:write", "chat:use", "conversations:read_all",
        "feedback:read", "sources:read", "sources:write", "documents:read", "documents:write",
        "usage:read", "audit:read",
    }  # fmt: skip
    assert {name: set(held) for name, held in roles.items()} == {
        "owner": everything,
        "admin": everything - {"workspace:delete"},
        "editor": {
            "members:read", "roles:read", "chatbots:read", "chatbots:write", "chat:use",
            "feedback:read", "sources:read", "sources:write", "documents:read", "documents:write",
            "usage:read",
        },
        "viewer": {"members:read", "chatbots:read", "chat:use", "documents:read"},
    }  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE app.users SET is_active = false",
        "UPDATE app.users SET token_version = token_version + 1",
        "DELETE FROM app.users",
    ],
)
def test_a_user_is_refused_at_once_when_changed(
    cluster: Cluster, app: Cluster, change: str
) -> None:
    person = register()
    assert database.query(person, "SELECT to_jsonb(true)") is True
    cluster.sql(f"{change} WHERE id = '{person.user_id}'")
    with pytest.raises(Unauthorized):
        database.query(person, "SELECT to_jsonb(true)")


def test_a_workspace_is_not_found_when_deleting(ours: Tenant) -> None:
    close = """UPDATE app.workspaces w SET status = 'deleting' WHERE id = app.workspace_id()
               RETURNING app.json(w)"""
    closed = database.query(ours.owner, close, workspace_id=ours.workspace_id)
    assert closed["status"] == "deleting"
    with pytest.raises(NotFound):
        database.query(ours.owner, COUNT, workspace_id=ours.workspace_id)
    page = database.call(
        "app.list_workspaces",
        {"user_id": ours.owner.user_id, "token_version": 1, "limit": 10},
    )
    assert page == {"items": [], "more": False}


READ_WORKSPACE = """
    SELECT app.json(w) || jsonb_build_object('permissions', app.permissions())
    FROM app.workspaces w WHERE id = app.workspace_id()
"""
SET_QUOTA = """
    UPDATE app.workspaces w SET quota = $1->'quota' WHERE id = app.workspace_id()
    RETURNING app.json(w)
"""


def test_an_administrator_sees_a_workspace_and_its_quota_and_nothing_in_it(
    ours: Tenant, administrator: Person
) -> None:
    where: dict[str, Any] = {"workspace_id": ours.workspace_id}
    seen = database.query(administrator, READ_WORKSPACE, administrator="allowed", **where)
    assert (seen["id"], seen["permissions"]) == (ours.workspace_id, [])
    changed = database.query(
        administrator,
        SET_QUOTA,
        {"quota": {"max_concurrent_turns": 9}},
        administrator="required",
        **where,
    )
    assert changed["quota"] == {"max_concurrent_turns": 9}
    for permission in (None, "chatbots:read"):
        with pytest.raises(NotFound):
            database.query(administrator, COUNT, permission=permission, **where)
    with pytest.raises(NotFound):  # a name and a quota: the permission is needed too
        database.query(
            administrator,
            SET_QUOTA,
            administrator="required",
            permission="workspace:update",
            **where,
        )
    # Even where the statement forgets what it is about.
    for table in ("roles", "memberships", "invitations", "chatbots"):
        assert (
            database.query(
                administrator,
                f"SELECT jsonb_agg(to_jsonb(t)) FROM app.{table} t",
                administrator="required",
            )
            is None
        )


def test_a_member_does_not_pass_as_an_administrator(ours: Tenant) -> None:
    where: dict[str, Any] = {"workspace_id": ours.workspace_id}
    seen = database.query(ours.owner, READ_WORKSPACE, administrator="allowed", **where)
    assert "workspace:delete" in seen["permissions"]
    quota = {"quota": {"max_concurrent_turns": 99}}
    with pytest.raises(Forbidden):
        database.query(ours.owner, SET_QUOTA, quota, administrator="required", **where)
    with pytest.raises(Forbidden):  # by a statement that forgot to ask for one
        database.query(ours.owner, SET_QUOTA, quota, permission="workspace:update", **where)
    with pytest.raises(Forbidden):
        database.query(ours.owner, "SELECT jsonb_agg(id) FROM app.users", administrator="required")


def test_if_match_tells_stale_from_missing(ours: Tenant) -> None:
    where: dict[str, Any] = {"workspace_id": ours.workspace_id}
    first = database.query(ours.owner, READ, {"id": ours.chatbot_id}, **where)
    assert first["version"] == 1
    rename = {"id": ours.chatbot_id, "name": "second"}
    second = database.query(ours.owner, RENAME, rename, if_match=["1"], **where)
    assert second["version"] == 2
    assert second["created_at"] == first["created_at"]
    assert second["updated_at"] > first["updated_at"]
    for stale in (["1"], ["7", "W/2"], []):
        for statement in (RENAME, DELETE):
            with pytest.raises(PreconditionFailed):
                database.query(ours.owner, statement, rename, if_match=stale, **where)
    missing = {"id": str(uuid.uuid4()), "name": "x"}
    assert database.query(ours.owner, RENAME, missing, if_match=["1"], **where) is None
    assert database.query(ours.owner, READ, rename, **where) == second
    assert database.query(ours.owner, DELETE, rename, if_match=["9", "2"], **where)


def test_one_of_two_writers_is_stale_when_they_write_at_once(ours: Tenant) -> None:
    outcomes = _at_once(
        lambda number: database.query(
            ours.owner,
            RENAME,
            {"id": ours.chatbot_id, "name": str(number)},
            workspace_id=ours.workspace_id,
            if_match=["1"],
        ),
        8,
    )
    won = [one for one in outcomes if isinstance(one, dict)]
    assert [one["version"] for one in won] == [2]
    assert [type(one) for one in outcomes if one not in won] == [PreconditionFailed] * 7


def _key(key: str, body: str = "a", route: str = "POST /chatbots") -> Idempotency:
    return Idempotency(key=key, route=route, body_hash=body)


def test_duplicates_make_one_row_and_get_equal_answers_when_sent_at_once(ours: Tenant) -> None:
    answers = _at_once(
        lambda _: database.query(
            ours.owner,
            INSERT_CHATBOT,
            {"name": "once"},
            workspace_id=ours.workspace_id,
            idempotency=_key("k"),
        ),
        20,
    )
    assert all(answer == answers[0] for answer in answers), answers
    assert answers[0]["name"] == "once"
    assert database.query(ours.owner, COUNT, workspace_id=ours.workspace_id) == 2


def test_a_key_is_scoped_to_user_route_workspace_and_body(app: Cluster, ours: Tenant) -> None:
    theirs = found_workspace("theirs")
    editor = {"user": ours.owner.user_id, "role": theirs.roles["editor"]}
    database.query(
        theirs.owner,
        """INSERT INTO app.memberships (user_id, role_id)
           VALUES (($1->>'user')::uuid, ($1->>'role')::uuid) RETURNING to_jsonb(1)""",
        editor,
        workspace_id=theirs.workspace_id,
    )

    def create(caller: Person, tenant: Tenant, key: Idempotency) -> Any:
        return database.query(
            caller,
            INSERT_CHATBOT,
            {"name": "n"},
            workspace_id=tenant.workspace_id,
            idempotency=key,
        )["id"]

    first = create(ours.owner, ours, _key("k"))
    assert create(ours.owner, ours, _key("k")) == first
    others = {
        create(ours.owner, ours, _key("l")),
        create(ours.owner, ours, _key("k", route="POST /other")),
        create(ours.owner, theirs, _key("k")),
        create(theirs.owner, theirs, _key("k")),
    }
    assert len(others - {first}) == 4
    with pytest.raises(ValidationFailed):
        create(ours.owner, ours, _key("k", body="b"))


def test_a_key_is_free_when_the_first_call_failed(ours: Tenant) -> None:
    where: dict[str, Any] = {"workspace_id": ours.workspace_id, "idempotency": _key("k")}
    with pytest.raises(ValidationFailed):
        database.query(ours.owner, INSERT_CHATBOT, {"name": "nul \x00"}, **where)
    with pytest.raises(NotFound):
        database.query(ours.owner, RENAME, {"id": str(uuid.uuid4()), "name": "x"}, **where)
    assert database.query(ours.owner, INSERT_CHATBOT, {"name": "at last"}, **where)


def test_a_key_is_forgotten_after_a_day(cluster: Cluster, ours: Tenant) -> None:
    where: dict[str, Any] = {"workspace_id": ours.workspace_id, "idempotency": _key("k")}
    first = database.query(ours.owner, INSERT_CHATBOT, {"name": "n"}, **where)
    aged = "UPDATE app.idempotency_keys SET created_at = now() - interval '{}' WHERE user_id = '{}'"
    cluster.sql(aged.format("23 hours 59 minutes", ours.owner.user_id))
    assert database.query(ours.owner, INSERT_CHATBOT, {"name": "n"}, **where) == first
    cluster.sql(aged.format("24 hours 1 minute", ours.owner.user_id))
    assert database.query(ours.owner, INSERT_CHATBOT, {"name": "n"}, **where) != first


@pytest.mark.parametrize(
    "text",
    ["  outer space \n", "é decomposed e\u0301", "日本語 😀", "\\u0000 '\"$1;--", "\x7f\x1f"],
)
def test_strings_come_back_byte_for_byte(ours: Tenant, text: str) -> None:
    made = database.query(
        ours.owner, INSERT_CHATBOT, {"name": text}, workspace_id=ours.workspace_id
    )
    found = database.query(ours.owner, READ, {"id": made["id"]}, workspace_id=ours.workspace_id)
    assert (made["name"], found["name"]) == (text, text)


@pytest.mark.parametrize("text", ["a\x00b", "\ud800", "\udc00x"])
def test_what_cannot_be_stored_is_a_validation_failure(ours: Tenant, text: str) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        database.query(ours.owner, INSERT_CHATBOT, {"name": text}, workspace_id=ours.workspace_id)
    assert refusal.value.detail == "A value cannot be stored."


def test_an_answer_larger_than_a_row_of_the_data_api_arrives_whole(ours: Tenant) -> None:
    text = '日本語\n"😀"' * 11_000  # 230 KB of UTF-8
    answer = database.query(
        ours.owner, "SELECT $1->'text'", {"text": text}, workspace_id=ours.workspace_id
    )
    assert answer == text


def test_a_page_ends_early_when_its_rows_are_large(ours: Tenant) -> None:
    statement = """
        SELECT app.page(array_agg(row ORDER BY n), 50)
        FROM (SELECT n, jsonb_build_object('n', n, 'text', repeat('x', $2)) AS row
              FROM generate_series(1, 51) n) AS rows
    """
    small = database.query(ours.owner, statement.replace("$2", "10"))
    assert [item["n"] for item in small["items"]] == list(range(1, 51))
    assert small["more"] is True
    large = database.query(ours.owner, statement.replace("$2", "128000"))
    assert [item["n"] for item in large["items"]] == [1, 2, 3]
    assert large["more"] is True
    huge = database.query(ours.owner, statement.replace("$2", "500000"))
    assert [item["n"] for item in huge["items"]] == [1]
    assert database.query(ours.owner, statement.replace("$2", "10").replace("51", "50")) == {
        "items": [{"n": n, "text": "x" * 10} for n in range(1, 51)],
        "more": False,
    }


def test_changes_are_audited_with_actor_and_request_but_without_prompts(
    ours: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatbot.log.request_id", lambda: "request-7")
    change = """UPDATE app.chatbots c SET name = 'new', system_prompt = 'private'
                WHERE id = ($1->>'id')::uuid RETURNING app.json(c)"""
    where: dict[str, Any] = {"workspace_id": ours.workspace_id}
    database.query(ours.owner, change, {"id": ours.chatbot_id}, **where)
    database.query(ours.owner, DELETE, {"id": ours.chatbot_id}, **where)
    trail = database.query(
        ours.owner,
        """SELECT jsonb_agg(app.json(a) ORDER BY created_at) FROM app.audit_log a
           WHERE resource_id = ($1->>'id')::uuid""",
        {"id": ours.chatbot_id},
        **where,
    )
    assert [entry["action"] for entry in trail] == ["create", "update", "delete"]
    assert {entry["actor_id"] for entry in trail} == {ours.owner.user_id}
    assert [entry["request_id"] for entry in trail[1:]] == ["request-7"] * 2
    assert trail[1]["changes"] == {
        "name": {"from": "ours's", "to": "new"},
        "system_prompt": {"withheld": True},
    }
    assert "private" not in str(trail)


def test_the_trail_of_a_user_holds_no_personal_data(cluster: Cluster, ours: Tenant) -> None:
    person = register("secretive")
    database.query(person, "UPDATE app.users SET full_name = 'Other' RETURNING to_jsonb(1)")
    database.query(person, "DELETE FROM app.users RETURNING to_jsonb(1)")
    trail = cluster.sql(
        f"SELECT action, changes FROM app.audit_log WHERE resource_id = '{person.user_id}'"
    )
    assert {row[0] for row in trail} == {"create", "update", "delete"}
    assert not any(word in str(trail) for word in ("secretive", "Other", "example.com", "$2b$"))


def test_a_workspace_keeps_an_owner(ours: Tenant) -> None:
    leave = "DELETE FROM app.memberships WHERE user_id = app.user_id() RETURNING to_jsonb(1)"
    demote = """UPDATE app.memberships SET role_id = ($1->>'role')::uuid
                WHERE user_id = app.user_id() RETURNING to_jsonb(1)"""
    where: dict[str, Any] = {"workspace_id": ours.workspace_id}
    with pytest.raises(Conflict, match="at least one owner"):
        database.query(ours.owner, leave, **where)
    with pytest.raises(Conflict):
        database.query(ours.owner, demote, {"role": ours.roles["viewer"]}, **where)
    with pytest.raises(Conflict):
        database.query(ours.owner, "DELETE FROM app.users RETURNING to_jsonb(1)")
    remove = "DELETE FROM app.memberships WHERE user_id <> app.user_id() RETURNING to_jsonb(1)"
    assert database.query(ours.owner, remove, **where) == 1


def test_one_owner_stays_when_all_leave_at_once(ours: Tenant) -> None:
    where: dict[str, Any] = {"workspace_id": ours.workspace_id}
    owners = [ours.owner, *(register("owner") for _ in range(5))]
    for person in owners[1:]:
        database.query(
            ours.owner,
            """INSERT INTO app.memberships (user_id, role_id)
               VALUES (($1->>'user')::uuid, ($1->>'role')::uuid) RETURNING to_jsonb(1)""",
            {"user": person.user_id, "role": ours.roles["owner"]},
            **where,
        )
    leave = "DELETE FROM app.memberships WHERE user_id = app.user_id() RETURNING to_jsonb(1)"
    outcomes = _at_once(lambda number: database.query(owners[number], leave, **where), 6)
    assert sorted(type(one).__name__ for one in outcomes) == ["Conflict"] + ["int"] * 5


def test_system_roles_are_read_only_and_a_role_in_use_stays(ours: Tenant) -> None:
    where: dict[str, Any] = {"workspace_id": ours.workspace_id}
    role = database.query(
        ours.owner,
        """INSERT INTO app.roles AS r (name, permissions) VALUES ('own', '{chat:use}')
           RETURNING app.json(r)""",
        **where,
    )
    touched = database.query(
        ours.owner,
        """WITH done AS (UPDATE app.roles SET permissions = '{}' RETURNING name)
           SELECT jsonb_agg(name) FROM done""",
        **where,
    )
    assert touched == ["own"]
    database.query(
        ours.owner,
        """UPDATE app.memberships SET role_id = ($1->>'role')::uuid
           WHERE user_id = ($1->>'user')::uuid RETURNING to_jsonb(1)""",
        {"role": role["id"], "user": ours.viewer.user_id},
        **where,
    )
    with pytest.raises(Conflict):
        database.query(ours.owner, "DELETE FROM app.roles RETURNING to_jsonb(1)", **where)
    with pytest.raises(ValidationFailed):
        database.query(
            ours.owner,
            """INSERT INTO app.roles (name, permissions) VALUES ('x', '{root}')
               RETURNING to_jsonb(1)""",
            **where,
        )
