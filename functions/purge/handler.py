"""The state `PurgeData`: removes what belongs to a conversation, a user or a workspace in every
store, for a few minutes a call; and, once a day, what is due and was not removed.
"""

import time
from typing import Any

from chatbot import log
from chatbot.errors import Conflict, RetryLater, ServiceUnavailable
from functions.purge.steps import STEPS

WORK_SECONDS = 240


def handler(event: dict[str, Any], _: Any) -> dict[str, Any]:
    """Take and return {kind, id, cursor, request_id}, with `has_more` until there is no more.

    `cursor` names the step, and from where it goes on; it is empty at first. Raises `RetryLater`.
    """
    log.bind(event["request_id"], kind=event["kind"], id=event["id"])
    try:
        cursor = _work(event["kind"], event["id"], event["cursor"])
    except (Conflict, ServiceUnavailable) as problem:
        raise RetryLater(problem.detail) from problem
    log.logger().info("purged", code=log.Code.PURGED, cursor=cursor)
    return {**event, "cursor": cursor, "has_more": cursor != ""}


def _work(kind: str, resource_id: str, cursor: str) -> str:
    """Purge until there is no more or time is up. Returns the cursor, empty at the end."""
    until = time.monotonic() + WORK_SECONDS
    steps = STEPS[kind]
    reached, _, start = cursor.partition(":")
    for name in [*steps][[*steps].index(reached or next(iter(steps))) :]:
        for pause in steps[name](resource_id, start if name == reached else ""):
            if time.monotonic() >= until:
                return f"{name}:{pause}"
    return ""
