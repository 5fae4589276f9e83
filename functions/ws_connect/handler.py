"""Remembers a new connection and its user: API Gateway calls it for `$connect`."""

from typing import Any

from chatbot import connections, log
from chatbot.connections import Connection


def handler(event: dict[str, Any], _: Any) -> dict[str, Any]:
    """Answer a `$connect` event that the authorizer let through."""
    context = event["requestContext"]
    log.bind(context["requestId"])
    # API Gateway makes strings of all that an authorizer of a WebSocket API hands on.
    caller = context["authorizer"]
    connection = Connection(
        context["connectionId"], caller["user_id"], int(caller["token_version"])
    )
    connections.connect(connection)
    return {"statusCode": 200}
