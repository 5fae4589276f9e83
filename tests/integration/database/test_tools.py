"""The statements of tools, with two tenants: what of a workspace a chatbot's tools may use."""

import json
import uuid
from typing import Any

import pytest

from chatbot import backlog, database
from chatbot.errors import NotFound
from functions.sources import handler as sources
from functions.tool_knowledge_search import handler as knowledge
from localstack.bedrock.embeddings import embed
from tests.integration.database.conftest import Cluster, Tenant
from tests.integration.database.test_knowledge import row, store

SOURCE = {
    "provider": "backlog",
    "name": "Operations",
    "config": {"base_url": "https://ours.backlog.com/api/v2", "projects": ["OPS"]},
    "schedule": "rate(1 hour)",
    "is_enabled": True,
}
LIMIT = """
UPDATE app.chatbots
SET knowledge = knowledge || jsonb_build_object('source_ids', $1 -> 'source_ids')
WHERE workspace_id = app.workspace_id() AND id = ($1 ->> 'id')::uuid
RETURNING to_jsonb(id)
"""


def ask(tenant: Tenant, statement: str, params: dict[str, Any], **options: Any) -> Any:
    """As a tool asks, for the tenant's viewer."""
    caller = options.pop("caller", tenant.viewer)
    return database.query(caller, statement, params, workspace_id=tenant.workspace_id)


def connect(tenant: Tenant, **fields: Any) -> str:
    made = database.query(
        tenant.owner, sources.INSERT, SOURCE | fields, workspace_id=tenant.workspace_id
    )
    return str(made["id"])


def limit(tenant: Tenant, source_ids: list[str] | None) -> None:
    params = {"id": tenant.chatbot_id, "source_ids": source_ids}
    assert database.query(tenant.owner, LIMIT, params, workspace_id=tenant.workspace_id)


def connected(tenant: Tenant, chatbot_id: str | None = None, **options: Any) -> list[str]:
    params = {"chatbot_id": chatbot_id or tenant.chatbot_id}
    return [item["id"] for item in ask(tenant, backlog.SOURCES, params, **options) or []]


def test_chatbot_uses_its_workspaces_enabled_backlog_sources(
    tenants: tuple[Tenant, Tenant],
) -> None:
    ours, theirs = tenants
    first, second = connect(ours), connect(ours, name="Second")
    connect(ours, is_enabled=False)
    connect(ours, provider="slack")
    foreign = connect(theirs)
    assert connected(ours) == [first, second]
    assert connected(theirs) == [foreign]
    (item, _) = ask(ours, backlog.SOURCES, {"chatbot_id": ours.chatbot_id})
    assert item == {"id": first, "name": "Operations", "config": SOURCE["config"]}


def test_chatbot_uses_the_sources_only_that_it_is_limited_to(
    tenants: tuple[Tenant, Tenant],
) -> None:
    ours, theirs = tenants
    _, second, foreign = connect(ours), connect(ours), connect(theirs)
    for allowed, found in (
        ([second], [second]),
        ([foreign], []),
        ([second.upper(), foreign], [second]),
        ([], []),
    ):
        limit(ours, allowed)
        assert connected(ours) == found
    limit(ours, None)
    assert len(connected(ours)) == 2


def test_chatbot_of_another_workspace_uses_nothing(tenants: tuple[Tenant, Tenant]) -> None:
    ours, theirs = tenants
    connect(ours)
    connect(theirs)
    assert connected(ours, theirs.chatbot_id) == []
    assert connected(ours, str(uuid.uuid4())) == []
    with pytest.raises(NotFound):
        connected(theirs, caller=ours.viewer)


def find(tenant: Tenant, chatbot_id: str | None = None) -> list[str]:
    text = "the code of the safe"
    asked = {
        "chatbot_id": chatbot_id or tenant.chatbot_id,
        "search": {"text": text, "embedding": embed(text, 1024, True), "top_k": 10},
    }
    found = ask(tenant, knowledge.FIND, asked)
    return sorted(item["content"] for item in found or [])


def test_search_finds_what_the_chatbot_may_use_in_its_workspace(
    cluster: Cluster, tenants: tuple[Tenant, Tenant]
) -> None:
    ours, theirs = tenants
    one, other, foreign = (str(uuid.uuid4()) for _ in range(3))
    for tenant, source_id, text in (
        (ours, one, "The code of the safe is one."),
        (ours, other, "The code of the safe is two."),
        (theirs, foreign, "The code of the safe is three."),
    ):
        store(cluster, row(tenant, source_id=source_id), text)
    assert find(ours) == ["The code of the safe is one.", "The code of the safe is two."]
    assert find(theirs) == ["The code of the safe is three."]
    limit(ours, [one, foreign])
    assert find(ours) == ["The code of the safe is one."]
    limit(ours, [])
    assert find(ours) == []
    limit(ours, None)
    assert len(find(ours)) == 2
    assert find(ours, theirs.chatbot_id) == []
    assert json.dumps(find(ours)).count("three") == 0
