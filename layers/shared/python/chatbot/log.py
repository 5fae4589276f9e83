"""JSON log lines: a stable code, fields, the request id; never a token, prompt or message text."""

import time
from enum import StrEnum
from functools import cache
from typing import Any

from aws_lambda_powertools.logging import Logger

from chatbot.settings import settings


class Code(StrEnum):
    """The codes of all log lines, for queries and alarms. Each is used in one place."""

    REQUEST_FAILED = "API001"  # an exception that is a bug of ours, answered with a 500
    MAIL_FAILED = "MAIL001"  # a mail was not sent and will be tried again
    MAIL_REFUSED = "MAIL002"  # SES takes no mail to such an address
    MAIL_NOT_DUE = "MAIL003"  # no such account, or the mail was sent already
    MAIL_LIMITED = "MAIL004"  # an address gets no more mails in this minute
    NOT_AUDITED = "API002"  # `action` is missing in the audit trail
    HANDSHAKE_REFUSED = "AUTH001"  # a WebSocket handshake; `reason` says why
    EDGE_EVADED = "AUTH002"  # a request that did not come by CloudFront, where there is one
    STORE_NOT_READY = "HEALTH001"  # `store` did not answer the readiness check
    FRAME_FAILED = "CHAT001"  # a WebSocket frame met a bug of ours, answered with `internal`
    EXECUTION_NOT_STARTED = "CHAT002"  # the turn was ended as failed at once
    FRAME_RETRIED = "CHAT003"  # a frame did not arrive while the answer is made; sent again soon
    FRAME_UNDELIVERED = "CHAT004"  # a frame did not arrive after the end; sent again a few times
    FRAME_LEFT = "CHAT013"  # a frame did not arrive while a tool runs; sent by whoever is next
    TURN_LOST = "CHAT005"  # a producer found another at work, or the turn ended
    PROMPT_FAILED = "CHAT006"  # a chatbot's system prompt does not render
    MODEL_BUSY = "CHAT007"  # the model could not begin; the machine tries again
    MODEL_FAILED = "CHAT008"  # the model's stream ended with the error `reason`
    EXECUTION_DIED = "CHAT009"  # an execution failed, timed out or was aborted
    TURN_DIED = "CHAT010"  # a turn's lease ran out, and it was ended
    WATCH_FAILED = "CHAT011"  # a message of the queue that looks after turns comes again
    RETRIEVAL_FAILED = "CHAT012"  # an answer is made without the passages that it should have had
    TURN_ENDED = "CHAT020"  # with `status`, after so many `frames`
    TOOL_FAILED = "TOOL001"  # a call of a tool ended with the machine's error `reason`
    TOOL_SERVER = "TOOL003"  # a server did not do as it should, so that a call failed: `reason`
    TOOL_LATE = "TOOL002"  # a call had ended, or its turn, when its tool did
    DOCUMENT_RETRIED = "EMBED001"  # a change of a document comes again
    DOCUMENT_FAILED = "EMBED002"  # a document is `failed` and in the dead-letter queue
    DOCUMENT_SKIPPED = "INGEST001"  # a document of a source could not be read; the next run tries
    PURGE_NOT_STARTED = "PURGE001"  # the daily run makes up for it
    PURGE_FAILED = "PURGE002"  # one of those of the daily run; the others are done
    PURGED = "PURGE003"  # a call's part of a purge is done
    MEASURED = "METRIC001"  # a line that CloudWatch takes metrics from
    ROTATED = "ROTATE001"  # `secret` has a new value


# What is measured, and in which unit: names of `measure`, of alarms and of the dashboard.
METRICS = {
    "TimeToFirstToken": "Milliseconds",  # from the opening of a turn
    "TurnTime": "Milliseconds",  # from its opening to its end
    "InputTokens": "Count",
    "OutputTokens": "Count",
    "FailedTurns": "Count",  # 1 or 0 for each turn
    "ToolErrors": "Count",
    "IngestionLag": "Milliseconds",  # from a change at the provider to its text being stored here
    "EmbeddingLag": "Milliseconds",  # from that to its being found
}


@cache
def logger() -> Logger:
    """The process's logger; its `service` is the environment's name for the function."""
    return Logger(level="DEBUG" if settings().debug else "INFO", utc=True)


def bind(request_id: str, **fields: Any) -> None:
    """Start a request: every following line carries `request_id` and `fields`, and no others."""
    logger().clear_state()
    logger().append_keys(correlation_id=request_id, request_id=request_id, **fields)


def measure(**values: int) -> None:
    """Log a line that CloudWatch makes metrics of, by their names in `METRICS`.

    It is the embedded metric format, written by the logger, so that a metric leads to its request;
    the library that makes it costs a cold start more than this.
    """
    metrics = [{"Name": name, "Unit": METRICS[name]} for name in values]
    fields: dict[str, Any] = {"environment": settings().environment, **values}
    logger().info(
        "measured",
        code=Code.MEASURED,
        _aws={
            "Timestamp": int(time.time() * 1000),
            "CloudWatchMetrics": [
                {"Namespace": "Chatbot", "Dimensions": [["environment"]], "Metrics": metrics}
            ],
        },
        **fields,
    )


def request_id() -> str:
    """The id of the request that is being served, or an empty string."""
    return str(logger().get_correlation_id() or "")
