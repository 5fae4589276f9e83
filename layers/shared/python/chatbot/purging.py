"""The start of a purge: `statemachines/purge.asl.json` removes what belongs to a conversation, a
user or a workspace, after the request that made it go from sight.

What is due is also written down with that request: a workspace's status, a row of `app.purges`, an
item under `DELETING` of the table `conversations`. So a start that was lost is made up for by the
daily run.
"""

import json
from typing import Literal

from botocore.exceptions import BotoCoreError, ClientError

from chatbot import log
from chatbot.aws import client
from chatbot.settings import settings


def start(kind: Literal["conversation", "user", "workspace"], resource_id: str) -> None:
    """Start a purge, once, whoever asks how often. Never fails."""
    try:
        client("stepfunctions").start_execution(
            stateMachineArn=settings().purge_state_machine_arn,
            name=f"{kind}-{resource_id}",
            input=json.dumps(
                {"kind": kind, "id": resource_id, "cursor": "", "request_id": log.request_id()}
            ),
        )
    except BotoCoreError as error:
        _lost(error)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ExecutionAlreadyExists":
            _lost(error)


def _lost(error: Exception) -> None:
    log.logger().error("purge not started", code=log.Code.PURGE_NOT_STARTED, exc_info=error)
