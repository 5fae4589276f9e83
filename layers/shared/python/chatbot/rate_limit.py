"""Fixed-window counters in DynamoDB: one UpdateItem for each call that is counted."""

import time
from dataclasses import dataclass

from chatbot.aws import client
from chatbot.errors import TooManyRequests
from chatbot.settings import settings

WINDOW_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Window:
    """What is left of a limit: `reset` is in seconds from now, `guard` the counter's key."""

    guard: str
    limit: int
    remaining: int
    reset: int

    @property
    def headers(self) -> dict[str, str]:
        """The three `RateLimit-*` headers."""
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset),
        }


def count(subject: str, limit: int) -> Window:
    """Count one call of `subject` (`user#<id>`, `address#<ip>`, ...) in this minute.

    Raises `TooManyRequests`, with the window's headers and `Retry-After`, from call `limit + 1` on.
    """
    now = int(time.time())
    start = now - now % WINDOW_SECONDS
    guard = f"rate#{subject}#{start}"
    answer = client("dynamodb").update_item(
        TableName=settings().guards_table,
        Key={"guard": {"S": guard}},
        UpdateExpression="SET expires_at = :expires ADD calls :one",
        ExpressionAttributeValues={
            ":expires": {"N": str(start + 2 * WINDOW_SECONDS)},
            ":one": {"N": "1"},
        },
        ReturnValues="UPDATED_NEW",
    )
    calls = int(answer["Attributes"]["calls"]["N"])
    window = Window(guard, limit, max(0, limit - calls), start + WINDOW_SECONDS - now)
    if calls > limit:
        spent = TooManyRequests("too many requests, try again later", retry_after=window.reset)
        spent.headers.update(window.headers)
        raise spent
    return window


def refund(window: Window) -> None:
    """Take back the one call that `count` returned this window for."""
    client("dynamodb").update_item(
        TableName=settings().guards_table,
        Key={"guard": {"S": window.guard}},
        UpdateExpression="ADD calls :minus_one",
        ExpressionAttributeValues={":minus_one": {"N": "-1"}},
    )
