"""What a source has beside its row in PostgreSQL: a secret, a schedule, and a row of the table
`jobs`, its lock, which the machines keep.

The schedule carries the configuration that its runs work with.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from chatbot import log
from chatbot.aws import client
from chatbot.errors import BadInput
from chatbot.identifiers import new_id
from chatbot.settings import settings

# Scheduler tries again where the machine cannot be started, then hands over to the queue.
_RETRIES = {"MaximumEventAgeInSeconds": 900, "MaximumRetryAttempts": 10}

type Source = Mapping[str, Any]  # a row: {id, provider, config, schedule, is_enabled, …}


def lock_key(source_id: str) -> dict[str, str]:
    """The key of a source's lock; with it are the outcome and the time of the last run."""
    return {"source_id": source_id, "job_id": "LOCK"}


def run_input(workspace_id: str, source: Source) -> dict[str, Any]:
    """What the machine is told of a source."""
    return {
        "workspace_id": workspace_id,
        "source_id": source["id"],
        "provider": source["provider"],
        "config": source["config"],
    }


def provide(workspace_id: str, source: Source, credentials: Mapping[str, str]) -> None:
    """Make the secret and the schedule of a new source; what is there already stays as it is."""
    secrets = client("secretsmanager")
    with suppress(secrets.exceptions.ResourceExistsException):
        secrets.create_secret(
            Name=_secret(source["id"]),
            Description=f"Credentials of a source in the workspace {workspace_id}",
            KmsKeyId=f"alias/chatbot-{settings().environment}-secrets",
            SecretString=json.dumps(credentials),
            ClientRequestToken=source["id"],
        )
    scheduler = client("scheduler")
    with suppress(scheduler.exceptions.ConflictException):
        scheduler.create_schedule(**_schedule(workspace_id, source))


def change(workspace_id: str, source: Source, credentials: Mapping[str, str] | None) -> None:
    """Bring the schedule, and the secret where credentials are given, in line with the row."""
    scheduler = client("scheduler")
    if credentials is not None:
        secrets = client("secretsmanager")
        try:
            secrets.put_secret_value(
                SecretId=_secret(source["id"]), SecretString=json.dumps(credentials)
            )
        except secrets.exceptions.ResourceNotFoundException:
            provide(workspace_id, source, credentials)
    try:
        scheduler.update_schedule(**_schedule(workspace_id, source))
    except scheduler.exceptions.ResourceNotFoundException:
        scheduler.create_schedule(**_schedule(workspace_id, source))


def credentials(source_id: str) -> dict[str, str]:
    """What the secret holds. Raises `BadInput` where there is none."""
    secrets = client("secretsmanager")
    try:
        answer = secrets.get_secret_value(SecretId=_secret(source_id))
    except secrets.exceptions.ResourceNotFoundException:
        raise BadInput("the source has no credentials") from None
    return dict(json.loads(answer["SecretString"]))


def start_removal(workspace_id: str, source_id: str) -> None:
    """Start the machine that removes all that a source has."""
    order = {
        "workspace_id": workspace_id,
        "source_id": source_id,
        "request_id": log.request_id(),
    }
    client("stepfunctions").start_execution(
        stateMachineArn=settings().remove_state_machine_arn,
        name=f"{source_id}-{new_id()}",
        input=json.dumps(order),
    )


def remove(source_id: str) -> None:
    """Delete the secret and the schedule; nothing happens where they are gone."""
    secrets, scheduler = client("secretsmanager"), client("scheduler")
    with suppress(secrets.exceptions.ResourceNotFoundException):
        secrets.delete_secret(SecretId=_secret(source_id), ForceDeleteWithoutRecovery=True)
    with suppress(scheduler.exceptions.ResourceNotFoundException):
        scheduler.delete_schedule(Name=source_id, GroupName=settings().source_schedule_group)


def _secret(source_id: str) -> str:
    return f"{settings().source_secret_prefix}{source_id}"


def _schedule(workspace_id: str, source: Source) -> dict[str, Any]:
    order = {**run_input(workspace_id, source), "trigger": "schedule"}
    return {
        "Name": source["id"],
        "GroupName": settings().source_schedule_group,
        "ScheduleExpression": source["schedule"],
        "State": "ENABLED" if source["is_enabled"] else "DISABLED",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {
            "Arn": settings().ingest_state_machine_arn,
            "RoleArn": settings().scheduler_role_arn,
            "Input": json.dumps(order),
            "RetryPolicy": _RETRIES,
            "DeadLetterConfig": {"Arn": settings().scheduler_dead_letter_arn},
        },
    }
