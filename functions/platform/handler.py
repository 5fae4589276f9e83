"""Health and documents, at the root, and the answer to every path that no function serves."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aws_lambda_powertools.event_handler.api_gateway import Response

from chatbot import database, log
from chatbot.api import Access, Api
from chatbot.aws import client
from chatbot.settings import settings
from functions.platform.pages import page

api = Api("platform", prefix="")


def _identity() -> dict[str, Any]:
    return {"version": settings().version, "environment": settings().environment}


@api.get("/health", Access.OPEN, limited=False)
def health() -> dict[str, Any]:
    """Which version answers, and that it does."""
    return {"status": "ok", **_identity()}


@api.get("/health/live", Access.OPEN, limited=False)
def live() -> dict[str, Any]:
    """The same; neither touches a store."""
    return {"status": "ok", **_identity()}


def _postgresql() -> None:
    database.execute("SELECT to_jsonb(true)")


def _dynamodb() -> None:
    client("dynamodb").get_item(TableName=settings().guards_table, Key={"guard": {"S": "ready"}})


CHECKS: dict[str, Callable[[], None]] = {"postgresql": _postgresql, "dynamodb": _dynamodb}


def _state(name: str) -> str:
    try:
        CHECKS[name]()
    except Exception as error:  # noqa: BLE001 - whatever it is, this store does not answer
        log.logger().warning("not ready", code=log.Code.STORE_NOT_READY, store=name, exc_info=error)
        return "failed"
    return "ok"


@api.get("/health/ready", Access.OPEN, limited=False)
def ready() -> dict[str, Any] | tuple[dict[str, Any], int]:
    """Whether PostgreSQL and DynamoDB answer: 200, or 503 with what does not."""
    with ThreadPoolExecutor(len(CHECKS)) as pool:
        checks = dict(zip(CHECKS, pool.map(_state, CHECKS), strict=True))
    if "failed" in checks.values():
        return {"status": "failed", **_identity(), "checks": checks}, 503
    return {"status": "ok", **_identity(), "checks": checks}


@api.get("/openapi.json", Access.OPEN, limited=False)
def openapi() -> Response[str]:
    """This document."""
    return page("openapi.json")


@api.get("/asyncapi.json", Access.OPEN, limited=False)
def asyncapi() -> Response[str]:
    """The AsyncAPI document of the WebSocket."""
    return page("asyncapi.json")


@api.get("/docs", Access.OPEN, limited=False)
def docs() -> Response[str]:
    """A page to try the API in."""
    return page("page.html")


@api.resolver.get("/docs/<name>")
def asset(name: str) -> Response[str]:
    """What the page is made of; no part of the API."""
    return page(name)


handler = api.handler
