"""JSON log lines: a stable code, fields, the request id; never a token, prompt or message text."""

from enum import StrEnum
from functools import cache
from typing import Any

from aws_lambda_powertools.logging import Logger

from chatbot.settings import settings


class Code(StrEnum):
    """The codes of all log lines, for queries and alarms. Each is used in one place."""

    REQUEST_FAILED = "API001"  # an exception that is a bug of ours, answered with a 500
    HANDSHAKE_REFUSED = "AUTH001"  # a WebSocket handshake; `reason` says why
    STORE_NOT_READY = "HEALTH001"  # `store` did not answer the readiness check


@cache
def logger() -> Logger:
    """The process's logger; its `service` is the environment's name for the function."""
    return Logger(level="DEBUG" if settings().debug else "INFO", utc=True)


def bind(request_id: str, **fields: Any) -> None:
    """Start a request: every following line carries `request_id` and `fields`, and no others."""
    logger().set_correlation_id(request_id)
    logger().append_keys(request_id=request_id, **fields)


def request_id() -> str:
    """The id of the request that is being served, or an empty string."""
    return str(logger().get_correlation_id() or "")
