"""Renews the keys that sign access tokens, called by Secrets Manager on its schedule.

The secret holds the key in use, the one before it, whose tokens live on, and the next one: by the
time that a key signs, every process that checks tokens has had a whole period to read it.
"""

import secrets
from collections.abc import Mapping
from typing import Any

from chatbot import log
from chatbot.rotation import Value, rotate


def renewed(value: Value) -> Value:
    """`{"current": kid, "keys": {kid: key}}` with the next key in use and a new one after it."""
    last = int(value["current"])
    current, upcoming = str(last + 1), str(last + 2)
    return {
        "current": current,
        "keys": {
            str(last): value["keys"][str(last)],
            current: value["keys"].get(current) or secrets.token_hex(64),
            upcoming: secrets.token_hex(64),
        },
    }


def handler(event: Mapping[str, str], context: Any) -> None:
    """Take one step of a rotation."""
    log.bind(context.aws_request_id)
    rotate(event, renewed)
