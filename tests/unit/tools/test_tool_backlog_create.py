"""The tool `backlog_create`, on the stand-in of Backlog: an issue once, or an honest word."""

from typing import Any

import pytest

from chatbot.tool_calls import ToolFailed
from functions.tool_backlog_create import handler
from localstack.providers.faults import Fault
from localstack.providers.server import World
from tests.unit.conftest import FakeDatabase
from tests.unit.tools.conftest import call, source

ASKED = {"project_key": "OPS", "summary": "Repair gate 3", "description": "It does not close."}


@pytest.fixture(autouse=True)
def connected(internet: str, database: FakeDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source for every call; the client does not sleep."""
    monkeypatch.setattr("chatbot.fetching.time.sleep", lambda _: None)
    database.answers = [[source(internet)]]


def create(database: FakeDatabase, tool_use_id: str = "tooluse_1", **more: Any) -> Any:
    database.answers = database.answers * 2
    return handler.run(call("backlog_create", tool_use_id, **(ASKED | more)))


def made(providers: World) -> list[dict[str, Any]]:
    return [issue for issue in providers.backlog.issues.values() if issue["keyId"] > 5]


def posts(providers: World) -> int:
    return sum(request["method"] == "POST" for request in providers.requests)


def test_issue_is_created(internet: str, database: FakeDatabase, providers: World) -> None:
    assert create(database, priority="High", issue_type="bug") == {
        "key": "OPS-6",
        "summary": "Repair gate 3",
        "url": f"{internet}/backlog/view/OPS-6",
    }
    (issue,) = made(providers)
    assert issue["summary"] == "Repair gate 3"
    assert issue["description"].startswith("It does not close.\n\n(Created from a chat, reference ")
    assert (issue["issueType"]["name"], issue["priority"]["name"]) == ("Bug", "High")


def test_first_type_and_normal_priority_are_taken_when_none_is_named(
    database: FakeDatabase, providers: World
) -> None:
    create(database, description="")
    (issue,) = made(providers)
    assert (issue["issueType"]["name"], issue["priority"]["name"]) == ("Task", "Normal")
    assert issue["description"].startswith("(Created from a chat")


def test_long_text_in_any_script_goes_into_the_body(
    database: FakeDatabase, providers: World
) -> None:
    create(database, summary="門を修理する & 100 %", description="詳細 " * 2000)
    (issue,) = made(providers)
    assert issue["summary"] == "門を修理する & 100 %"
    assert issue["description"].startswith("詳細 " * 2000)
    (post,) = [request for request in providers.requests if request["method"] == "POST"]
    assert post["query"] == {}


def test_same_call_creates_one_issue_however_often_it_is_made(
    database: FakeDatabase, providers: World
) -> None:
    assert create(database) == create(database)
    assert len(made(providers)) == posts(providers) == 1
    assert create(database, "tooluse_2")["key"] == "OPS-7"
    assert len(made(providers)) == 2


def test_issue_is_found_when_the_answer_is_lost(database: FakeDatabase, providers: World) -> None:
    providers.faults["backlog"].append(Fault("/api/v2/issues", "lost", after=1, times=1))
    assert create(database)["key"] == "OPS-6"
    assert len(made(providers)) == posts(providers) == 1


def test_nobody_knows_when_the_answer_is_lost_and_nothing_can_be_looked_up(
    database: FakeDatabase, providers: World
) -> None:
    providers.faults["backlog"].append(Fault("/api/v2/issues", "lost", after=1, times=1))
    providers.faults["backlog"].append(Fault("/api/v2/issues", "status", after=2))
    with pytest.raises(ToolFailed, match="is not known"):
        create(database)
    assert len(made(providers)) == posts(providers) == 1


def test_nobody_knows_when_the_server_breaks_and_has_no_issue(
    database: FakeDatabase, providers: World
) -> None:
    providers.faults["backlog"].append(Fault("/api/v2/issues", "status", after=1, times=1))
    with pytest.raises(ToolFailed, match="is not known"):
        create(database)
    assert posts(providers) == 1


@pytest.mark.parametrize("kind", ["garbage", "replace"])
def test_issue_is_looked_for_when_the_answer_cannot_be_read(
    kind: str, database: FakeDatabase, providers: World
) -> None:
    fault = Fault("/api/v2/issues", kind, after=1, times=1, body={"issueKey": 7})
    providers.faults["backlog"].append(fault)
    with pytest.raises(ToolFailed, match="is not known"):
        create(database)
    assert posts(providers) == 1


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault("/api/v2/issues", "status", after=1, status=400), "refuses"),
        (Fault("/api/v2/issues", "status", after=1, status=403), "refuses"),
        (Fault("/api/v2/issues", "status", after=1, status=401), "refused"),
        (Fault("/api/v2/issues", "rate_limit", after=1, seconds=60), "busy"),
    ],
)
def test_it_says_that_nothing_was_created_when_the_server_refuses(
    fault: Fault, words: str, database: FakeDatabase, providers: World
) -> None:
    providers.faults["backlog"].append(fault)
    with pytest.raises(ToolFailed, match=f"^No issue was created: Backlog .*{words}"):
        create(database)
    assert posts(providers) == 1
    assert made(providers) == []


def test_unknown_type_creates_nothing_and_names_those_that_there_are(
    database: FakeDatabase, providers: World
) -> None:
    with pytest.raises(ToolFailed, match="It has Task, Bug, Request"):
        create(database, issue_type="Epic")
    assert posts(providers) == 0


@pytest.mark.parametrize("asked", [{"project_key": "SECRET"}, {"source": "Elsewhere"}])
def test_only_connected_projects_get_issues(
    asked: dict[str, str], database: FakeDatabase, providers: World
) -> None:
    with pytest.raises(ToolFailed, match="There is no such project"):
        create(database, **asked)
    assert providers.requests == []


def test_source_has_to_be_named_when_two_have_the_project(
    internet: str, database: FakeDatabase, providers: World
) -> None:
    database.answers = [[source(internet), source(internet, "source-2", name="Second")]]
    with pytest.raises(ToolFailed, match="Name the source"):
        create(database)
    assert providers.requests == []
    assert create(database, source="Second")["key"] == "OPS-6"
