"""What all connectors share: bounded calls, sweeps within their limit, whole listings, secrets."""

import json
import logging

import pytest

from chatbot import ingesting, parts
from chatbot.aws import client
from chatbot.errors import BadInput, RetryLater
from chatbot.settings import settings
from functions.ingest_backlog import issues as backlog
from functions.ingest_gitlab import api as gitlab
from localstack.providers.faults import Fault
from localstack.providers.server import World
from tests.unit.conftest import fresh_settings
from tests.unit.ingestion.machine import CREDENTIALS, Context, Machine

PATH = "platform/tracker"


def test_call_ends_in_time_and_the_next_goes_on(machine: Machine) -> None:
    source = machine.source("backlog")

    class Hurried(Context):
        def get_remaining_time_in_millis(self) -> int:
            self.left -= 10_000
            return self.left

    first = source.call("job", Hurried())
    assert first["has_more"]
    assert 0 < first["counts"]["fetched"] < 8
    assert source.run("job")["counts"] == {
        "fetched": 8, "changed": 8, "unchanged": 0, "deleted": 0, "failed": 0,
    }  # fmt: skip


def test_next_job_goes_on_when_the_one_before_was_cut_off(
    machine: Machine, providers: World
) -> None:
    source = machine.source("gitlab")
    providers.faults["gitlab"].append(Fault("/wikis", "status", times=4))
    with pytest.raises(RetryLater):
        source.run("first")
    read = len(source.rows())
    assert 0 < read < 12
    answer = source.run("second")
    assert len(source.rows()) == 12
    assert answer["counts"]["fetched"] == 12 - read
    assert answer["sweep_due"]


def test_sync_lists_all_again_when_a_listing_was_cut_off(
    machine: Machine, providers: World
) -> None:
    source = machine.source("gitlab")
    source.run()
    providers.faults["gitlab"].append(Fault("/tree", "status", times=4))
    with pytest.raises(RetryLater):
        source.sync()
    providers.gitlab.delete("issues", 1)
    assert source.sync()["counts"]["deleted"] == 1
    assert f"{PATH}/-/issues/1" not in source.rows()


