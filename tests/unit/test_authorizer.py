"""The REST side never refuses by itself, the WebSocket side always does."""

import hashlib
from typing import Any

import pytest
from botocore.exceptions import ClientError

from chatbot import tokens
from chatbot.errors import ServiceUnavailable, Unauthorized
from chatbot.principal import Principal
from functions.authorizer.handler import handler
from tests.unit.conftest import FakeDatabase, fresh_settings
from tests.unit.rest import ALICE

ARN = "arn:aws:execute-api:eu-west-1:123456789012:abc/ws/$connect"


@pytest.fixture(autouse=True)
def keys(cloud: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_keys", tokens.SigningKeys())


def request(authorization: str | None) -> dict[str, Any]:
    headers = {} if authorization is None else {"authorization": authorization}
    context = {"requestId": "r-1"}
    return {"version": "2.0", "headers": headers, "requestContext": context}


def handshake(
    query: dict[str, str] | None = None, headers: dict[str, str] | None = None
) -> dict[str, Any]:
    return {
        "type": "REQUEST",
        "methodArn": ARN,
        "headers": headers or {},
        "queryStringParameters": query,
        "requestContext": {"requestId": "r-1", "routeKey": "$connect"},
    }


def access_token() -> str:
    return tokens.issue_access_token(ALICE.user_id, ALICE.token_version)


def effect(answer: dict[str, Any]) -> str:
    [statement] = answer["policyDocument"]["Statement"]
    assert statement["Resource"] == ARN
    assert statement["Action"] == "execute-api:Invoke"
    return str(statement["Effect"])


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_request_carries_the_principal_when_the_token_is_good(scheme: str) -> None:
    answer = handler(request(f"{scheme} {access_token()}"), None)
    assert answer == {
        "isAuthorized": True,
        "context": {"user_id": ALICE.user_id, "token_version": ALICE.token_version},
    }


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic YTpi", "Bearer a.b.c"])
def test_request_carries_the_refusal_when_the_token_is_bad(header: str | None) -> None:
    answer = handler(request(header), None)
    assert answer["isAuthorized"] is True
    assert list(answer["context"]) == ["refusal"]


@pytest.mark.parametrize("secret", [None, "", "guess"])
def test_request_is_refused_when_it_went_past_the_edge(
    secret: str | None, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("ORIGIN_DIGEST", hashlib.sha256(b"ours").hexdigest())
    fresh_settings()
    event = request(f"Bearer {access_token()}")
    if secret is not None:
        event["headers"]["x-origin-secret"] = secret
    assert handler(event, None) == {"isAuthorized": False}


def test_request_carries_the_principal_when_it_came_by_the_edge(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("ORIGIN_DIGEST", hashlib.sha256(b"ours").hexdigest())
    fresh_settings()
    event = request(f"Bearer {access_token()}")
    event["headers"]["x-origin-secret"] = "ours"
    assert handler(event, None)["context"]["user_id"] == ALICE.user_id


def test_request_is_not_refused_as_unauthorized_when_the_keys_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    token = access_token()
    monkeypatch.setattr(tokens, "_keys", tokens.SigningKeys())
    response: Any = {"Error": {"Code": "ThrottlingException"}}

    def throttled(_: object) -> None:
        raise ClientError(response, "GetSecretValue")

    monkeypatch.setattr(tokens.SigningKeys, "_load", throttled)
    answer = handler(request(f"Bearer {token}"), None)
    assert answer == {"isAuthorized": True, "context": {"unavailable": True}}
    with pytest.raises(ServiceUnavailable):
        Principal.from_event({"requestContext": {"authorizer": {"lambda": answer["context"]}}})
    response["Error"]["Code"] = "ResourceNotFoundException"
    with pytest.raises(ClientError):
        handler(request(f"Bearer {token}"), None)


def test_handshake_is_allowed_when_the_token_is_good(database: FakeDatabase) -> None:
    database.answers = [True]
    answer = handler(handshake({"token": access_token()}), None)
    assert effect(answer) == "Allow"
    assert answer["principalId"] == ALICE.user_id
    assert answer["context"] == {
        "user_id": ALICE.user_id,
        "token_version": ALICE.token_version,
    }
    assert [asked["caller"] for asked in database.asked] == [ALICE]


def test_handshake_is_allowed_once_when_a_ticket_is_used_twice(database: FakeDatabase) -> None:
    database.answers = [True]
    ticket = tokens.issue_ticket(ALICE)
    assert effect(handler(handshake({"ticket": ticket}), None)) == "Allow"
    assert effect(handler(handshake({"ticket": ticket}), None)) == "Deny"


def test_handshake_is_refused_when_the_user_is_not_active(database: FakeDatabase) -> None:
    for query in ({"token": access_token()}, {"ticket": tokens.issue_ticket(ALICE)}):
        database.answers = [Unauthorized()]
        answer = handler(handshake(query), None)
        assert effect(answer) == "Deny"
        assert answer["context"] == {}


@pytest.mark.parametrize(
    "query", [None, {}, {"token": ""}, {"ticket": ""}, {"token": "a.b.c"}, {"other": "x"}]
)
def test_handshake_is_refused_when_nothing_good_is_shown(
    query: dict[str, str] | None, database: FakeDatabase
) -> None:
    assert effect(handler(handshake(query), None)) == "Deny"
    assert database.asked == []


def test_handshake_is_refused_when_token_and_ticket_are_shown(database: FakeDatabase) -> None:
    query = {"token": access_token(), "ticket": tokens.issue_ticket(ALICE)}
    assert effect(handler(handshake(query), None)) == "Deny"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Origin": "https://app.example"}, "Allow"),
        ({"origin": "https://app.example"}, "Allow"),
        ({}, "Allow"),
        ({"Origin": "https://evil.example"}, "Deny"),
        ({"Origin": "null"}, "Deny"),
        ({"Origin": "https://app.example.evil.example"}, "Deny"),
    ],
)
def test_origin_is_checked_when_origins_are_set(
    headers: dict[str, str],
    expected: str,
    environment: pytest.MonkeyPatch,
    cloud: None,
    database: FakeDatabase,
) -> None:
    database.answers = [True]
    environment.setenv("WEBSOCKET_ALLOWED_ORIGINS", "https://app.example")
    fresh_settings()
    answer = handler(handshake({"token": access_token()}, headers), None)
    assert effect(answer) == expected
