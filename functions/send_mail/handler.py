"""Sends the mails that other functions wish for, called by the queue `mail`.

A token is made here, when its mail is sent: only its digest is stored, and it stands in no queue.
What fails comes again, and in the end into the dead-letter queue.
"""

import json
from collections.abc import Callable
from typing import Any

from chatbot import aws, database, log, rate_limit, tokens
from chatbot.errors import TooManyRequests
from chatbot.settings import settings
from functions.send_mail import templates

VERIFY_EMAIL_SECONDS = 24 * 3600
RESET_PASSWORD_SECONDS = 3600
MAILS_PER_MINUTE = 10  # to one address, whoever wishes for them

type Mail = tuple[str, tuple[str, str], dict[str, str]]  # address, template, values


def handler(event: dict[str, Any], _: Any) -> dict[str, Any]:
    """Answer SQS with {batchItemFailures}."""
    failures = []
    for record in event["Records"]:
        log.bind(record["messageId"])
        try:
            _serve(json.loads(record["body"]), record["messageId"])
        except Exception as error:  # noqa: BLE001  SQS brings this one again, the others are done
            log.logger().error("not sent", code=log.Code.MAIL_FAILED, exc_info=error)
            failures.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failures}


def _serve(wish: dict[str, Any], mail_id: str) -> None:
    log.bind(wish["request_id"], kind=wish["kind"])
    mail = _KINDS[wish["kind"]](wish, mail_id)
    if mail is None:
        log.logger().info("no mail is due", code=log.Code.MAIL_NOT_DUE)
        return
    address, (subject, text), values = mail
    try:
        rate_limit.count(f"mail#{tokens.digest(address.lower())}", MAILS_PER_MINUTE)
    except TooManyRequests:
        log.logger().warning("too many mails", code=log.Code.MAIL_LIMITED)
        return
    ses = aws.client("sesv2")
    try:
        ses.send_email(
            FromEmailAddress=settings().mail_sender,
            Destination={"ToAddresses": [address]},
            Content={
                "Simple": {
                    "Subject": {"Data": subject, "Charset": "UTF-8"},
                    "Body": {"Text": {"Data": text.format(**values), "Charset": "UTF-8"}},
                }
            },
        )
    except ses.exceptions.BadRequestException:
        # SES takes no such address, today and tomorrow.
        log.logger().warning("address refused", code=log.Code.MAIL_REFUSED)


def _verify_email(wish: dict[str, Any], _: str) -> Mail | None:
    token, due = _issue(wish["email"], "verify_email", VERIFY_EMAIL_SECONDS)
    if due is None:
        return None
    if not due["token"]:
        return due["email"], templates.ALREADY_REGISTERED, {"link": _link("log-in")}
    return due["email"], templates.VERIFY_EMAIL, {"link": _link("verify-email", token)}


def _reset_password(wish: dict[str, Any], _: str) -> Mail | None:
    token, due = _issue(wish["email"], "reset_password", RESET_PASSWORD_SECONDS)
    if due is None:
        return None
    return due["email"], templates.RESET_PASSWORD, {"link": _link("reset-password", token)}


def _issue(email: str, purpose: str, expires_in: int) -> tuple[str, dict[str, Any] | None]:
    token = tokens.new_opaque_token()
    asked = {
        "email": email,
        "purpose": purpose,
        "token_hash": tokens.digest(token),
        "expires_in": expires_in,
    }
    return token, database.call("app.issue_token", asked)


def _invitation(wish: dict[str, Any], mail_id: str) -> Mail | None:
    token = tokens.new_opaque_token()
    asked = {name: wish[name] for name in ("workspace_id", "invitation_id", "version")}
    asked |= {"mail_id": mail_id, "token_hash": tokens.digest(token)}
    due = database.call("app.issue_invitation", asked)
    if due is None:
        return None
    # A tenant's text: on one line, so that it cannot pass for the rest of the mail.
    values = {"workspace": " ".join(due["workspace"].split()), "link": _link("invitation", token)}
    return due["email"], templates.INVITATION, values


def _link(page: str, token: str = "") -> str:
    """A page of the front end, which passes the token on to the API."""
    return f"{settings().client_url}/{page}" + (f"?token={token}" if token else "")


_KINDS: dict[str, Callable[[dict[str, Any], str], Mail | None]] = {
    "verify_email": _verify_email,
    "reset_password": _reset_password,
    "invitation": _invitation,
}
