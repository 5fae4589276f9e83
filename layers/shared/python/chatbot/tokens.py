"""Access tokens (JWT, HS256), opaque refresh tokens, and single-use WebSocket tickets."""

import hashlib
import json
import secrets
import time
from typing import Any

import jwt

from chatbot.aws import client
from chatbot.errors import Unauthorized
from chatbot.principal import Principal
from chatbot.settings import settings

TICKET_SECONDS = 30

_ALGORITHM = "HS256"
_TYPE = "access"
_SKEW_SECONDS = 5  # by which the clock of the issuer may be ahead of this one
_REQUIRED = ["iss", "aud", "sub", "typ", "jti", "ver", "iat", "exp"]
_MAX_AGE_SECONDS = 300  # of the cached keys: a key that was taken out is refused after this
_RELOAD_SECONDS = 10  # between two loads for unknown key ids: guesses cause no more than that


class SigningKeys:
    """The signing secret `{"current": kid, "keys": {kid: secret}}`, cached in the process."""

    def __init__(self) -> None:
        self._keys: dict[str, str] = {}
        self._current = ""
        self._loaded_at = float("-inf")

    def current(self) -> tuple[str, str]:
        """The key that new tokens are signed with, as `(kid, secret)`."""
        if time.monotonic() - self._loaded_at > _MAX_AGE_SECONDS:
            self._load()
        return self._current, self._keys[self._current]

    def find(self, kid: str) -> str | None:
        """The secret of a key id. An unknown one loads the secret again, if that is not fresh."""
        age = time.monotonic() - self._loaded_at
        if age > _MAX_AGE_SECONDS or (kid not in self._keys and age > _RELOAD_SECONDS):
            self._load()
        return self._keys.get(kid)

    def _load(self) -> None:
        answer = client("secretsmanager").get_secret_value(SecretId=settings().signing_secret_arn)
        secret = json.loads(answer["SecretString"])
        self._keys, self._current = secret["keys"], secret["current"]
        self._loaded_at = time.monotonic()


_keys = SigningKeys()


def issuer() -> str:
    """The `iss` claim: tokens of one environment are worth nothing in another."""
    return f"chatbot-{settings().environment}"


def audience() -> str:
    """The `aud` claim."""
    return f"chatbot-{settings().environment}-api"


def issue_access_token(user_id: str, token_version: int) -> str:
    """A signed access token of a user, valid for `settings().access_token_seconds`."""
    now = int(time.time())
    kid, key = _keys.current()
    claims = {
        "iss": issuer(),
        "aud": audience(),
        "sub": user_id,
        "typ": _TYPE,
        "jti": secrets.token_hex(16),
        "ver": token_version,
        "iat": now,
        "exp": now + settings().access_token_seconds,
    }
    return jwt.encode(claims, key, algorithm=_ALGORITHM, headers={"kid": kid})


def verify_access_token(token: str) -> Principal:
    """The principal of a good token (RFC 8725: pinned algorithm, every claim required).

    Raises `Unauthorized` for any other; the detail tells an expired one apart and no more.
    """
    try:
        kid = jwt.get_unverified_header(token).get("kid")
        key = _keys.find(kid) if isinstance(kid, str) else None
        if key is None:
            raise jwt.InvalidKeyError
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[_ALGORITHM],
            issuer=issuer(),
            audience=audience(),
            options={"require": _REQUIRED, "strict_aud": True, "verify_iat": False},
        )
    except jwt.ExpiredSignatureError:
        raise Unauthorized("the access token has expired") from None
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise Unauthorized("the access token is not valid") from None
    match claims:
        case {"typ": "access", "sub": str(user_id), "ver": int(version), "iat": int(at)} if (
            at <= time.time() + _SKEW_SECONDS
        ):
            return Principal(user_id, version)
    raise Unauthorized("the access token is not valid")


def new_opaque_token() -> str:
    """A refresh token or ticket: 256 random bits, to be kept as its digest only."""
    return secrets.token_urlsafe(32)


def digest(opaque_token: str) -> str:
    """What is stored of an opaque token: SHA-256 in hex; with 256 random bits it needs no salt."""
    return hashlib.sha256(opaque_token.encode()).hexdigest()


def issue_ticket(principal: Principal) -> str:
    """A ticket for one WebSocket handshake within `TICKET_SECONDS`."""
    ticket = new_opaque_token()
    client("dynamodb").put_item(
        TableName=settings().guards_table,
        Item={
            "guard": {"S": f"ticket#{digest(ticket)}"},
            "user_id": {"S": principal.user_id},
            "token_version": {"N": str(principal.token_version)},
            "expires_at": {"N": str(int(time.time()) + TICKET_SECONDS)},
        },
    )
    return ticket


def spend_ticket(ticket: str) -> Principal:
    """The principal that a ticket was issued to. Raises `Unauthorized` the second time.

    One conditional delete: of two that come together, one finds it.
    """
    dynamodb = client("dynamodb")
    try:
        answer = dynamodb.delete_item(
            TableName=settings().guards_table,
            Key={"guard": {"S": f"ticket#{digest(ticket)}"}},
            ConditionExpression="expires_at > :now",
            ExpressionAttributeValues={":now": {"N": str(int(time.time()))}},
            ReturnValues="ALL_OLD",
        )
    except dynamodb.exceptions.ConditionalCheckFailedException:
        raise Unauthorized("the ticket is not valid") from None
    item = answer["Attributes"]
    return Principal(item["user_id"]["S"], int(item["token_version"]["N"]))
