"""Slack's traps, one by one."""

import time
from typing import Any

import pytest

from chatbot.aws import client
from chatbot.errors import BadInput
from localstack.providers.faults import Fault
from localstack.providers.server import World
from tests.unit.ingestion.machine import Machine

OPS = "C01OPS"
GATE = "C01OPS__1793613600.000200"


def test_document_is_a_thread_with_names_times_and_permalink(machine: Machine) -> None:
    source = machine.source("slack")
    source.run()
    text, row = source.text(GATE), source.rows()[GATE]
    assert "Kenji Mori (2026-11-02T10:05:00Z):\nFrom 1 November to 15 March" in text
    assert "Thanks, @Kenji Mori. I put it into the tour sheet & told the driver." in text
    assert row["title"].startswith("#operations: When does the gate of the Rotterdam depot")
    assert row["url"] == ("https://kestrel-freight.slack.com/archives/C01OPS/p1793613600000200")
    assert row["source_updated_at"] == "2026-11-02T10:10:00Z"


def test_joins_bots_and_channels_of_others_are_left_out(machine: Machine) -> None:
    source = machine.source("slack")
    source.run()
    assert {name.split("__")[0] for name in source.rows()} == {"C01OPS", "C02ENG", "C04FIN"}
    said = "\n".join(source.texts().values())
    assert "has joined" not in said
    assert "CPU of tracker-3" not in said


def test_bots_are_read_when_the_configuration_says_so(machine: Machine) -> None:
    source = machine.source("slack", include_bots=True, channels=[OPS])
    source.run()
    assert "monitor (" in source.text("C01OPS__1793703600.000600")


def test_public_channels_are_joined_when_the_configuration_says_so(machine: Machine) -> None:
    source = machine.source("slack", join_public_channels=True)
    source.run()
    assert "Football on Thursday" in source.text("C03RND__1793640000.000100")
    assert not any(name.startswith("C05BRD") for name in source.rows())


def test_short_and_empty_pages_are_not_the_end(machine: Machine, providers: World) -> None:
    whole, cut = machine.source("slack"), machine.source("slack", page_size=3)
    whole.run()
    providers.slack.configure(page_cap=1, empty_pages=True)
    answer = cut.run()
    assert cut.texts() == whole.texts()
    assert answer["counts"]["fetched"] == len(whole.rows())


def test_late_reply_is_found_when_its_thread_is_in_the_window(
    machine: Machine, providers: World
) -> None:
    source = machine.source("slack")
    now = time.time()
    old = providers.slack.post(OPS, "Who has the key of the pump room?", ts=f"{now - 864000:.6f}")
    source.run()
    providers.slack.post(OPS, "Somebody posts in between.")
    source.run()
    providers.slack.post(OPS, "Mireille has it.", user="U03LEN", thread_ts=old)
    answer = source.run()
    assert "Lena Brandt" in source.text(f"{OPS}__{old}")
    assert "Mireille has it." in source.text(f"{OPS}__{old}")
    assert answer["counts"]["changed"] == 1


def test_edit_and_deletion_are_found_by_comparing_the_window(
    machine: Machine, providers: World
) -> None:
    source = machine.source("slack")
    now = time.time()
    kept = providers.slack.post(OPS, "The code is 1111.", ts=f"{now - 200:.6f}")
    gone = providers.slack.post(OPS, "Delete me.", ts=f"{now - 100:.6f}")
    reply = providers.slack.post(OPS, "And me.", ts=f"{now - 90:.6f}", thread_ts=kept)
    source.run()
    before = len(source.rows())
    providers.slack.edit(OPS, kept, "The code is 2222.")
    providers.slack.delete(OPS, gone)
    providers.slack.delete(OPS, reply)
    answer = source.run()
    assert "2222" in source.text(f"{OPS}__{kept}")
    assert "1111" not in source.text(f"{OPS}__{kept}")
    assert "And me." not in source.text(f"{OPS}__{kept}")
    assert f"{OPS}__{gone}" not in source.rows()
    assert len(source.rows()) == before - 1
    assert answer["counts"]["deleted"] == 1


def test_replies_stay_when_their_parent_is_deleted(machine: Machine, providers: World) -> None:
    source = machine.source("slack")
    providers.slack.delete(OPS, "1793613600.000200")
    source.run()
    assert "This message was deleted" not in source.text(GATE)
    assert "the gate closes at 21:30" in source.text(GATE)


@pytest.mark.parametrize("error", ["invalid_auth", "token_revoked", "account_inactive"])
def test_refused_credentials_fail_the_run_by_name(
    error: str, machine: Machine, providers: World
) -> None:
    providers.faults["slack"].append(Fault("conversations.list", "not_ok", error=error))
    with pytest.raises(BadInput, match=error):
        machine.source("slack").run()


