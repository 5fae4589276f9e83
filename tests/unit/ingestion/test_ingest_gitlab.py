"""GitLab's traps, one by one."""

from typing import Any

import pytest

from chatbot.errors import BadInput
from chatbot.fetching import TooLarge
from functions.ingest_gitlab import api
from localstack.providers.faults import Fault
from localstack.providers.server import World
from tests.unit.ingestion.machine import Machine

PATH = "platform/tracker"


def test_documents_hold_notes_links_and_no_system_notes(machine: Machine) -> None:
    source = machine.source("gitlab")
    source.run()
    row, text = source.rows()[f"{PATH}/-/issues/1"], source.text(f"{PATH}/-/issues/1")
    assert row["title"] == "platform/tracker#1: Positions of trucks jump back after a tunnel"
    assert row["url"] == "https://gitlab.kestrel-freight.example/platform/tracker/-/issues/1"
    assert row["source_updated_at"] == "2026-09-05T14:20:00.000Z"
    assert "Kenji Mori (2026-09-03T09:00:00.000Z):\nSort by the device's own time" in text
    assert "assigned to" not in text
    assert sorted(source.rows()) == [
        f"{PATH}/-/files/README.md",
        f"{PATH}/-/files/docs/architecture.md",
        f"{PATH}/-/files/docs/c++-client.md",
        f"{PATH}/-/files/runbooks/broker-down.md",
        f"{PATH}/-/issues/1",
        f"{PATH}/-/issues/2",
        f"{PATH}/-/issues/4",
        f"{PATH}/-/merge_requests/1",
        f"{PATH}/-/merge_requests/2",
        f"{PATH}/-/wikis/home",
        f"{PATH}/-/wikis/on-call",
        f"{PATH}/-/wikis/releases/calendar",
    ]


def test_paths_are_encoded(machine: Machine, providers: World) -> None:
    machine.source("gitlab").run()
    paths = {request["path"] for request in providers.requests}
    assert "projects/platform%2Ftracker/issues" in paths
    assert "projects/platform%2Ftracker/repository/files/docs%2Fc%2B%2B-client.md/raw" in paths


def test_confidential_issue_is_read_only_when_the_configuration_says_so(
    machine: Machine, providers: World
) -> None:
    source = machine.source("gitlab", include=["issues"], include_confidential=True)
    source.run()
    assert f"{PATH}/-/issues/3" in source.rows()
    open_source = machine.source("gitlab", include=["issues"])
    open_source.run()
    assert f"{PATH}/-/issues/3" not in open_source.rows()
    providers.gitlab.put("issues", 2, confidential=True)
    open_source.run()
    assert f"{PATH}/-/issues/2" not in open_source.rows()


def test_internal_note_is_left_out(machine: Machine, providers: World) -> None:
    providers.gitlab.note("issues", 2, "Customer 4711 threatens to leave.", internal=True)
    source = machine.source("gitlab", include=["issues"])
    source.run()
    assert "4711" not in source.text(f"{PATH}/-/issues/2")


@pytest.mark.parametrize("is_old", [False, True])
def test_only_what_changed_is_read_again_even_from_old_servers(
    is_old: bool, machine: Machine, providers: World
) -> None:
    providers.gitlab.configure(ignores_updated_after=is_old, has_totals=False)
    source = machine.source("gitlab", include=["issues", "merge_requests"])
    source.run()
    providers.gitlab.note("issues", 1, "It happened again at the Fréjus tunnel.")
    providers.requests.clear()
    answer = source.run()
    assert "Fréjus" in source.text(f"{PATH}/-/issues/1")
    assert answer["counts"]["changed"] == 1
    notes = [request["path"] for request in providers.requests if "notes" in request["path"]]
    assert "projects/platform%2Ftracker/issues/2/notes" not in notes
    assert len(notes) <= 3  # the changed one, and the last before it of each kind


