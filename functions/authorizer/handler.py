"""Tells the two APIs who is calling.

The HTTP API calls it about every request, and always goes on: the shared layer answers a refusal,
so that all errors have one form. Only what went past CloudFront, where there is one, ends here. The
WebSocket API calls it at `$connect`, where a refusal ends the handshake.
"""

import hashlib
import hmac
from typing import Any

from chatbot import aws, database, log, tokens
from chatbot.errors import Problem, Unauthorized
from chatbot.principal import Principal
from chatbot.settings import settings


def handler(event: dict[str, Any], _: Any) -> dict[str, Any]:
    """Answer a request authorizer event: HTTP API (payload 2.0, simple) or WebSocket (policy)."""
    log.bind(event["requestContext"]["requestId"])
    return _connect(event) if "methodArn" in event else _request(event)


def _request(event: dict[str, Any]) -> dict[str, Any]:
    headers = event.get("headers") or {}
    if not _came_by_the_edge(headers.get("x-origin-secret", "")):
        log.logger().warning("request past the edge", code=log.Code.EDGE_EVADED)
        return {"isAuthorized": False}
    try:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized("an access token is required")
        principal = tokens.verify_access_token(token.strip())
    except Unauthorized as refusal:
        return {"isAuthorized": True, "context": {"refusal": refusal.detail}}
    except Exception as error:
        if not aws.is_unavailable(error):
            raise
        log.logger().error("keys not read", code=log.Code.REQUEST_FAILED, exc_info=error)
        return {"isAuthorized": True, "context": {"unavailable": True}}
    return {
        "isAuthorized": True,
        "context": {"user_id": principal.user_id, "token_version": principal.token_version},
    }


def _came_by_the_edge(secret: str) -> bool:
    expected = settings().origin_digest
    given = hashlib.sha256(secret.encode()).hexdigest()
    return not expected or hmac.compare_digest(given, expected)


def _connect(event: dict[str, Any]) -> dict[str, Any]:
    try:
        _check_origin(event)
        principal = _connecting_principal(event.get("queryStringParameters") or {})
        # A token may outlive its user, and a handshake has no later call that would notice.
        database.query(principal, "SELECT to_jsonb(true)")
    except Problem as refusal:
        log.logger().info(
            "handshake refused", code=log.Code.HANDSHAKE_REFUSED, reason=refusal.detail
        )
        return _policy(event, "Deny", "nobody", {})
    context = {"user_id": principal.user_id, "token_version": principal.token_version}
    return _policy(event, "Allow", principal.user_id, context)


def _check_origin(event: dict[str, Any]) -> None:
    """Browsers always say which page connects; other clients, which cannot be lured, need not."""
    allowed = settings().websocket_allowed_origins
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    if allowed and headers.get("origin", allowed[0]) not in allowed:
        raise Unauthorized("the origin is not allowed")


def _connecting_principal(query: dict[str, str]) -> Principal:
    match query:
        case {"token": token, **rest} if "ticket" not in rest:
            return tokens.verify_access_token(token)
        case {"ticket": ticket, **rest} if "token" not in rest:
            return tokens.spend_ticket(ticket)
    raise Unauthorized("one of token and ticket is required")


def _policy(
    event: dict[str, Any], effect: str, principal_id: str, context: dict[str, Any]
) -> dict[str, Any]:
    statement = {
        "Action": "execute-api:Invoke",
        "Effect": effect,
        "Resource": event["methodArn"],
    }
    return {
        "principalId": principal_id,
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        "context": context,
    }
