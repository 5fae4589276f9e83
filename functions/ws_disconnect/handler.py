"""Forgets a connection that was closed: API Gateway calls it for `$disconnect`."""

from typing import Any

from chatbot import connections, log


def handler(event: dict[str, Any], _: Any) -> dict[str, Any]:
    """Answer a `$disconnect` event."""
    context = event["requestContext"]
    log.bind(context["requestId"])
    connections.disconnect(context["connectionId"])
    return {"statusCode": 200}