@pytest.mark.parametrize("is_old", [False, True])
def test_all_pages_are_read_when_totals_are_missing(
    is_old: bool, machine: Machine, providers: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "PAGE_SIZE", 3)
    providers.gitlab.configure(ignores_updated_after=is_old, has_totals=False)
    for number in range(10, 40):  # several of one second, and of one day
        providers.gitlab.put("issues", number, updated_at=f"2026-11-0{number // 10}T08:00:00.000Z")
    for number in range(40, 60):
        providers.gitlab.put("issues", number, updated_at=f"2026-11-08T09:{number}:00.000Z")
    for number in range(7):
        providers.gitlab.note("issues", 41, f"Note {number}")
    source = machine.source("gitlab", include=["issues"])
    answer = source.run()
    numbers = {int(name.rsplit("/", 1)[1]) for name in source.rows()}
    assert numbers == {1, 2, 4, *range(10, 60)}
    assert [f"Note {number}" in source.text(f"{PATH}/-/issues/41") for number in range(7)] == (
        [True] * 7
    )
    assert answer["error"] is None


def test_no_issue_is_skipped_when_the_pages_shift(
    machine: Machine, providers: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "PAGE_SIZE", 3)
    for number in range(10, 30):
        providers.gitlab.put("issues", number, updated_at=f"2026-11-08T09:{number}:00.000Z")
    for number in (10, 11, 12):
        providers.faults["gitlab"].append(
            Fault(
                "/issues",
                "change",
                after=number - 9,
                times=1,
                do="put",
                arguments={"kind": "issues", "iid": number, "title": "Moved to the end"},
            )
        )
    source = machine.source("gitlab", include=["issues"])
    source.run()
    numbers = {int(name.rsplit("/", 1)[1]) for name in source.rows()}
    assert numbers == {1, 2, 4, *range(10, 30)}


def test_wiki_page_that_is_missing_is_deleted_and_a_changed_one_replaced(
    machine: Machine, providers: World
) -> None:
    source = machine.source("gitlab")
    source.run()
    providers.gitlab.delete_wiki("releases/calendar")
    providers.gitlab.put_wiki("on-call", "On-call", "The week begins on Wednesday.")
    answer = source.run()
    assert f"{PATH}/-/wikis/releases/calendar" not in source.rows()
    assert "Wednesday" in source.text(f"{PATH}/-/wikis/on-call")
    assert (answer["counts"]["deleted"], answer["counts"]["changed"]) == (1, 1)


