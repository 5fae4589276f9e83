"""The execution of a turn, named after its message."""

import json

from botocore.exceptions import ClientError

from chatbot.aws import client
from chatbot.settings import settings
from chatbot.turns import Head


def start(turn: Head) -> None:
    """Start a turn's execution, once: its name and input are always the same."""
    try:
        client("stepfunctions").start_execution(
            stateMachineArn=settings().chat_state_machine_arn,
            name=turn.message_id,
            input=json.dumps(
                {
                    "message_id": turn.message_id,
                    "conversation_id": turn.conversation_id,
                    "request_id": turn.request_id,
                    "knowledge": json.loads(turn.snapshot)["chatbot"]["knowledge"]["enabled"],
                }
            ),
        )
    except ClientError as error:
        if error.response["Error"]["Code"] != "ExecutionAlreadyExists":
            raise


def stop(message_id: str) -> None:
    """Stop the execution of a turn that has been ended, if there is one."""
    machine = settings().chat_state_machine_arn
    arn = f"{machine.replace(':stateMachine:', ':execution:')}:{message_id}"
    try:
        client("stepfunctions").stop_execution(executionArn=arn, error="TurnEnded")
    except ClientError as error:
        if error.response["Error"]["Code"] != "ExecutionDoesNotExist":
            raise


def go_on(task_token: str) -> None:
    """Have the execution that waits with this token go on, if it still does."""
    try:
        client("stepfunctions").send_task_success(taskToken=task_token, output="{}")
    except ClientError as error:
        if error.response["Error"]["Code"] not in {"TaskTimedOut", "TaskDoesNotExist"}:
            raise
