"""The tool `backlog_search`, on the stand-in of Backlog."""

from typing import Any

import pytest

from chatbot import aws, backlog
from chatbot.errors import RetryLater, ServiceUnavailable
from chatbot.settings import settings
from chatbot.tool_calls import Principal, ToolFailed
from functions.tool_backlog_search import handler
from localstack.providers.faults import Fault
from localstack.providers.server import World
from tests.unit.conftest import FakeDatabase
from tests.unit.tools.conftest import OURS, call, source


def search(query: str, **more: Any) -> Any:
    return handler.run(call("backlog_search", query=query, **more))


def test_issue_is_found_with_its_address(internet: str, database: FakeDatabase) -> None:
    database.answers = [[source(internet)]]
    (found,) = search("sprinkler valve")
    assert found == {
        "key": "OPS-1",
        "summary": "Replace the sprinkler valve in bay 7",
        "status": "In Progress",
        "assignee": "Lena Brandt",
        "updated": "2026-11-03T10:00:00Z",
        "url": f"{internet}/backlog/view/OPS-1",
        "text": "The valve is ordered from Brandschutz Keller and should arrive in calendar week"
        " 49. Until then no batteries in bay 7.",
    }
    assert database.asked == [
        {
            "caller": Principal("user-1", 3, OURS),
            "statement": backlog.SOURCES,
            "params": {"chatbot_id": "chatbot-1"},
            "workspace_id": OURS,
        }
    ]


def test_newest_change_comes_first_and_no_more_than_asked_for(
    internet: str, database: FakeDatabase
) -> None:
    database.answers = [[source(internet)]]
    found = search("the", count=2)
    assert [issue["key"] for issue in found] == ["OPS-5", "OPS-4"]


def test_nothing_found_is_no_failure(internet: str, database: FakeDatabase) -> None:
    database.answers = [[source(internet)]]
    assert search("xyzzy") == "No issue fits, in OPS (source 'Operations')."


@pytest.mark.parametrize("rows", [None, []])
def test_it_fails_when_no_source_is_connected(
    rows: Any, internet: str, database: FakeDatabase, providers: World
) -> None:
    database.answers = [rows]
    with pytest.raises(ToolFailed, match="No Backlog source is connected"):
        search("valve")
    assert providers.requests == []


@pytest.mark.parametrize("asked", [{"project_key": "SECRET"}, {"source": "Elsewhere"}])
def test_only_connected_projects_are_searched(
    asked: dict[str, str], internet: str, database: FakeDatabase, providers: World
) -> None:
    database.answers = [[source(internet)]]
    with pytest.raises(ToolFailed, match=r"There are OPS \(source 'Operations'\)"):
        search("valve", **asked)
    assert providers.requests == []


def test_issue_of_another_project_is_left_out_whatever_the_server_sends(
    internet: str, database: FakeDatabase, providers: World
) -> None:
    foreign = {"issueKey": "SECRET-1", "summary": "valve", "updated": "2026-11-20T10:00:00Z"}
    alike = {"issueKey": "OPSX-1", "summary": "valve", "updated": "2026-11-20T10:00:00Z"}
    providers.faults["backlog"].append(Fault("/issues", "replace", body=[foreign, alike]))
    database.answers = [[source(internet)]]
    assert search("valve") == "No issue fits, in OPS (source 'Operations')."


def test_sources_are_searched_one_by_one_each_with_its_own_key(
    internet: str, database: FakeDatabase
) -> None:
    database.answers = [[source(internet), source(internet, "source-2", name="Second")]]
    assert [issue["key"] for issue in search("sprinkler")] == ["OPS-1", "OPS-1"]
    database.answers = [[source(internet), source(internet, "source-2", name="Second")]]
    assert [issue["key"] for issue in search("sprinkler", source="Second")] == ["OPS-1"]


def test_one_of_many_projects_has_to_be_named(
    internet: str, database: FakeDatabase, providers: World
) -> None:
    many = [f"P{number}" for number in range(11)]
    database.answers = [[source(internet, config={"projects": many})]]
    with pytest.raises(ToolFailed, match="Name one of the projects: P0"):
        search("valve")
    assert providers.requests == []


def test_source_without_credentials_is_the_administrators_affair(
    internet: str, database: FakeDatabase
) -> None:
    row = source(internet)
    aws.client("secretsmanager").delete_secret(
        SecretId=f"{settings().source_secret_prefix}source-1", ForceDeleteWithoutRecovery=True
    )
    database.answers = [[row]]
    with pytest.raises(ToolFailed, match="The source 'Operations' cannot be used"):
        search("valve")


@pytest.mark.parametrize(
    "base_url", ["http://169.254.169.254/api/v2", "http://[::1]/api/v2", "http://10.0.0.1/api/v2"]
)
def test_source_in_a_private_network_is_not_asked(
    base_url: str, internet: str, database: FakeDatabase
) -> None:
    database.answers = [[source(internet, config={"base_url": base_url})]]
    with pytest.raises(ToolFailed, match="cannot be used"):
        search("valve")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault("/issues", "status", status=500), "does not answer"),
        (Fault("/issues", "garbage"), "refuses this request"),
        (Fault("/issues", "replace", body=[7]), "cannot be read"),
        (Fault("/issues", "rate_limit", seconds=300), "asks to wait"),
        (Fault("/projects", "status", status=401), "its address or its key"),
        (Fault("/projects", "status", status=403), "refuses this request"),
    ],
)
def test_server_that_fails_is_told_without_its_key(
    fault: Fault,
    words: str,
    internet: str,
    database: FakeDatabase,
    providers: World,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chatbot.fetching.time.sleep", lambda _: None)
    providers.faults["backlog"].append(fault)
    database.answers = [[source(internet)]]
    with pytest.raises(ToolFailed, match=words) as raised:
        search("valve")
    assert "backlog-local" not in str(raised.value)


def test_machine_tries_again_when_the_database_is_away(
    internet: str, database: FakeDatabase
) -> None:
    database.answers = [ServiceUnavailable(retry_after=5)]
    with pytest.raises(RetryLater):
        search("valve")
