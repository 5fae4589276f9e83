"""EventBridge Scheduler: what AWS documents, where MiniStack as it comes does otherwise.

Quotations are from the EventBridge Scheduler User Guide.
"""

import json
import subprocess
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from botocore.exceptions import ClientError

from tests.integration.parity import gateway
from tests.integration.parity.gateway import ROLE, ROOT, Server, wait_until


def schedule(server: Server, expression: str, target: str, text: str = "{}", **more: Any) -> str:
    """The name of a new schedule that sends this text."""
    name = f"parity-{uuid.uuid4().hex[:8]}"
    server.client("scheduler").create_schedule(
        Name=name,
        ScheduleExpression=expression,
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": target, "RoleArn": ROLE, "Input": text},
        **more,
    )
    return name


def queue(server: Server) -> tuple[str, str]:
    """A new queue: (URL, ARN)."""
    sqs = server.client("sqs")
    url = sqs.create_queue(QueueName=f"parity-{uuid.uuid4().hex[:8]}")["QueueUrl"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return url, found["Attributes"]["QueueArn"]


def at(moment: datetime) -> str:
    """The one-time expression of a wall-clock time."""
    return f"at({moment:%Y-%m-%dT%H:%M:%S})"


def test_one_time_schedules_fire_when_they_are_due(server: Server) -> None:
    """ "A one-time schedule will invoke a target only once at the date and time that you specify";
    the context attribute <aws.scheduler.schedule-arn> stands for "the ARN of the schedule"."""
    url, arn = queue(server)
    sqs = server.client("sqs")
    dues = [datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=n) for n in (2, 4, 6)]
    names = [
        schedule(
            server,
            at(due),
            arn,
            json.dumps({"number": number, "arn": "<aws.scheduler.schedule-arn>"}),
            ActionAfterCompletion="DELETE",
        )
        for number, due in enumerate(dues)
    ]
    late: dict[int, float] = {}

    def all_came() -> bool:
        got = sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, AttributeNames=["SentTimestamp"]
        )
        for message in got.get("Messages", []):
            body = json.loads(message["Body"])
            sent = int(message["Attributes"]["SentTimestamp"]) / 1000
            late[body["number"]] = sent - dues[body["number"]].timestamp()
            assert body["arn"].endswith(f"schedule/default/{names[body['number']]}")
        return len(late) == len(dues)

    assert wait_until(all_came, 8)
    assert all(0 <= seconds < 2 for seconds in late.values()), late
    assert server.client("scheduler").list_schedules(NamePrefix=names[0])["Schedules"] == []


def test_a_request_that_is_made_again_makes_no_second_schedule(server: Server) -> None:
    """ "If you do not specify a client token, EventBridge Scheduler uses a randomly generated token
    for the request to ensure idempotency" (API Reference, CreateSchedule)."""
    _, arn = queue(server)
    request = {
        "Name": f"parity-{uuid.uuid4().hex[:8]}",
        "ScheduleExpression": "rate(1 day)",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {"Arn": arn, "RoleArn": ROLE},
    }
    create = server.client("scheduler").create_schedule
    first = create(**request, ClientToken="once")
    assert create(**request, ClientToken="once")["ScheduleArn"] == first["ScheduleArn"]
    with pytest.raises(ClientError, match="ConflictException"):
        create(**request, ClientToken="twice")


def test_a_schedule_is_read_in_its_time_zone(server: Server) -> None:
    """ "EventBridge Scheduler … lets you create schedules in the time zone of your choice"."""
    url, arn = queue(server)
    due = datetime.now(ZoneInfo("Asia/Tokyo")) + timedelta(seconds=2)
    schedule(server, at(due), arn, ScheduleExpressionTimezone="Asia/Tokyo")
    sqs = server.client("sqs")
    assert wait_until(lambda: "Messages" in sqs.receive_message(QueueUrl=url), 5)


@pytest.mark.parametrize(
    ("expression", "zone"),
    [
        ("cron(0 0 1 13 ? *)", "UTC"),
        ("cron(61 0 * * ? *)", "UTC"),
        ("cron(0 0 * * * *)", "UTC"),
        ("rate(0 minutes)", "UTC"),
        ("at(tomorrow)", "UTC"),
        ("rate(1 minute)", "Mars/Olympus"),
    ],
)
def test_what_could_never_fire_is_refused(server: Server, expression: str, zone: str) -> None:
    """CreateSchedule answers an invalid expression or time zone with ValidationException, so that
    none can stand in the way of other schedules."""
    with pytest.raises(ClientError) as refused:
        schedule(
            server,
            expression,
            "arn:aws:sqs:us-east-1:000000000000:x",
            ScheduleExpressionTimezone=zone,
        )
    assert refused.value.response["Error"]["Code"] == "ValidationException"


def test_cron_follows_daylight_saving_time() -> None:
    """ "When time shifts forward in the Spring, if a cron expression falls on a non-existent date
    and time, your schedule invocation is skipped. When time shifts backwards in the Fall, your
    schedule runs only once and does not repeat its invocation."

    In Berlin 2027-03-28 02:30 does not exist and 2027-10-31 02:30 comes twice.
    """
    asked = [
        ("2027-03-27T01:30:00+00:00", "2027-03-29T00:30:00+00:00"),
        ("2027-10-30T22:00:00+00:00", "2027-10-31T00:30:00+00:00"),
        ("2027-10-31T00:30:00+00:00", "2027-11-01T01:30:00+00:00"),
        ("2027-10-31T01:10:00+00:00", "2027-11-01T01:30:00+00:00"),
    ]
    code = """
import json, sys
from datetime import UTC, datetime
from localstack.additions.scheduler import first_after
nightly = {
    "ScheduleExpression": "cron(30 2 * * ? *)",
    "ScheduleExpressionTimezone": "Europe/Berlin",
}
for line in json.load(sys.stdin):
    due = first_after(nightly, datetime.fromisoformat(line).timestamp())
    print(datetime.fromtimestamp(due, UTC).isoformat())
"""
    answered = subprocess.run(
        [gateway.MINISTACK_PYTHON, "-c", code],
        input=json.dumps([after for after, _ in asked]),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert answered.stdout.split() == [due for _, due in asked]
