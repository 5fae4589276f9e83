"""Guesses at log-in: slowed by account and by client, and no hint which addresses exist."""

import time
from typing import Any
from uuid import uuid4

import bcrypt
import pytest

from chatbot.settings import settings
from tests.e2e.client import PASSWORD, Rest, Tenant
from tests.e2e.conftest import Stack
from tests.e2e.rest.cast import Cast
from tests.e2e.rest.conftest import Inside

ATTEMPTS = 10  # a minute at one account, as in production
GUESS = "guess guess guess"


@pytest.fixture
def rest(stack: Stack) -> Rest:
    return Rest(stack.outputs["api_url"])


def log_in(rest: Rest, email: str, password: str = GUESS) -> Any:
    return rest("POST", "/auth/login", {"email": email, "password": password})


def told(answer: Any) -> tuple[int, dict[str, Any], set[str]]:
    """What an answer tells, without the request's own id."""
    body = {name: value for name, value in answer.json().items() if name != "request_id"}
    return answer.status_code, body, set(answer.headers)


def test_guesses_are_slowed_by_account_whether_it_exists_or_not(rest: Rest, tenant: Tenant) -> None:
    for email in (tenant.email, f"nobody-{uuid4().hex}@example.com"):
        deadline = time.monotonic() + 60
        statuses: list[int] = []
        while 429 not in statuses and time.monotonic() < deadline:
            # Other spellings are the same account.
            spelled = email.upper() if len(statuses) % 2 else email.replace("e", "E")
            answer = log_in(rest, spelled)
            statuses.append(answer.status_code)
        assert set(statuses[:-1]) == {401}
        assert len(statuses) <= 2 * ATTEMPTS + 1  # a minute may have begun in the middle
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert answer.headers["RateLimit-Remaining"] == "0"
        assert answer.headers["RateLimit-Limit"] == str(ATTEMPTS)


def test_right_passwords_are_not_counted_as_guesses(rest: Rest, tenant: Tenant) -> None:
    assert {log_in(rest, tenant.email, PASSWORD).status_code for _ in range(ATTEMPTS + 2)} == {200}


def test_guesses_are_slowed_by_client(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADDRESS_REQUESTS_PER_MINUTE", "3")
    settings.cache_clear()
    body = {"email": "x" * 300, "password": "x"}  # refused after it was counted
    try:
        for address in ("203.0.113.1", "203.0.113.2"):
            answers = [
                inside("POST", "/auth/login", None, body, address=address).status for _ in range(8)
            ]
            assert set(answers) == {422, 429}
            assert answers.count(422) <= 6  # a minute may have begun in the middle
    finally:
        monkeypatch.undo()
        settings.cache_clear()


def test_text_tells_nothing_of_the_account(rest: Rest, cast: Cast) -> None:
    inactive = cast.people["deactivated"].email
    emails = [cast.people["viewer"].email, f"nobody-{uuid4().hex}@example.com", inactive]
    answers = [told(log_in(rest, email)) for email in emails]
    answers.append(told(log_in(rest, inactive, PASSWORD)))
    assert answers == [answers[0]] * 4
    assert answers[0][0] == 401
    asked = [rest("POST", "/auth/password/forgot", {"email": email}) for email in emails]
    assert [(answer.status_code, answer.content) for answer in asked] == [(202, b"")] * 3


@pytest.mark.parametrize("path", ["/auth/login", "/auth/password/forgot"])
def test_as_much_is_done_whether_the_account_exists_or_not(
    path: str, cast: Cast, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What takes time here are calls to AWS and hashes: they are counted, not timed."""
    costs: list[bytes] = []
    check = bcrypt.checkpw

    def checked(password: bytes, hashed: bytes) -> bool:
        costs.append(hashed.split(b"$")[2])
        return check(password, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", checked)
    emails = [
        cast.people["editor"].email,
        cast.people["deactivated"].email,
        f"nobody-{uuid4().hex}@example.com",
    ]
    done = []
    for email in emails:
        costs.clear()
        body = {"email": email} | ({"password": GUESS} if path == "/auth/login" else {})
        assert inside("POST", path, None, body).status in (202, 401)
        done.append((list(inside.calls), list(costs)))
    assert done == [done[0]] * 3
    assert done[0][1] == ([b"12"] if path == "/auth/login" else [])
