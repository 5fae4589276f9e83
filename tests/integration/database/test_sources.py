"""The statements of sources, with two tenants, and what each login may do with the table."""

import uuid
from typing import Any

import pytest

from chatbot import database
from chatbot.database import StatementFailed
from chatbot.errors import Forbidden, NotFound, PreconditionFailed
from functions.sources import handler as sources
from tests.integration.database.conftest import Cluster, Tenant

SOURCE = {
    "provider": "slack",
    "name": "Chat",
    "config": {"channels": ["C1"], "page_size": 15},
    "schedule": "rate(1 hour)",
    "is_enabled": True,
}
MOVE = """
UPDATE app.sources SET workspace_id = ($1 ->> 'id')::uuid RETURNING to_jsonb(id)
"""
PUT = """
INSERT INTO app.sources (workspace_id, provider, name, config, schedule, is_enabled)
VALUES (($1 ->> 'id')::uuid, 'slack', '', '{}', '', true) RETURNING to_jsonb(id)
"""


def run(tenant: Tenant, statement: str, params: dict[str, Any], **options: Any) -> Any:
    """A statement in the tenant's workspace, by its owner. Tests only: it is no literal."""
    caller = options.pop("caller", tenant.owner)
    options.setdefault("permission", "sources:write")
    return database.query(caller, statement, params, workspace_id=tenant.workspace_id, **options)


def test_source_is_made_read_changed_and_deleted(tenants: tuple[Tenant, Tenant]) -> None:
    ours, _ = tenants
    made = run(ours, sources.INSERT, SOURCE)
    key = {"id": made["id"]}
    assert {name: made[name] for name in SOURCE} == SOURCE
    assert made["version"] == 1
    assert run(ours, sources.SELECT, key) == made
    changes = {"config": {"page_size": None, "include_bots": True}, "is_enabled": False}
    changed = run(ours, sources.UPDATE, {**key, "changes": changes})
    assert changed["config"] == {"channels": ["C1"], "include_bots": True}
    assert (changed["is_enabled"], changed["name"], changed["version"]) == (False, "Chat", 2)
    with pytest.raises(PreconditionFailed):
        run(ours, sources.UPDATE, {**key, "changes": {"name": "x"}}, if_match=["1"])
    listed = run(ours, sources.LIST, {"limit": 10})
    assert listed == {"items": [changed], "more": False}
    assert run(ours, sources.DELETE, key) == made["id"]
    assert run(ours, sources.SELECT, key) is None
    assert run(ours, sources.DELETE, key) is None


def test_source_of_another_workspace_is_not_there(tenants: tuple[Tenant, Tenant]) -> None:
    ours, theirs = tenants
    made = run(theirs, sources.INSERT, SOURCE)
    key = {"id": made["id"]}
    run(ours, sources.DELETE, {"id": run(ours, sources.INSERT, SOURCE)["id"]})
    for statement in (sources.SELECT, sources.DELETE):
        assert run(ours, statement, key) is None
    assert run(ours, sources.UPDATE, {**key, "changes": {"name": "mine"}}) is None
    assert run(ours, sources.EXISTS, key) is False
    assert run(ours, sources.LIST, {"limit": 10})["items"] == []
    # Without any WHERE row-level security still holds.
    assert run(ours, "SELECT jsonb_agg(s) FROM app.sources AS s", {}) is None
    gone = "WITH d AS (DELETE FROM app.sources RETURNING 1) SELECT to_jsonb(count(*)) FROM d"
    assert run(ours, gone, {}) == 0
    run(ours, sources.INSERT, SOURCE)
    with pytest.raises(NotFound):
        run(theirs, sources.SELECT, key, caller=ours.owner)
    for statement in (MOVE, PUT):
        with pytest.raises(StatementFailed, match="42501"):
            run(ours, statement, {"id": theirs.workspace_id})
    assert run(theirs, sources.SELECT, key) == made


def test_viewer_neither_reads_nor_writes_sources(tenants: tuple[Tenant, Tenant]) -> None:
    ours, _ = tenants
    for permission in ("sources:read", "sources:write"):
        with pytest.raises(Forbidden):
            run(ours, sources.LIST, {"limit": 1}, caller=ours.viewer, permission=permission)


def test_source_goes_with_its_own_chunks_only(
    cluster: Cluster, tenants: tuple[Tenant, Tenant]
) -> None:
    ours, theirs = tenants
    made = run(ours, sources.INSERT, SOURCE)
    kept = run(theirs, sources.INSERT, SOURCE)
    for tenant, source_id in (
        (ours, made["id"]),
        (ours, None),
        (theirs, kept["id"]),
        (theirs, made["id"]),  # as if another workspace had chosen the same id
    ):
        document_id = uuid.uuid4()
        cluster.sql(
            "INSERT INTO app.document_versions (workspace_id, document_id, version)"
            f" VALUES ('{tenant.workspace_id}', '{document_id}', 1)"
        )
        named = f"'{source_id}'" if source_id else "NULL"
        cluster.sql(
            "INSERT INTO app.chunks"
            " (workspace_id, document_id, number, source_id, content, terms, embedding)"
            f" VALUES ('{tenant.workspace_id}', '{document_id}', 0, {named}, 'x',"
            " to_tsvector('english', 'x'), array_fill(0.1, ARRAY[1024])::real[]::halfvec)"
        )
    assert run(ours, sources.DELETE, {"id": made["id"]}) == made["id"]
    left = cluster.sql(
        "SELECT workspace_id, source_id FROM app.chunks"
        f" WHERE workspace_id IN ('{ours.workspace_id}', '{theirs.workspace_id}')"
    )
    assert sorted(map(str, left)) == sorted(
        map(
            str,
            [
                [ours.workspace_id, None],
                [theirs.workspace_id, kept["id"]],
                [theirs.workspace_id, made["id"]],
            ],
        )
    )


def test_worker_reads_and_deletes_in_one_workspace_and_writes_nothing(
    cluster: Cluster, tenants: tuple[Tenant, Tenant]
) -> None:
    ours, theirs = tenants
    made = run(ours, sources.INSERT, SOURCE)
    with cluster.as_login("worker"):
        count = "SELECT to_jsonb(count(*)) FROM app.sources"
        assert database.system(theirs.workspace_id, count) == 0
        assert database.system(ours.workspace_id, count) == 1
        with pytest.raises(StatementFailed, match="42501"):
            database.system(
                ours.workspace_id, "UPDATE app.sources SET name = '' RETURNING to_jsonb(1)"
            )
        params = {"id": made["id"]}
        assert database.system(theirs.workspace_id, sources.DELETE, params) is None
        assert database.system(ours.workspace_id, sources.DELETE, params) == made["id"]


def test_workspace_stays_as_long_as_it_has_a_source(
    cluster: Cluster, tenants: tuple[Tenant, Tenant]
) -> None:
    ours, _ = tenants
    run(ours, sources.INSERT, SOURCE)
    with pytest.raises(Exception, match="sources"):
        cluster.sql(f"DELETE FROM app.workspaces WHERE id = '{ours.workspace_id}'")
