"""Mails go through a queue to the function `send_mail`: a request leaves word and does not wait.

A message says what is wished, not what is known: whether an address has an account is looked up
when the mail is sent, so an answer takes as long for unknown addresses. It holds no token either.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Literal

from chatbot import log
from chatbot.aws import client
from chatbot.settings import settings

if TYPE_CHECKING:
    from chatbot.api import Request

type Kind = Literal["verify_email", "reset_password", "invitation"]


def count(request: Request, email: str) -> None:
    """Count a mail against its address's limit a minute. Raises `TooManyRequests`."""
    address = hashlib.sha256(email.lower().encode()).hexdigest()
    request.count(f"mail#{address}", settings().sign_in_attempts_per_minute)


def enqueue(kind: Kind, **about: Any) -> None:
    """Wish a mail: about an account by `email`, about an invitation by `workspace_id`,
    `invitation_id` and `version`."""
    message = {"kind": kind, "request_id": log.request_id(), **about}
    client("sqs").send_message(QueueUrl=settings().mail_queue_url, MessageBody=json.dumps(message))
