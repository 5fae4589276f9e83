"""Sign-in and sessions on a fake database: what goes to it, what comes out, what is limited."""

import json
from typing import Any

import bcrypt
import boto3
import pytest

from chatbot import connections, mail, passwords, tokens
from chatbot.errors import Conflict, NotFound, Unauthorized
from functions.auth.handler import handler
from tests.unit.conftest import FakeDatabase, fresh_settings
from tests.unit.rest import ALICE, BOB, NOW_MS, Answer, event, send

PASSWORD = "correct horse battery"
HASH = passwords.hashed(PASSWORD)
REGISTRATION = {"email": "a@example.com", "username": "a", "full_name": "A", "password": PASSWORD}
LOGIN = {"email": "a@example.com", "password": PASSWORD}


@pytest.fixture(autouse=True)
def stores(cloud: None, database: FakeDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_keys", tokens.SigningKeys())


@pytest.fixture(autouse=True)
def mails(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """The mails that were wished for."""
    wishes: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(mail, "enqueue", lambda kind, **about: wishes.append((kind, about)))
    return wishes


def post(path: str, body: Any = None, **request: Any) -> Answer:
    return send(
        handler, event("POST", f"/api/v1/auth/{path}", body, **({"caller": None} | request))
    )


def user(**changes: Any) -> dict[str, Any]:
    found = {
        "user_id": ALICE.user_id,
        "token_version": ALICE.token_version,
        "password_hash": HASH,
        "is_active": True,
        "email_verified": False,
    }
    return found | changes


def test_registration_stores_a_hash_and_no_password(database: FakeDatabase) -> None:
    database.answers = [{"id": ALICE.user_id, "version": 1, "email": "a@example.com"}]
    answer = post("register", REGISTRATION)
    assert (answer.status, answer.headers["ETag"]) == (201, '"1"')
    [asked] = database.asked
    stored = asked["params"].pop("password_hash")
    assert passwords.matches(PASSWORD, stored)
    assert stored.startswith("$2b$12$")
    assert PASSWORD not in json.dumps(asked)
    assert asked["params"] == {k: v for k, v in REGISTRATION.items() if k != "password"} | {
        "verified": True
    }


def test_registration_is_followed_by_a_mail_where_addresses_are_verified(
    database: FakeDatabase,
    environment: pytest.MonkeyPatch,
    mails: list[tuple[str, dict[str, Any]]],
) -> None:
    database.answers = [{"id": ALICE.user_id, "version": 1}] * 2
    assert post("register", REGISTRATION).status == 201
    assert mails == []
    environment.setenv("EMAIL_VERIFICATION_REQUIRED", "true")
    fresh_settings()
    assert post("register", REGISTRATION).status == 201
    assert database.asked[1]["params"]["verified"] is False
    assert mails == [("verify_email", {"email": "a@example.com"})]


def test_registration_is_refused_where_it_is_off(
    database: FakeDatabase, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("REGISTRATION_ENABLED", "false")
    fresh_settings()
    assert post("register", REGISTRATION).status == 403
    assert database.asked == []


def test_registration_conflicts_when_the_address_is_known(database: FakeDatabase) -> None:
    database.answers = [Conflict("The address is already registered.")]
    assert post("register", REGISTRATION).status == 409


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("password", "x" * 11),
        ("password", "x" * 73),
        ("password", "é" * 37),
        ("password", 123456789012),
        ("email", "nobody"),
        ("email", "a@b"),
        ("email", "a b@example.com"),
        ("email", "a@example.com\n"),
        ("email", "\u212aim@example.com"),
        ("email", "<a@example.com>"),
        ("email", "a@example.com@"),
        ("email", "x" * 250 + "@example.com"),
        ("email", None),
        ("username", ""),
        ("username", "x" * 65),
        ("full_name", ""),
    ],
)
def test_registration_is_refused_when_a_field_is_wrong(
    name: str, value: Any, database: FakeDatabase
) -> None:
    answer = post("register", REGISTRATION | {name: value})
    assert answer.status == 422
    assert answer.json["errors"][0]["loc"] == ["body", name]
    assert database.asked == []


@pytest.mark.parametrize("password", ["x" * 12, "é" * 6, "x" * 72, "é" * 36, " " * 12])
def test_registration_takes_passwords_of_12_to_72_bytes(
    password: str, database: FakeDatabase
) -> None:
    database.answers = [{"id": ALICE.user_id, "version": 1}]
    assert post("register", REGISTRATION | {"password": password}).status == 201


def test_log_in_gives_a_pair_of_tokens(database: FakeDatabase) -> None:
    database.answers = [user(), {"is_admin": False}]
    answer = post("login", LOGIN)
    assert answer.status == 200
    pair = answer.json
    assert tokens.verify_access_token(pair["access_token"]) == ALICE
    assert (pair["token_type"], pair["expires_in"]) == ("bearer", 900)
    session = database.asked[1]["params"]
    assert session["token_hash"] == tokens.digest(pair["refresh_token"])
    assert (session["expires_in"], session["family_expires_in"]) == (86_400, 2_592_000)
    assert pair["refresh_token"] not in json.dumps(database.asked)


REFUSED = {
    "unknown": None,
    "inactive": user(is_active=False),
    "wrong": user(password_hash=passwords.hashed("another password")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_log_in_is_refused_alike_and_after_as_much_work_when_the_user_is(
    name: str, database: FakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs: list[bytes] = []
    real = bcrypt.checkpw

    def checked(password: bytes, known: bytes) -> bool:
        costs.append(known[:7])
        return real(password, known)

    monkeypatch.setattr(bcrypt, "checkpw", checked)
    database.answers = [REFUSED[name]]
    answer = post("login", LOGIN)
    assert answer.status == 401
    assert answer.json["detail"] == "the address or the password is wrong"
    assert costs == [b"$2b$12$"]


def test_log_in_waits_for_the_verified_address_where_it_must(
    database: FakeDatabase, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("EMAIL_VERIFICATION_REQUIRED", "true")
    fresh_settings()
    database.answers = [user(), user(email_verified=True), {"is_admin": False}]
    assert [post("login", LOGIN).status for _ in range(2)] == [401, 200]


@pytest.mark.parametrize("password", ["x" * 73, "é" * 37])
def test_log_in_is_refused_when_bcrypt_could_not_read_the_password(
    password: str, database: FakeDatabase
) -> None:
    assert post("login", LOGIN | {"password": password}).status == 422
    assert database.asked == []


def test_guesses_at_one_account_are_limited_whatever_the_address(database: FakeDatabase) -> None:
    def attempt(email: str, address: str) -> Answer:
        database.answers = [None]
        request = event("POST", "/api/v1/auth/login", LOGIN | {"email": email}, caller=None)
        request["requestContext"]["http"]["sourceIp"] = address
        return send(handler, request)

    answers = [attempt("a@example.com", f"198.51.100.{n}") for n in range(4)]
    answers += [attempt("A@Example.com", f"198.51.100.{n}") for n in range(4, 6)]
    assert [answer.status for answer in answers] == [401] * 5 + [429]
    # PostgreSQL's lower() makes one address of these.
    twins = ["kim@example.com", "k\u0130m@example.com", "\u212aim@example.com"]
    spellings = [attempt(email, "198.51.100.1").status for email in twins * 2]
    assert spellings == [401] * 5 + [429]
    assert answers[0].headers["RateLimit-Limit"] == "5"
    assert int(answers[5].headers["Retry-After"]) in range(1, 61)
    assert attempt("b@example.com", "198.51.100.1").status == 401
    stored = json.dumps(boto3.client("dynamodb").scan(TableName="guards")["Items"])
    assert "example.com" not in stored


def test_successful_log_ins_are_not_limited_by_account(database: FakeDatabase) -> None:
    for _ in range(8):
        database.answers = [user(), {"is_admin": False}]
        assert post("login", LOGIN).status == 200


def test_refresh_gives_a_new_pair_and_tells_when_the_gateway_got_it(
    database: FakeDatabase,
) -> None:
    database.answers = [{"status": "ok", "user_id": BOB.user_id, "token_version": 4}]
    answer = post("refresh", {"refresh_token": "old"})
    assert answer.status == 200
    assert tokens.verify_access_token(answer.json["access_token"]) == BOB
    asked = database.asked[0]["params"]
    assert asked["token_hash"] == tokens.digest("old")
    assert asked["new_token_hash"] == tokens.digest(answer.json["refresh_token"])
    assert asked["at_ms"] == NOW_MS


@pytest.mark.parametrize("status", ["raced", "reused", "expired", "unknown"])
def test_refresh_is_refused_when_the_token_is(status: str, database: FakeDatabase) -> None:
    database.answers = [{"status": status}]
    answer = post("refresh", {"refresh_token": "old"})
    assert answer.status == 401
    assert status not in answer.text


def test_log_out_ends_the_session_of_the_token(database: FakeDatabase) -> None:
    database.answers = [None]
    assert post("logout", {"refresh_token": "mine"}, caller=ALICE).status == 204
    assert database.asked[0]["params"] == {
        "user_id": ALICE.user_id,
        "token_version": 1,
        "token_hash": tokens.digest("mine"),
    }


def test_ticket_is_for_active_users_and_for_the_caller(database: FakeDatabase) -> None:
    database.answers = [True, Unauthorized()]
    answer = post("ws-ticket", caller=BOB)
    assert (answer.status, answer.json["expires_in"]) == (200, 30)
    assert tokens.spend_ticket(answer.json["ticket"]) == BOB
    assert post("ws-ticket", caller=BOB).status == 401


@pytest.mark.parametrize("path", ["logout", "ws-ticket"])
def test_route_is_closed_without_a_principal(path: str) -> None:
    assert post(path, {"refresh_token": "x"}).status == 401


@pytest.mark.parametrize(
    ("path", "body", "function"),
    [
        ("verify-email", {"token": "mailed"}, "app.verify_email"),
        ("password/reset", {"token": "mailed", "password": PASSWORD}, "app.reset_password"),
    ],
)
def test_mailed_token_is_sent_as_its_digest_and_refused_alike_when_not_valid(
    path: str,
    body: dict[str, str],
    function: str,
    database: FakeDatabase,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended: list[str] = []
    monkeypatch.setattr(connections, "end_user", ended.append)
    database.answers = [{"user_id": BOB.user_id}, None]
    assert post(path, body).status == 204
    [asked] = database.asked
    assert asked["function"] == function
    assert asked["params"]["token_hash"] == tokens.digest("mailed")
    if "password" in body:
        assert passwords.matches(PASSWORD, asked["params"]["password_hash"])
        assert ended == [BOB.user_id]
    refused = post(path, body)
    assert refused.status == 422
    assert refused.json["errors"][0]["loc"] == ["body", "token"]
    assert len(ended) == ("password" in body)


def test_forgotten_password_is_answered_without_a_look_at_the_accounts(
    database: FakeDatabase, mails: list[tuple[str, dict[str, Any]]]
) -> None:
    answer = post("password/forgot", {"email": "A@example.com"})
    assert (answer.status, answer.text) == (202, "")
    assert mails == [("reset_password", {"email": "A@example.com"})]
    assert database.asked == []


def test_invitation_is_accepted_as_the_caller(database: FakeDatabase) -> None:
    database.answers = [{"id": ALICE.user_id, "version": 1, "name": "W"}, NotFound()]
    answer = post("invitations/accept", {"token": "mailed"}, caller=BOB)
    assert (answer.status, answer.json["name"]) == (200, "W")
    assert database.asked[0]["params"] == {
        "user_id": BOB.user_id,
        "token_version": BOB.token_version,
        "token_hash": tokens.digest("mailed"),
    }
    assert post("invitations/accept", {"token": "mailed"}, caller=BOB).status == 404
