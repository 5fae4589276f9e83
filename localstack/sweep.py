"""Lists all of a source and lets more be deleted than a sweep may by itself: an operator's word.

python -m localstack.sweep SOURCE_ID PERCENT
"""

import json
import sys

import boto3


class SourceUnknown(Exception):
    """No schedule bears the source's id."""


def sweep(source_id: str, percent: int, session: boto3.Session | None = None) -> str:
    """Start a run that may delete up to so many percent of the source's documents: its execution.

    The source's schedule says which machine it is, and with what configuration.
    """
    session = session or boto3.Session()
    scheduler = session.client("scheduler")
    found = scheduler.list_schedules(NamePrefix=source_id)["Schedules"]
    if [schedule["Name"] for schedule in found] != [source_id]:
        raise SourceUnknown(f"there is no source {source_id}")
    target = scheduler.get_schedule(Name=source_id, GroupName=found[0]["GroupName"])["Target"]
    order = json.loads(target["Input"]) | {"trigger": "manual", "max_deleted_percent": percent}
    started = session.client("stepfunctions").start_execution(
        stateMachineArn=target["Arn"], input=json.dumps(order)
    )
    execution: str = started["executionArn"]
    return execution


def arguments(given: list[str]) -> tuple[str, int]:
    """The source and the percentage of a command line."""
    match given:
        case [source_id, percent] if percent.isdecimal() and 1 <= int(percent) <= 100:
            return source_id, int(percent)
    raise SystemExit("make sweep SOURCE=<id of the source> PERCENT=<1 to 100>")


if __name__ == "__main__":
    try:
        print(sweep(*arguments(sys.argv[1:])))
    except SourceUnknown as error:
        raise SystemExit(str(error)) from error
