"""A run that is killed at any request, twice, and taken up again ends like one that was not."""

from contextlib import suppress
from typing import Any

import pytest

from localstack.providers.server import World
from tests.unit.ingestion.machine import Assassin, Killed, Machine, Source


def outcome(source: Source) -> dict[str, tuple[Any, Any]]:
    return {
        external_id: (row["content_hash"], row["title"])
        for external_id, row in source.rows().items()
    }


@pytest.mark.parametrize("provider", ["slack", "gitlab", "backlog"])
def test_nothing_is_lost_or_doubled_when_killed_twice_at_any_request(
    provider: str, machine: Machine, providers: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    providers.slack.configure(page_cap=2)
    for number in range(3):
        providers.slack.post("C01OPS", f"Once more {number}.", thread_ts="1793613600.000200")
    whole = machine.source(provider)
    expected = whole.run()
    wanted = outcome(whole)
    requests = len(providers.requests)
    assert len(wanted) == expected["counts"]["fetched"] == expected["counts"]["changed"]
    assassin = Assassin(monkeypatch)
    for request in range(1, requests + 1):
        source = machine.source(provider)
        assassin.kill_at(request)
        with pytest.raises(Killed):
            source.run("job", sweep=True)
        # What was read before need not be read again, so the second time may be the last.
        assassin.kill_at(request)
        with suppress(Killed):
            source.run("job", sweep=True)
        assassin.kill_at(0)
        answer = source.run("job", sweep=True)
        assert outcome(source) == wanted
        assert answer["counts"] == expected["counts"]
        assert answer["listing_complete"]


@pytest.mark.parametrize("provider", ["slack", "gitlab", "backlog"])
def test_second_run_changes_nothing_when_nothing_changed(provider: str, machine: Machine) -> None:
    source = machine.source(provider)
    source.run()
    before = source.rows()
    assert before
    for answer in (source.run(), source.sync()):
        assert answer["counts"]["changed"] == answer["counts"]["deleted"] == 0
        assert answer["error"] is None
    for external_id, row in source.rows().items():
        assert (row["version"], row["status"]) == (before[external_id]["version"], "pending")


@pytest.mark.parametrize("provider", ["slack", "gitlab", "backlog"])
def test_two_workspaces_share_no_document_when_they_read_the_same(
    provider: str, machine: Machine
) -> None:
    first, second = machine.source(provider), machine.source(provider)
    first.run()
    second.run()
    ids = [{row["document_id"] for row in source.rows().values()} for source in (first, second)]
    assert not ids[0] & ids[1]
    for source in (first, second):
        assert {row["workspace_id"] for row in source.rows().values()} == {source.workspace_id}
        keys = {row["text_key"].split("/")[1] for row in source.rows().values()}
        assert keys == {source.workspace_id}
