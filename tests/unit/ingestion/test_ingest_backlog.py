"""Backlog's traps, one by one."""

from datetime import UTC, datetime, timedelta

import pytest

from chatbot.errors import BadInput
from functions.ingest_backlog import issues
from localstack.providers.faults import Fault
from localstack.providers.server import World
from tests.unit.ingestion.machine import Machine


def test_documents_hold_comments_and_links(machine: Machine) -> None:
    source = machine.source("backlog")
    source.run()
    row, text = source.rows()["OPS/issues/1001"], source.text("OPS/issues/1001")
    assert row["title"] == "OPS-1 Replace the sprinkler valve in bay 7"
    assert row["url"] == f"{machine.url}/backlog/view/OPS-1"
    assert "Lena Brandt (2026-11-03T10:00:00Z):\nThe fitter comes on 1 December" in text
    assert "None" not in text  # a comment may be a change without words
    assert "3 metres" in source.text("OPS/wikis/302")
    assert source.rows()["OPS/wikis/302"]["url"] == f"{machine.url}/backlog/alias/wiki/302"
    assert len(source.rows()) == 8


def test_key_goes_into_the_query_and_requests_come_one_at_a_time(
    machine: Machine, providers: World
) -> None:
    machine.source("backlog").run()
    listed = next(request for request in providers.requests if request["path"] == "issues")
    assert listed["query"]["projectId[]"] == ["92"]
    assert (listed["query"]["sort"], listed["query"]["order"]) == (["updated"], ["asc"])


def test_changes_of_the_same_day_are_found_though_the_filter_knows_days_only(
    machine: Machine, providers: World
) -> None:
    now = datetime.now(UTC)
    for number in range(10, 16):
        at = (now - timedelta(hours=number)).isoformat(timespec="seconds").replace("+00:00", "Z")
        providers.backlog.put_issue(number, updated=at)
    source = machine.source("backlog")
    source.run()
    del providers.backlog.activities[:]
    providers.backlog.comment(12, "The inspector comes at nine.")
    providers.requests.clear()
    answer = source.run()
    assert "at nine" in source.text("OPS/issues/1012")
    assert answer["counts"]["changed"] == 1
    since = [request["query"].get("updatedSince") for request in providers.requests]
    days = [days[0] for days in since if days]
    assert days
    assert all(day < now.date().isoformat() for day in days)
    read = {request["path"] for request in providers.requests if "comments" in request["path"]}
    assert "issues/1014/comments" not in read


@pytest.mark.parametrize("count", [5, 100])
def test_no_issue_is_skipped_when_offsets_shift(
    count: int, machine: Machine, providers: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issues, "COUNT", count)
    for number in range(10, 50):
        providers.backlog.put_issue(number, updated=f"2026-11-14T08:00:{number}Z")
    for number in range(10, 19):  # one after the other goes to the end, between two pages
        providers.faults["backlog"].append(
            Fault(
                "/issues",
                "change",
                after=number - 9,
                times=1,
                do="put_issue",
                arguments={"number": number, "summary": "Moved"},
            )
        )
    source = machine.source("backlog", include=["issues"])
    answer = source.run()
    assert {int(name.rsplit("/", 1)[1]) for name in source.rows()} == {
        *range(1001, 1006), *range(1010, 1050),
    }  # fmt: skip
    assert answer["error"] is None


def test_all_issues_are_read_when_all_are_of_one_second(
    machine: Machine, providers: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issues, "COUNT", 7)
    for number in range(10, 60):
        providers.backlog.put_issue(number, updated="2026-11-14T08:00:00Z")
    source = machine.source("backlog", include=["issues"])
    answer = source.run()
    assert len(source.rows()) == answer["counts"]["fetched"] == 55


def test_more_comments_than_a_page_holds_are_read(machine: Machine, providers: World) -> None:
    for number in range(130):
        providers.backlog.comment(2, f"Forklift {number} is inspected.")
    source = machine.source("backlog", include=["issues"])
    source.run()
    text = source.text("OPS/issues/1002")
    assert [f"Forklift {number} is" in text for number in range(130)] == [True] * 130


