"""Calls of Slack's Web API, whose errors come with HTTP 200."""

from typing import Any

from chatbot.errors import BadInput, Gone, RetryLater
from chatbot.fetching import Answer, RateLimited, Refused, wait_seconds
from chatbot.ingesting import Run

PUBLIC_TYPES = "public_channel"
ALL_TYPES = "public_channel,private_channel"
PAGE_SIZE = 200  # Slack recommends no more
MAX_PAGE_SIZE = 999
_CREDENTIALS = {
    "account_inactive",
    "ekm_access_denied",
    "invalid_auth",
    "no_permission",
    "not_allowed_token_type",
    "not_authed",
    "org_login_required",
    "token_expired",
    "token_revoked",
    "two_factor_setup_required",
}
_GONE = {
    "channel_not_found",
    "is_archived",
    "message_not_found",
    "not_in_channel",
    "thread_not_found",
    "user_not_found",
    "users_not_found",
}
_TEMPORARY = {
    "fatal_error",
    "internal_error",
    "request_timeout",
    "service_unavailable",
    "team_added_to_org",
}


class MissingScope(BadInput):
    """The token lacks a scope that the call needs."""


def call(run: Run, method: str, *, patient: bool = False, **arguments: Any) -> dict[str, Any]:
    """The answer of a method that reads. Empty arguments are left out. Raises as `Client.get`."""
    given = {name: value for name, value in arguments.items() if value != ""}
    return _checked(method, run.client.get(method, given, patient=patient))


def join(run: Run, channel: str) -> None:
    """Make the bot a member of a public channel."""
    _checked("conversations.join", run.client.post("conversations.join", {"channel": channel}))


def _checked(method: str, answer: Answer) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    if body.get("ok"):
        return body
    error = str(body.get("error", "unknown"))[:100]
    text = f"Slack answered {method} with {error}"
    if error in {"ratelimited", "rate_limited"}:
        raise RateLimited(wait_seconds(answer.headers))
    if error == "missing_scope":
        raise MissingScope(text)
    if error in _CREDENTIALS:
        raise BadInput(text)
    if error in _TEMPORARY:
        raise RetryLater(text)
    if error in _GONE:
        raise Gone(text)
    raise Refused(text)


def page_size(run: Run) -> int:
    """How many messages a page may hold: restricted apps get 15."""
    return min(int(run.config.get("page_size") or PAGE_SIZE), MAX_PAGE_SIZE)


def next_cursor(page: dict[str, Any]) -> str:
    """Where the next page begins; empty at the end, whatever the page holds."""
    return str((page.get("response_metadata") or {}).get("next_cursor") or "")