def test_sweep_of_more_than_its_share_deletes_nothing_without_an_operators_word(
    machine: Machine, providers: World, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("SWEEP_MAX_PERCENT", "20")
    fresh_settings()
    source = machine.source("gitlab", include=["issues", "merge_requests"])
    source.run()
    assert len(source.rows()) == 5
    for number in (1, 2):
        providers.gitlab.delete("issues", number)
    refused = source.sync()
    assert refused["counts"]["deleted"] == 0
    assert not refused["sweep_due"]
    assert "2 of 5 documents are no longer listed" in refused["error"]
    assert len(source.rows()) == 5
    assert source.sync(max_deleted_percent=50)["counts"]["deleted"] == 2
    assert len(source.rows()) == 3


def test_single_deletion_is_followed_however_small_the_source_is(
    machine: Machine, providers: World
) -> None:
    source = machine.source("gitlab", include=["wikis"])
    for slug in ("home", "on-call"):
        providers.gitlab.delete_wiki(slug)
    source.run()
    assert len(source.rows()) == 1
    providers.gitlab.delete_wiki("releases/calendar")
    assert source.sync()["counts"]["deleted"] == 1


def test_listing_that_stays_broken_keeps_nothing_else_from_being_read(
    machine: Machine, providers: World
) -> None:
    providers.faults["gitlab"].append(Fault("/issues", "status"))
    source = machine.source("gitlab")
    for _ in range(ingesting.MAX_SETBACKS - 1):  # as often as the machine tries again
        with pytest.raises(RetryLater):
            source.run("job")
    answer = source.run("job")
    assert "HTTP 500" in answer["error"]
    assert not answer["sweep_due"]
    assert {name.split("/-/")[1].split("/")[0] for name in source.rows()} == {
        "merge_requests", "wikis", "files",
    }  # fmt: skip
    providers.faults["gitlab"].clear()
    assert source.run("next")["error"] is None
    assert f"{PATH}/-/issues/1" in source.rows()


@pytest.mark.parametrize("provider", ["slack", "backlog"])
def test_run_fails_and_says_why_when_nothing_can_be_listed(
    provider: str, machine: Machine, providers: World
) -> None:
    providers.faults[provider].append(Fault("/", "garbage"))
    with pytest.raises(BadInput, match="the answer is not JSON"):
        machine.source(provider).run("job")


def test_all_is_read_again_when_more_documents_failed_than_are_remembered(
    machine: Machine, providers: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingesting, "MAX_FAILED", 1)
    providers.faults["gitlab"].append(Fault("/notes", "garbage"))
    source = machine.source("gitlab")
    assert source.run()["counts"]["failed"] == 5
    providers.faults["gitlab"].clear()
    answer = source.run()
    assert (answer["counts"]["fetched"], answer["counts"]["failed"]) == (12, 0)
    assert answer["counts"]["changed"] == 5


def test_run_ends_when_one_document_after_the_other_is_not_to_be_had(
    machine: Machine, providers: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingesting, "MAX_IN_A_ROW", 2)
    fault = Fault("/notes", "status")
    providers.faults["gitlab"].append(fault)
    source = machine.source("gitlab")
    with pytest.raises(RetryLater, match="HTTP 500"):
        source.run("job")
    assert len(ingesting.load(source.source_id).failed) == 2
    providers.faults["gitlab"].clear()
    assert source.run("job")["counts"]["fetched"] == 12
    assert source.run("next")["counts"]["failed"] == 0
    assert len(source.rows()) == 12


@pytest.mark.parametrize(
    ("provider", "path", "external_id"),
    [("gitlab", "/notes", f"{PATH}/-/issues/1"), ("backlog", "/comments", "OPS/issues/1001")],
)
def test_long_discussion_is_read_on_from_where_a_rate_limit_stopped_it(
    provider: str,
    path: str,
    external_id: str,
    machine: Machine,
    providers: World,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gitlab, "PAGE_SIZE", 20)
    monkeypatch.setattr(backlog, "COUNT", 20)
    for number in range(90):
        providers.gitlab.note("issues", 1, f"Said {number}.")
        providers.backlog.comment(1, f"Said {number}.")
    for page in range(8):
        fault = Fault(path, "rate_limit", after=2 * page, times=1, seconds=300)
        providers.faults[provider].append(fault)
    source = machine.source(provider, include=["issues"])
    answer = source.run()
    assert len(source.waits) > 4
    assert set(source.waits) == {300}
    assert answer["error"] is None
    text = source.text(external_id)
    assert [text.count(f"Said {number}.") for number in range(90)] == [1] * 90


@pytest.mark.parametrize("provider", ["slack", "gitlab", "backlog"])
@pytest.mark.parametrize("kind", ["status", "garbage", "cut"])
def test_listing_that_broke_deletes_nothing(
    kind: str, provider: str, machine: Machine, providers: World
) -> None:
    source = machine.source(provider)
    source.run()
    before = set(source.rows())
    listing = {"slack": "history", "gitlab": "/issues", "backlog": "/issues"}[provider]
    providers.faults[provider].append(Fault(listing, kind))
    try:
        answer = source.sync()
    except (RetryLater, BadInput):
        pass
    else:
        assert answer["error"]
        assert not answer["sweep_due"]
    assert set(source.rows()) == before


def test_document_that_fails_is_not_swept_and_is_tried_again(
    machine: Machine, providers: World
) -> None:
    source = machine.source("gitlab")
    source.run()
    fault = Fault("/issues/2/notes", "status")
    providers.faults["gitlab"].append(fault)
    answer = source.sync()
    assert answer["counts"]["failed"] == 1
    assert answer["counts"]["deleted"] == 0
    assert len(source.rows()) == 12
    providers.faults["gitlab"].remove(fault)
    again = source.run()
    assert again["counts"]["failed"] == 0
    assert not ingesting.load(source.source_id).failed


def test_changed_configuration_lists_all_and_sweeps_what_is_no_longer_in_it(
    machine: Machine, environment: pytest.MonkeyPatch
) -> None:
    source = machine.source("gitlab")
    source.run()
    source.config["include"] = ["issues", "wikis", "files"]
    answer = source.run()
    assert answer["counts"]["deleted"] == 2
    assert not any("merge_requests" in name for name in source.rows())


@pytest.mark.parametrize("provider", ["slack", "gitlab", "backlog"])
@pytest.mark.parametrize("kind", ["status", "garbage", "rate_limit", "cut"])
def test_credentials_are_in_no_error_log_or_checkpoint(
    kind: str,
    provider: str,
    machine: Machine,
    providers: World,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger().setLevel(logging.DEBUG)
    source = machine.source(provider)
    source.run()
    providers.faults[provider].append(Fault("/", kind, after=3, times=9))
    told = ""
    try:
        told = json.dumps(source.call("job", sweep=True))
    except (RetryLater, BadInput) as error:
        told = f"{error!r} {error.__cause__!r}"
    row = client("dynamodb").get_item(
        TableName="jobs",
        Key={"source_id": {"S": source.source_id}, "job_id": {"S": "CHECKPOINT"}},
    )["Item"]
    # Not those of AWS's client, which got the secret, nor of the stand-in in this process.
    ours = [
        record
        for record in caplog.records
        if not record.name.startswith(("botocore", "aiohttp", "asyncio"))
    ]
    captured = capsys.readouterr()
    for secret in CREDENTIALS[provider].values():
        assert secret not in told
        assert secret not in json.dumps(row)
        leaks = {record.name for record in ours if secret in record.getMessage()}
        assert leaks == set()
        assert secret not in captured.out


def test_checkpoint_holds_what_a_very_large_listing_leaves_to_do(machine: Machine) -> None:
    source = machine.source("backlog")
    tasks = [["wiki", f"OPS/wikis/{number}", "OPS", number] for number in range(30_000)]
    ingesting.save(source.source_id, ingesting.Checkpoint(tasks=tasks))
    assert ingesting.load(source.source_id).tasks == tasks


@pytest.mark.parametrize("text", ["{}", "", '{"tasks": []}', parts.squeeze({"unknown": 1})])
def test_all_is_listed_when_the_checkpoint_is_of_another_release(
    text: str, machine: Machine
) -> None:
    source = machine.source("backlog")
    source.run()
    client("dynamodb").put_item(
        TableName="jobs",
        Item={
            "source_id": {"S": source.source_id},
            "job_id": {"S": "CHECKPOINT"},
            "checkpoint": {"S": text},
        },
    )
    assert source.run()["counts"]["unchanged"] == 8


def test_source_without_credentials_fails_by_name(machine: Machine) -> None:
    source = machine.source("slack")
    client("secretsmanager").delete_secret(
        SecretId=f"{settings().source_secret_prefix}{source.source_id}",
        ForceDeleteWithoutRecovery=True,
    )
    with pytest.raises(BadInput, match="no credentials"):
        source.run()