def test_listing_that_is_not_ok_deletes_nothing(machine: Machine, providers: World) -> None:
    source = machine.source("slack")
    source.run()
    before = source.texts()
    providers.slack.configure(page_cap=2)
    providers.slack.delete(OPS, "1793700000.000500")
    fault = Fault("conversations.history", "not_ok", after=1, times=1, error="channel_not_found")
    providers.faults["slack"].append(fault)
    answer = source.sync()
    assert "channel_not_found" in answer["error"]
    assert not answer["listing_complete"]
    assert not answer["sweep_due"]
    assert source.texts() == before
    assert source.sync()["counts"]["deleted"] == 1


def test_rate_limit_ends_a_call_and_nothing_is_read_twice(
    machine: Machine, providers: World
) -> None:
    source = machine.source("slack")
    for after in (0, 2, 4):
        fault = Fault("conversations.", "rate_limit", after=after, times=1, seconds=30)
        providers.faults["slack"].append(fault)
    answer = source.run()
    assert source.waits
    assert set(source.waits) == {30}
    assert answer["counts"]["fetched"] == len(source.rows()) == 7


def test_channel_that_is_gone_is_swept_and_an_archived_one_stays(
    machine: Machine, providers: World
) -> None:
    source = machine.source("slack")
    source.run()
    providers.slack.channels[OPS]["is_archived"] = True
    del providers.slack.channels["C02ENG"]
    assert source.run()["counts"]["deleted"] == 0  # until all is listed again
    answer = source.sync()
    assert answer["error"] is None
    assert {name.split("__")[0] for name in source.rows()} == {OPS, "C04FIN"}


def test_private_channel_that_the_bot_has_left_is_swept(machine: Machine, providers: World) -> None:
    source = machine.source("slack")
    source.run()
    providers.slack.channels["C04FIN"]["is_member"] = False
    source.sync()
    assert {name.split("__")[0] for name in source.rows()} == {OPS, "C02ENG"}


def test_long_thread_is_read_on_from_where_a_rate_limit_stopped_it(
    machine: Machine, providers: World
) -> None:
    parent = providers.slack.post(OPS, "Who was where?", ts="1793900000.000100")
    for number in range(40):
        at = f"{1793900001 + number}.000100"
        providers.slack.post(OPS, f"Truck {number}.", user="U02KEN", ts=at, thread_ts=parent)
    for page in range(20):  # one request a minute
        fault = Fault("replies", "rate_limit", after=2 * page, times=1, seconds=60)
        providers.faults["slack"].append(fault)
    source = machine.source("slack", channels=[OPS], page_size=2)
    answer = source.run()
    text = source.text(f"{OPS}__{parent}")
    assert [text.count(f"Truck {number}.") for number in range(40)] == [1] * 40
    assert source.waits == [60] * 20
    assert (answer["error"], answer["counts"]["failed"]) == (None, 0)
    asked = [
        (request["query"]["ts"], request["query"].get("cursor"))
        for request in providers.requests
        if request["path"] == "conversations.replies"
    ]
    assert max(asked.count(each) for each in asked) == 2  # refused, and then answered
    left = client("dynamodb").scan(TableName="jobs")["Items"]
    assert {row["job_id"]["S"] for row in left} == {"CHECKPOINT"}
    again = source.run()
    assert again["counts"]["changed"] == 0


def test_one_bad_message_does_not_end_the_run(machine: Machine, providers: World) -> None:
    source = machine.source("slack")
    providers.slack.messages[OPS].append(
        {"type": "message", "ts": "1793800000.000100", "user": "U01ADA", "files": 7, "text": "x"}
    )
    answer = source.run()
    assert answer["counts"]["failed"] == 1
    assert answer["counts"]["changed"] == len(source.rows()) == 7
    providers.slack.messages[OPS][-1]["files"] = []
    mended = source.run()  # what failed is tried again, however old it is
    assert mended["counts"]["failed"] == 0
    assert "C01OPS__1793800000.000100" in source.rows()


def test_message_without_a_time_keeps_its_channel_from_being_compared(
    machine: Machine, providers: World
) -> None:
    source = machine.source("slack", channels=[OPS])
    source.run()
    providers.slack.messages[OPS].append({"type": "message", "ts": "1793900000.000100"})
    replaced: dict[str, Any] = {"ok": True, "messages": [{"text": "no time"}]}
    providers.faults["slack"].append(Fault("history", "replace", times=1, body=replaced))
    answer = source.run()
    assert answer["counts"] == {
        "fetched": 1, "changed": 0, "unchanged": 0, "deleted": 0, "failed": 1,
    }  # fmt: skip
    assert len(source.rows()) == 3


def test_private_channels_are_left_out_when_the_scope_is_missing(
    machine: Machine, providers: World
) -> None:
    fault = Fault("conversations.list", "not_ok", times=1, error="missing_scope")
    providers.faults["slack"].append(fault)
    source = machine.source("slack")
    source.run()
    assert {name.split("__")[0] for name in source.rows()} == {"C01OPS", "C02ENG"}
