"""Calls a REST handler as API Gateway does, with payload 2.0."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from chatbot.principal import Principal

ALICE = Principal("0190a000-0000-7000-8000-00000000000a", 1)
BOB = Principal("0190b000-0000-7000-8000-00000000000b", 4)
WORKSPACE_A = "0190aaaa-0000-7000-8000-000000000000"
WORKSPACE_B = "0190bbbb-0000-7000-8000-000000000000"
NOW_MS = 1_790_000_000_000

type Handler = Callable[[dict[str, Any], Any], dict[str, Any]]


@dataclass(frozen=True)
class Answer:
    """A response: `json` is the parsed body, or None where there is none."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text) if self.text else None


def event(
    method: str,
    path: str,
    body: Any = None,
    *,
    caller: Principal | None = ALICE,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The event of a request; a body that is no string is sent as JSON."""
    text = body if isinstance(body, str) or body is None else json.dumps(body)
    sent = {"content-type": "application/json"} if text is not None else {}
    context: dict[str, Any] = {
        "http": {"method": method, "path": path, "sourceIp": "198.51.100.7"},
        "requestId": "gateway-id=",
        "stage": "$default",
        "timeEpoch": NOW_MS,
    }
    if caller is not None:
        context["authorizer"] = {
            "lambda": {"user_id": caller.user_id, "token_version": caller.token_version}
        }
    made: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {**sent, **(headers or {})},
        "requestContext": context,
        "isBase64Encoded": False,
    }
    if query is not None:
        made["queryStringParameters"] = dict(query)
    if text is not None:
        made["body"] = text
    return made


def send(handler: Handler, request: dict[str, Any]) -> Answer:
    """The handler's answer to an event."""
    answer = handler(request, None)
    return Answer(answer["statusCode"], answer["headers"], answer.get("body") or "")
