"""RFC 8725: what is signed otherwise, says otherwise or is old is refused, and only then."""

import base64
import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jwt
import pytest

from chatbot import tokens
from chatbot.aws import client
from chatbot.errors import Unauthorized
from chatbot.principal import Principal
from tests.unit.conftest import SIGNING_SECRET
from tests.unit.rest import ALICE, BOB

SECRET = SIGNING_SECRET["keys"]["2"]


@pytest.fixture(autouse=True)
def keys(cloud: None, monkeypatch: pytest.MonkeyPatch) -> tokens.SigningKeys:
    fresh = tokens.SigningKeys()
    monkeypatch.setattr(tokens, "_keys", fresh)
    return fresh


def good_claims() -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(
        tokens.issue_access_token(ALICE.user_id, ALICE.token_version),
        options={"verify_signature": False},
    )
    return claims


def sign(claims: dict[str, Any], key: str = SECRET, alg: str = "HS256", **header: Any) -> str:
    return jwt.encode(claims, key, alg, headers={"kid": "2"} | header)


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def unclaimed(name: str, claims: dict[str, Any]) -> str:
    return sign({key: value for key, value in claims.items() if key != name})


def tampered(claims: dict[str, Any]) -> str:
    head, _, signature = sign(claims).split(".")
    return f"{head}.{part(claims | {'sub': BOB.user_id})}.{signature}"


type Forgery = Callable[[dict[str, Any]], str]
FORGERIES: dict[str, Forgery] = {
    "alg none": lambda c: f"{part({'alg': 'none', 'typ': 'JWT', 'kid': '2'})}.{part(c)}.",
    "alg None": lambda c: f"{part({'alg': 'None', 'typ': 'JWT', 'kid': '2'})}.{part(c)}.",
    "alg HS512": lambda c: sign(c, alg="HS512"),
    "alg HS384": lambda c: sign(c, alg="HS384"),
    "alg RS256 with HS256's signature": lambda c: ".".join(
        [part({"alg": "RS256", "kid": "2"}), *sign(c).split(".")[1:]]
    ),
    "iss wrong": lambda c: sign(c | {"iss": "chatbot-prod"}),
    "aud wrong": lambda c: sign(c | {"aud": "chatbot-prod-api"}),
    "aud a list": lambda c: sign(c | {"aud": [c["aud"], "others"]}),
    "typ wrong": lambda c: sign(c | {"typ": "refresh"}),
    "ver a string": lambda c: sign(c | {"ver": "1"}),
    "kid unknown": lambda c: sign(c, kid="3"),
    "kid of another key": lambda c: sign(c, kid="1"),
    "kid a number": lambda c: ".".join([part({"alg": "HS256", "kid": 2}), *sign(c).split(".")[1:]]),
    "kid missing": lambda c: jwt.encode(c, SECRET, "HS256"),
    "key guessed": lambda c: sign(c, key="guessed-" * 8),
    "key short": lambda c: sign(c, key="k"),
    "expired": lambda c: sign(c | {"exp": int(time.time()) - 1}),
    "issued in the future": lambda c: sign(c | {"iat": int(time.time()) + 600}),
    "not yet valid": lambda c: sign(c | {"nbf": int(time.time()) + 600}),
    "exp a word": lambda c: sign(c | {"exp": "never"}),
    "tampered": tampered,
    "cut": lambda c: sign(c)[:-1],
    "no claims": lambda c: f"{sign(c).split('.')[0]}.{part([])}.{sign(c).split('.')[2]}",
    "no token": lambda _: "not.a.token",
    "empty": lambda _: "",
    "not ascii": lambda _: "é.é.é",
    "surrogate": lambda _: "\ud800.a.b",
    "deep": lambda _: base64.urlsafe_b64encode(b"[" * 100_000).decode() + ".e30.x",
    **{
        f"{name} missing": partial(unclaimed, name)
        for name in ("iss", "aud", "sub", "typ", "jti", "ver", "iat", "exp")
    },
}


def test_token_gives_its_principal_when_it_is_good() -> None:
    assert tokens.verify_access_token(sign(good_claims())) == ALICE
    claims = good_claims()
    assert claims["exp"] - claims["iat"] == 900
    assert claims["jti"] != good_claims()["jti"]


def test_token_is_good_when_the_issuers_clock_is_ahead() -> None:
    assert tokens.verify_access_token(sign(good_claims() | {"iat": int(time.time()) + 3})) == ALICE


@pytest.mark.parametrize("name", FORGERIES)
@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_token_is_refused_when_it_is(name: str) -> None:
    with pytest.raises(Unauthorized):
        tokens.verify_access_token(FORGERIES[name](good_claims()))


def test_token_of_the_last_key_is_good_when_the_key_was_rotated() -> None:
    claims = good_claims()
    old = sign(claims, key=SIGNING_SECRET["keys"]["1"], kid="1")
    assert tokens.verify_access_token(old) == ALICE


def test_new_key_is_loaded_once_when_its_id_is_unknown(
    keys: tokens.SigningKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr("chatbot.tokens.time.monotonic", lambda: clock[0])
    claims = good_claims()
    rotated = {"current": "3", "keys": {"2": SECRET, "3": "third-" * 8}}
    client("secretsmanager").put_secret_value(SecretId="signing", SecretString=json.dumps(rotated))
    clock[0] += 60
    assert tokens.verify_access_token(sign(claims, key="third-" * 8, kid="3")) == ALICE

    def fail() -> None:
        raise AssertionError("loaded again")

    monkeypatch.setattr(keys, "_load", fail)
    for kid in ("4", "5"):
        with pytest.raises(Unauthorized):
            tokens.verify_access_token(sign(claims, kid=kid))


def test_removed_key_is_refused_when_the_cache_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr("chatbot.tokens.time.monotonic", lambda: clock[0])
    token = sign(good_claims())
    client("secretsmanager").put_secret_value(
        SecretId="signing", SecretString=json.dumps({"current": "3", "keys": {"3": "third-" * 8}})
    )
    clock[0] += 301
    with pytest.raises(Unauthorized):
        tokens.verify_access_token(token)


def test_ticket_is_spent_when_it_is_used_once() -> None:
    tickets = {user: tokens.issue_ticket(user) for user in (ALICE, BOB)}
    for user, ticket in tickets.items():
        assert tokens.spend_ticket(ticket) == user
        with pytest.raises(Unauthorized):
            tokens.spend_ticket(ticket)


def test_ticket_is_refused_when_it_is_old_or_nobody_issued_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ticket = tokens.issue_ticket(Principal(ALICE.user_id, 7))
    now = time.time()
    monkeypatch.setattr("chatbot.tokens.time.time", lambda: now + tokens.TICKET_SECONDS + 1)
    for attempt in (ticket, "", "unknown", "x" * 10_000):
        with pytest.raises(Unauthorized):
            tokens.spend_ticket(attempt)


def test_ticket_and_refresh_token_are_kept_as_digests_only() -> None:
    ticket = tokens.issue_ticket(ALICE)
    [item] = client("dynamodb").scan(TableName="guards")["Items"]
    assert ticket not in json.dumps(item)
    assert tokens.digest(ticket) in item["guard"]["S"]
    assert len(tokens.new_opaque_token()) >= 43