def test_deletions_and_changes_come_from_the_feed_of_activities(
    machine: Machine, providers: World
) -> None:
    source = machine.source("backlog")
    source.run()
    providers.backlog.delete_issue(5)
    providers.backlog.delete_wiki(303)
    providers.backlog.put_wiki(302, "Dangerous goods", "The distance is 5 metres now.")
    providers.backlog.put_wiki(304, "Doors", "Door 4 is locked from inside.")
    providers.backlog.change_several([2, 4], "Closed")
    providers.backlog.put_issue(9, summary="Made and deleted at once")
    providers.backlog.delete_issue(9)
    answer = source.run()
    assert sorted(source.rows()) == [
        "OPS/issues/1001", "OPS/issues/1002", "OPS/issues/1003", "OPS/issues/1004",
        "OPS/wikis/301", "OPS/wikis/302", "OPS/wikis/304",
    ]  # fmt: skip
    assert "5 metres" in source.text("OPS/wikis/302")
    assert "Status: Closed" in source.text("OPS/issues/1004")
    assert answer["counts"]["deleted"] == 2
    assert answer["counts"]["fetched"] == answer["counts"]["changed"] == 4


@pytest.mark.parametrize("newest_first", [False, True])
def test_more_activities_than_a_page_holds_are_followed(
    newest_first: bool, machine: Machine, providers: World
) -> None:
    source = machine.source("backlog")
    source.run()
    providers.backlog.delete_issue(4)
    providers.backlog.newest_first = newest_first
    for number in range(150):
        providers.backlog.put_wiki(301, "Home", f"Version {number}")
    providers.backlog.delete_issue(5)
    source.run()
    assert "Version 149" in source.text("OPS/wikis/301")
    assert not {"OPS/issues/1004", "OPS/issues/1005"} & set(source.rows())
    providers.requests.clear()
    source.run()
    asked = [request for request in providers.requests if "activities" in request["path"]]
    assert len(asked) == 1


def test_run_goes_on_without_a_feed_of_activities(machine: Machine, providers: World) -> None:
    providers.faults["backlog"].append(Fault("/activities", "status", status=403))
    source = machine.source("backlog")
    source.run()
    providers.backlog.delete_wiki(303)
    providers.backlog.put_issue(1, summary="Replaced")
    answer = source.run()
    assert source.rows()["OPS/issues/1001"]["title"] == "OPS-1 Replaced"
    assert "OPS/wikis/303" not in source.rows()
    assert answer["error"] is None


def test_rate_limit_is_waited_for_until_its_reset(machine: Machine, providers: World) -> None:
    fault = Fault("/comments", "rate_limit", after=2, times=1, seconds=40)
    providers.faults["backlog"].append(fault)
    source = machine.source("backlog")
    answer = source.run()
    assert len(source.waits) == 1
    assert 38 <= source.waits[0] <= 42
    assert answer["counts"]["fetched"] == 8


def test_issue_of_a_time_to_come_hides_no_later_change(machine: Machine, providers: World) -> None:
    providers.backlog.put_issue(6, updated="2199-01-01T00:00:00Z")
    source = machine.source("backlog", include=["issues"])
    source.run()
    del providers.backlog.activities[:]
    providers.backlog.put_issue(7, summary="Later than that, by any right clock")
    source.run()
    assert "OPS/issues/1007" in source.rows()


def test_only_project_that_is_unknown_fails_the_run(machine: Machine) -> None:
    with pytest.raises(BadInput, match="404") as error:
        machine.source("backlog", projects=["NONE"]).sync()
    assert "backlog-local" not in str(error.value)


def test_unknown_project_makes_the_run_partial(machine: Machine) -> None:
    source = machine.source("backlog", projects=["NONE", "OPS"])
    answer = source.sync()
    assert len(source.rows()) == 8
    assert "404" in answer["error"]
    assert "backlog-local" not in answer["error"]
