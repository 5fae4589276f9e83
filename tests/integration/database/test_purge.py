"""The rows of what was deleted: gone, with the names in the audit trail, and nothing else."""

import json
from typing import Any

import pytest

from chatbot import database
from chatbot.errors import Conflict
from functions.purge import handler as purge
from functions.purge import steps
from tests.integration.database.conftest import Cluster, Tenant, found_workspace, register

TABLES = ("workspaces", "roles", "memberships", "invitations", "chatbots", "idempotency_keys")


@pytest.fixture
def ours(tenants: tuple[Tenant, Tenant]) -> Tenant:
    return tenants[0]


@pytest.fixture
def theirs(tenants: tuple[Tenant, Tenant]) -> Tenant:
    return tenants[1]


def rows(cluster: Cluster, tenant: Tenant, *tables: str) -> list[Any]:
    """All rows of a workspace, past row-level security."""
    found = []
    for table in tables or (*TABLES, "audit_log"):
        column = "id" if table == "workspaces" else "workspace_id"
        found += cluster.sql(
            f"SELECT '{table}', to_jsonb(found)::text FROM app.{table} AS found"
            f" WHERE {column} = '{tenant.workspace_id}' ORDER BY 2"
        )
    return found


def fill(tenant: Tenant) -> None:
    """One row more in each table that a new workspace has none in."""
    database.query(
        tenant.owner,
        """INSERT INTO app.invitations AS i (email, role_id, expires_at)
           VALUES ('guest@example.com', ($1->>'role_id')::uuid, now()) RETURNING app.json(i)""",
        {"role_id": tenant.roles["viewer"]},
        workspace_id=tenant.workspace_id,
        idempotency={"key": "k", "route": "POST /x", "body_hash": "h"},
    )


def close(tenant: Tenant) -> None:
    database.query(
        tenant.owner,
        """UPDATE app.workspaces AS own SET status = 'deleting'
           WHERE id = app.workspace_id() RETURNING app.json(own)""",
        workspace_id=tenant.workspace_id,
    )


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The purge's steps in PostgreSQL only."""
    for kind, names in steps.STEPS.items():
        kept = {name: step for name, step in names.items() if name in ("row", "rows")}
        monkeypatch.setitem(steps.STEPS, kind, kept)


def run(cluster: Cluster, kind: str, resource_id: str) -> None:
    event = {"kind": kind, "id": resource_id, "cursor": "", "request_id": "request"}
    with cluster.as_login("worker"):
        while (event := purge.handler(event, None))["has_more"]:
            pass


def due(cluster: Cluster) -> list[tuple[str, str]]:
    with cluster.as_login("worker"):
        return [(row["kind"], row["id"]) for row in database.call("app.due_purges", {})]


def test_nothing_of_a_workspace_is_left_and_all_of_another(
    app: Cluster, ours: Tenant, theirs: Tenant, alone: None
) -> None:
    for tenant in (ours, theirs):
        fill(tenant)
    assert {row[0] for row in rows(app, ours)} == {*TABLES, "audit_log"}
    whole = rows(app, theirs)
    close(ours)
    assert ("workspace", ours.workspace_id) in due(app)
    run(app, "workspace", ours.workspace_id)
    assert rows(app, ours, *TABLES) == []
    assert rows(app, theirs) == whole
    assert ("workspace", ours.workspace_id) not in due(app)
    trail = [json.loads(row[1]) for row in rows(app, ours, "audit_log")]
    assert {(entry["action"], entry["resource_type"]) for entry in trail} >= {
        ("create", "workspace"),
        ("update", "workspace"),
        ("delete", "workspace"),
        ("delete", "chatbot"),
        ("delete", "invitation"),
    }
    assert all(entry["changes"] == {} for entry in trail)
    assert ours.owner.user_id in {entry["actor_id"] for entry in trail}
    run(app, "workspace", ours.workspace_id)
    assert [json.loads(row[1]) for row in rows(app, ours, "audit_log")] == trail
    assert rows(app, theirs) == whole


