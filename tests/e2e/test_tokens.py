"""Tokens and tickets that must be refused, over REST and at the handshake."""

import base64
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import pytest
from websockets.exceptions import InvalidStatus

from tests.e2e.client import PASSWORD, Chat, Rest, Tenant
from tests.e2e.conftest import Stack


@pytest.fixture(scope="session")
def signing(stack: Stack) -> dict[str, Any]:
    """The signing secret, so that a forgery differs from a good token in one thing only."""
    value = stack.client("secretsmanager").get_secret_value(
        SecretId=stack.outputs["signing_secret_arn"]
    )
    secret: dict[str, Any] = json.loads(value["SecretString"])
    return secret


type Forgery = Callable[[dict[str, Any], dict[str, Any], dict[str, Any]], str]


def signed(claims: dict[str, Any], header: dict[str, Any], secret: dict[str, Any]) -> str:
    return jwt.encode(claims, secret["keys"][secret["current"]], "HS256", headers=header)


def part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def tampered(claims: dict[str, Any], header: dict[str, Any], secret: dict[str, Any]) -> str:
    head, _body, signature = signed(claims, header, secret).split(".")
    return ".".join([head, part(claims | {"sub": "0" * 8 + claims["sub"][8:]}), signature])


FORGERIES: dict[str, Forgery] = {
    "alg_none": lambda c, h, _: f"{part(h | {'alg': 'none'})}.{part(c)}.",
    "alg_swapped": lambda c, h, s: jwt.encode(
        c, s["keys"][s["current"]], "HS512", headers={k: v for k, v in h.items() if k != "alg"}
    ),
    "iss_wrong": lambda c, h, s: signed(c | {"iss": "someone-else"}, h, s),
    "aud_wrong": lambda c, h, s: signed(c | {"aud": "someone-else"}, h, s),
    "typ_wrong": lambda c, h, s: signed(c | {"typ": "refresh"}, h, s),
    "kid_unknown": lambda c, h, s: signed(c, h | {"kid": "unknown"}, s),
    "kid_missing": lambda c, h, s: signed(c, {k: v for k, v in h.items() if k != "kid"}, s),
    "expired": lambda c, h, s: signed(c | {"exp": int(time.time()) - 120}, h, s),
    "exp_missing": lambda c, h, s: signed({k: v for k, v in c.items() if k != "exp"}, h, s),
    "other_key": lambda c, h, _: signed(
        c, h, {"current": "x", "keys": {"x": "guessed-" + "0" * 32}}
    ),
    "tampered": tampered,
    "no_token": lambda *_: "not.a.token",
    "empty": lambda *_: "",
}


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims, dict(jwt.get_unverified_header(token))


def refused_at_handshake(websocket_url: str, **query: str) -> bool:
    try:
        Chat(websocket_url, **query).socket.close()
    except InvalidStatus as refusal:
        return refusal.response.status_code in {401, 403}
    return False


@pytest.mark.parametrize("name", FORGERIES)
def test_token_is_refused_when_it_is(name: str, tenant: Tenant, signing: dict[str, Any]) -> None:
    claims, header = parts(tenant.tokens["access_token"])
    rest = Rest(tenant.rest.api_url, signed(claims, header, signing))
    assert rest("GET", "/users/me").status_code == 200, "the unforged token must pass"

    token = FORGERIES[name](claims, header, signing)
    answer = Rest(tenant.rest.api_url, token)("GET", "/users/me")
    assert answer.status_code == 401
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "WWW-Authenticate" in answer.headers
    assert refused_at_handshake(tenant.websocket_url, token=token)


def test_tokens_stop_at_once_when_the_user_is_deleted(tenant: Tenant) -> None:
    ticket = tenant.rest.ok("POST", "/auth/ws-ticket")["ticket"]
    assert tenant.rest("DELETE", tenant.path).status_code == 202
    assert tenant.rest("DELETE", "/users/me").status_code == 204
    assert tenant.rest("GET", "/users/me").status_code == 401
    assert refused_at_handshake(tenant.websocket_url, token=tenant.tokens["access_token"])
    assert refused_at_handshake(tenant.websocket_url, ticket=ticket)
    again = Rest(tenant.rest.api_url)(
        "POST", "/auth/refresh", {"refresh_token": tenant.tokens["refresh_token"]}
    )
    assert again.status_code == 401


def test_sessions_end_when_the_password_changes(tenant: Tenant) -> None:
    changed = tenant.rest(
        "POST",
        "/users/me/password",
        {"current_password": PASSWORD, "new_password": PASSWORD + "!"},
    )
    assert changed.status_code == 204
    assert tenant.rest("GET", "/users/me").status_code == 401
    rest = Rest(tenant.rest.api_url)
    spent = rest("POST", "/auth/refresh", {"refresh_token": tenant.tokens["refresh_token"]})
    assert spent.status_code == 401
    old = rest("POST", "/auth/login", {"email": tenant.email, "password": PASSWORD})
    assert old.status_code == 401
    new = rest("POST", "/auth/login", {"email": tenant.email, "password": PASSWORD + "!"})
    assert new.status_code == 200


def test_ticket_opens_one_connection_when_it_is_used_twice(tenant: Tenant) -> None:
    answer = tenant.rest.ok("POST", "/auth/ws-ticket")
    assert answer["expires_in"] == 30
    with Chat(tenant.websocket_url, ticket=answer["ticket"]) as chat:
        chat.send({"type": "ping"})
        assert chat.receive()["type"] == "pong"
    assert refused_at_handshake(tenant.websocket_url, ticket=answer["ticket"])


def test_ticket_opens_one_connection_when_20_use_it_at_once(tenant: Tenant) -> None:
    ticket = tenant.rest.ok("POST", "/auth/ws-ticket")["ticket"]
    with ThreadPoolExecutor(20) as pool:
        refused = list(
            pool.map(lambda _: refused_at_handshake(tenant.websocket_url, ticket=ticket), range(20))
        )
    assert refused.count(False) == 1


def test_family_is_revoked_when_a_spent_refresh_token_comes_later(tenant: Tenant) -> None:
    rest = Rest(tenant.rest.api_url)

    def refresh(token: str) -> Any:
        return rest("POST", "/auth/refresh", {"refresh_token": token})

    first = tenant.tokens["refresh_token"]
    second = refresh(first).json()["refresh_token"]
    third = refresh(second).json()["refresh_token"]
    assert len({first, second, third}) == 3
    assert refresh(first).status_code == 401
    assert refresh(third).status_code == 401, "the whole family is revoked"


def test_family_is_revoked_when_the_user_logs_out(tenant: Tenant) -> None:
    body = {"refresh_token": tenant.tokens["refresh_token"]}
    assert tenant.rest("POST", "/auth/logout", body).status_code == 204
    assert Rest(tenant.rest.api_url)("POST", "/auth/refresh", body).status_code == 401


def test_log_in_answers_alike_when_the_address_is_unknown_or_the_password_wrong(
    tenant: Tenant,
) -> None:
    rest = Rest(tenant.rest.api_url)
    wrong = rest("POST", "/auth/login", {"email": tenant.email, "password": "x" * 20})
    unknown = rest("POST", "/auth/login", {"email": "nobody-" + tenant.email, "password": PASSWORD})
    assert wrong.status_code == unknown.status_code == 401
    answers = [{k: v for k, v in a.json().items() if k != "request_id"} for a in (wrong, unknown)]
    assert answers[0] == answers[1]