def test_wiki_is_read_page_by_page_when_its_texts_are_too_many_for_one_answer(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = api.page

    def narrow(run: Any, path: str, parameters: Any, following: str | None = None) -> Any:
        if "with_content" in parameters:
            raise TooLarge("more than 1 byte")
        return page(run, path, parameters, following)

    whole, narrowed = (machine.source("gitlab", include=["wikis"]) for _ in range(2))
    whole.run()
    monkeypatch.setattr(api, "page", narrow)
    narrowed.run()
    assert narrowed.texts() == whole.texts() != {}


def test_page_whose_name_cannot_be_written_fails_alone(machine: Machine, providers: World) -> None:
    providers.gitlab.put_wiki("a\ud800", "Odd", "Text.")
    providers.gitlab.put_wiki("長" * 500, "Long", "The mast is 12 metres high.")
    source = machine.source("gitlab", include=["wikis"])
    answer = source.run()
    assert answer["error"] is None
    assert (answer["counts"]["failed"], answer["counts"]["changed"]) == (1, 4)
    [long] = [name for name in source.rows() if "長" in name]
    assert len(long.encode()) <= 1000
    assert "12 metres" in source.text(long)
    providers.gitlab.delete_wiki("長" * 500)
    assert source.run()["counts"]["deleted"] == 1
    assert long not in source.rows()


def test_issue_of_a_time_to_come_hides_no_later_change(machine: Machine, providers: World) -> None:
    providers.gitlab.put("issues", 5, updated_at="2199-01-01T00:00:00.000Z")
    source = machine.source("gitlab", include=["issues"])
    source.run()
    providers.gitlab.put("issues", 6, title="Later than that, by any right clock")
    source.run()
    assert f"{PATH}/-/issues/6" in source.rows()


def test_wiki_list_that_broke_deletes_nothing(machine: Machine, providers: World) -> None:
    source = machine.source("gitlab")
    source.run()
    before = set(source.rows())
    providers.faults["gitlab"].append(Fault("/wikis", "garbage"))
    answer = source.run()
    assert answer["error"]
    assert set(source.rows()) == before


def test_changed_renamed_and_deleted_files_are_followed(machine: Machine, providers: World) -> None:
    source = machine.source("gitlab", include=["files"])
    source.run()
    broker = providers.gitlab.commits[-1][1]["runbooks/broker-down.md"].decode()
    providers.gitlab.commit(
        {
            "README.md": "# Tracker\n\nIt listens on port 9000 now.\n",
            "docs/architecture.md": None,
            "runbooks/broker-down.md": None,
            "runbooks/mqtt.md": broker,
        }
    )
    providers.requests.clear()
    answer = source.run()
    assert sorted(name.split("/files/")[1] for name in source.rows()) == [
        "README.md", "docs/c++-client.md", "runbooks/mqtt.md",
    ]  # fmt: skip
    assert "9000" in source.text(f"{PATH}/-/files/README.md")
    assert answer["counts"]["deleted"] == 2
    raw = [request for request in providers.requests if request["path"].endswith("/raw")]
    assert len(raw) == 2


def test_all_files_are_compared_when_the_base_commit_is_gone(
    machine: Machine, providers: World
) -> None:
    source = machine.source("gitlab", include=["files"])
    source.run()
    providers.gitlab.commit({"README.md": "# Rewritten\n", "docs/architecture.md": None})
    providers.gitlab.force_push()
    answer = source.run()
    assert source.text(f"{PATH}/-/files/README.md") == "# Rewritten\n"
    assert f"{PATH}/-/files/docs/architecture.md" not in source.rows()
    assert answer["counts"]["deleted"] == 1
    assert answer["error"] is None


def test_binary_and_very_large_files_are_skipped(machine: Machine, providers: World) -> None:
    files = providers.gitlab.commits[-1][1]
    files["docs/data"] = b"\x00\x01\x02"
    files["docs/old.txt"] = "Zürich".encode("latin-1")
    files["docs/huge.txt"] = b"x" * 600_000
    files["docs/empty.txt"] = b" \n"
    source = machine.source("gitlab", include=["files"])
    answer = source.run()
    assert answer["counts"]["failed"] == 0
    assert len(source.rows()) == 4


def test_deleted_issue_is_swept_by_a_sync(machine: Machine, providers: World) -> None:
    source = machine.source("gitlab")
    source.run()
    providers.gitlab.delete("issues", 2)
    assert source.run()["counts"]["deleted"] == 0
    assert source.sync()["counts"]["deleted"] == 1
    assert f"{PATH}/-/issues/2" not in source.rows()


def test_rate_limit_with_a_plain_text_body_is_waited_for(
    machine: Machine, providers: World
) -> None:
    fault = Fault("/notes", "rate_limit", after=1, times=1, seconds=17)
    providers.faults["gitlab"].append(fault)
    source = machine.source("gitlab")
    answer = source.run()
    assert source.waits == [17]
    assert answer["counts"]["fetched"] == 12


def test_one_project_that_is_missing_does_not_end_the_run(machine: Machine) -> None:
    source = machine.source("gitlab", projects=["platform/none", PATH])
    answer = source.sync()
    assert len(source.rows()) == 12
    assert "404" in answer["error"]
    assert not answer["sweep_due"]


def test_parts_that_are_switched_off_are_no_error(machine: Machine, providers: World) -> None:
    providers.gitlab.project |= {"issues_access_level": "disabled", "wiki_enabled": False}
    source = machine.source("gitlab")
    answer = source.sync()
    assert answer["error"] is None
    assert not any("/wikis/" in name or "/issues/" in name for name in source.rows())


def test_refused_token_fails_the_run_without_telling_it(machine: Machine, providers: World) -> None:
    providers.faults["gitlab"].append(Fault("/", "status", status=401))
    with pytest.raises(BadInput) as error:
        machine.source("gitlab").run()
    assert "credentials are refused" in str(error.value)
    assert "glpat" not in str(error.value)