def test_workspace_in_use_is_not_purged(app: Cluster, ours: Tenant, alone: None) -> None:
    whole = rows(app, ours)
    with app.as_login("worker"), pytest.raises(Conflict):
        database.call("app.purge_workspace", {"id": ours.workspace_id})
    assert rows(app, ours) == whole


def test_trail_is_emptied_in_pieces_before_the_rows_go(
    app: Cluster, ours: Tenant, alone: None
) -> None:
    app.sql(
        "INSERT INTO app.audit_log (workspace_id, action, resource_type, changes)"
        f" SELECT '{ours.workspace_id}', 'update', 'chatbot', '{{\"name\": {{\"to\": \"Ann\"}}}}'"
        " FROM generate_series(1, 6000)"
    )
    close(ours)
    with app.as_login("worker"):
        assert database.call("app.purge_workspace", {"id": ours.workspace_id}) is True
        assert rows(app, ours, "workspaces") != []
        assert database.call("app.purge_workspace", {"id": ours.workspace_id}) is False
    assert rows(app, ours, *TABLES) == []
    assert not any("Ann" in row[1] for row in rows(app, ours, "audit_log"))


def test_deleted_user_is_due_until_purged_and_no_invitation_keeps_the_address(
    app: Cluster, ours: Tenant, theirs: Tenant, alone: None
) -> None:
    person, other = register("leaving"), register("staying")
    for tenant in (ours, theirs):
        for email in (person.email.upper(), other.email):
            database.query(
                tenant.owner,
                """INSERT INTO app.invitations AS i (email, role_id, expires_at)
                   VALUES ($1->>'email', ($1->>'role_id')::uuid, now()) RETURNING app.json(i)""",
                {"email": email, "role_id": tenant.roles["viewer"]},
                workspace_id=tenant.workspace_id,
            )
    database.query(person, "DELETE FROM app.users WHERE id = app.user_id() RETURNING to_jsonb(id)")
    left = app.sql("SELECT email FROM app.invitations")
    assert sum(row[0].lower() == person.email for row in left) == 0
    assert sum(row[0] == other.email for row in left) == 2
    assert ("user", person.user_id) in due(app)
    assert ("user", other.user_id) not in due(app)
    for _ in range(2):
        run(app, "user", person.user_id)
        assert ("user", person.user_id) not in due(app)
    trail = json.dumps(app.sql("SELECT to_jsonb(entry)::text FROM app.audit_log AS entry"))
    assert person.user_id in trail
    assert person.email not in trail.lower()
    assert "leaving" not in trail


def test_user_is_not_due_when_the_deletion_is_refused(app: Cluster, ours: Tenant) -> None:
    with pytest.raises(Conflict):
        database.query(
            ours.owner, "DELETE FROM app.users WHERE id = app.user_id() RETURNING to_jsonb(id)"
        )
    assert ("user", ours.owner.user_id) not in due(app)


def test_purges_are_the_workers_alone(app: Cluster, ours: Tenant) -> None:
    close(ours)
    calls = {
        "app.due_purges": {},
        "app.workspace_ids": {},
        "app.purge_user": {"id": ours.owner.user_id},
        "app.purge_workspace": {"id": ours.workspace_id},
    }
    for function, params in calls.items():
        with pytest.raises(database.StatementFailed) as caught:
            database.execute(f"SELECT {function}(:params::jsonb)", {"params": params})
        assert caught.value.code == "42501"
    assert rows(app, ours, "workspaces") != []


def test_workspaces_in_use_are_listed_in_pieces(app: Cluster, ours: Tenant) -> None:
    others = [found_workspace("many") for _ in range(3)]
    close(others[0])
    found: list[str] = []
    with app.as_login("worker"):
        while ids := database.call("app.workspace_ids", {"after": found[-1]} if found else {}):
            found += ids
    assert found == sorted(found)
    assert {ours.workspace_id, *(tenant.workspace_id for tenant in others[1:])} <= {*found}
    assert others[0].workspace_id not in found
