"""Mails go through a queue to the function `send_mail`: a request leaves word and does not wait.

A message says what is wished, not what is known: whether an address has an account is looked up
when the mail is sent, so an answer takes as long for unknown addresses. It holds no token either.
"""

import json
from typing import Any, Literal

from chatbot import log
from chatbot.aws import client
from chatbot.settings import settings

type Kind = Literal["verify_email", "reset_password", "invitation"]


def enqueue(kind: Kind, **about: Any) -> None:
    """Wish a mail: about an account by `email`, about an invitation by `workspace_id`,
    `invitation_id` and `version`."""
    message = {"kind": kind, "request_id": log.request_id(), **about}
    client("sqs").send_message(QueueUrl=settings().mail_queue_url, MessageBody=json.dumps(message))
