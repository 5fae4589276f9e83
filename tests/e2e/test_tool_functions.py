"""What each tool does on the running stack, asked for in a chat, and for whom."""

import json
import socket
from functools import partial
from typing import Any

import pytest
import requests

from tests.e2e.client import Tenant
from tests.e2e.conftest import Stack
from tests.e2e.sources import CREDENTIALS, connect, until
from tests.e2e.test_knowledge import word
from tests.e2e.test_tools import approve, calls, equip, until_waiting, use

OPS = {"projects": ["OPS"]}


def call(tenant: Tenant, name: str, **given: Any) -> tuple[str, Any]:
    """Have the model call a tool: (status, output) of the stored call."""
    with tenant.chat() as chat:
        turn = chat.ask(tenant.chatbot_id, use(name, **given))
    assert turn.check()["status"] == "completed"
    [made] = calls(tenant, turn)
    return made["status"], made["output"]


def limit(tenant: Tenant, source_ids: list[str] | None) -> None:
    """The sources that the tenant's chatbot may use."""
    path = f"{tenant.path}/chatbots/{tenant.chatbot_id}"
    tenant.rest.ok("PATCH", path, {"knowledge": {"enabled": False, "source_ids": source_ids}})


def is_embedded(tenant: Tenant, document_id: str) -> bool:
    document = tenant.rest.ok("GET", f"{tenant.path}/documents/{document_id}")
    return bool(document["status"] == "embedded")


def issues(stack: Stack, mark: str) -> list[Any]:
    """The issues that Backlog has with this mark."""
    url = f"{stack.outputs['providers_url']}/backlog/api/v2/issues"
    query = {"apiKey": CREDENTIALS["backlog"]["api_key"], "keyword": mark, "count": "100"}
    found: list[Any] = requests.get(url, params=query, timeout=10).json()
    return found


def test_web_is_searched(tenant: Tenant) -> None:
    equip(tenant, "web_search")
    status, output = call(tenant, "web_search", query="forklift inspections", count=1)
    assert status == "completed"
    [page] = json.loads(output)
    assert page["url"] == "https://www.example.net/forklift-inspection"
    assert page["text"].startswith("Industrial trucks are inspected at least once a year")


def test_redirect_of_the_search_into_a_private_network_is_not_followed(tenant: Tenant) -> None:
    equip(tenant, "web_search")
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        for host in ("[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "0", "169.254.169.254"):  # noqa: S104
            query = f"tea [[redirect http://{host}:{port}/]]"
            status, output = call(tenant, "web_search", query=query)
            assert status == "failed"
            assert "refuses this request" in output
        with pytest.raises(BlockingIOError):  # nobody has come
            listener.accept()


def test_issues_are_found_in_the_sources_that_the_chatbot_may_use(
    tenant: Tenant, other_tenant: Tenant, stack: Stack
) -> None:
    source = connect(tenant, stack, "backlog", config=OPS)
    for one in (tenant, other_tenant):
        equip(one, "backlog_search")
    status, output = call(tenant, "backlog_search", query="sprinkler")
    assert status == "completed"
    assert [issue["key"] for issue in json.loads(output)] == ["OPS-1"]
    limit(tenant, [])
    limit(other_tenant, None)
    for one in (tenant, other_tenant):
        status, output = call(one, "backlog_search", query="sprinkler")
        assert (status, "No Backlog source is connected" in output) == ("failed", True)
    limit(tenant, [source.id])
    status, output = call(tenant, "backlog_search", query="sprinkler", project_key="OTHER")
    assert (status, "There is no such project" in output) == ("failed", True)
    assert call(tenant, "backlog_search", query="sprinkler")[0] == "completed"


def test_issue_is_created_in_the_space_of_the_source(tenant: Tenant, stack: Stack) -> None:
    connect(tenant, stack, "backlog", config=OPS)
    equip(tenant, "backlog_create")
    mark = word()
    with tenant.chat() as chat:
        turn = chat.start(
            tenant.chatbot_id,
            use(
                "backlog_create", project_key="OPS", summary=f"Repair gate {mark}", priority="High"
            ),
        )
        waiting = until_waiting(chat, turn)
        assert issues(stack, mark) == []
        chat.send(approve(turn, waiting))
        chat.follow(turn)
    assert turn.check()["status"] == "completed"
    [made] = calls(tenant, turn)
    result = json.loads(made["output"])
    [issue] = issues(stack, mark)
    assert (issue["issueKey"], issue["priority"]["name"]) == (result["key"], "High")
    assert result["url"].endswith(f"/backlog/view/{result['key']}")


def test_documents_are_searched_in_the_own_workspace_only(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    ours, theirs = word(), word()
    for one, secret in ((tenant, ours), (other_tenant, theirs)):
        document = one.rest.ok(
            "POST", f"{one.path}/documents", {"title": "Safe", "content": f"The code is {secret}."}
        )
        until(partial(is_embedded, one, document["id"]), 60)
        equip(one, "knowledge_search")
        limit(one, None)
    question = f"the code of the safe: {ours} {theirs}"
    for one, found, hidden in ((tenant, ours, theirs), (other_tenant, theirs, ours)):
        status, output = call(one, "knowledge_search", query=question)
        assert status == "completed"
        assert [passage["text"] for passage in json.loads(output)] == [f"The code is {found}."]
        assert hidden not in output
    limit(tenant, [])
    status, output = call(tenant, "knowledge_search", query=question)
    assert (status, output) == ("completed", "Nothing in the workspace's documents fits.")
