"""Tools run as their functions do, on the stand-ins of the providers and a fake PostgreSQL."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from moto import mock_aws

from chatbot import aws
from chatbot.settings import settings
from chatbot.tool_calls import Call, Principal
from localstack.providers.server import World
from tests.unit.conftest import fresh_settings
from tests.unit.ingestion.conftest import providers, server  # noqa: F401  the stand-ins

OURS, THEIRS = "workspace-1", "workspace-2"


@pytest.fixture
def internet(
    server: tuple[str, World],  # noqa: F811
    providers: World,  # noqa: F811
    environment: pytest.MonkeyPatch,
) -> Iterator[str]:
    """The URL of the stand-ins; Secrets Manager has the key of the search, and of every source."""
    url = f"http://127.0.0.1:{server[0]}"
    environment.setenv("ALLOWED_PRIVATE_NETWORKS", "127.0.0.0/8")
    environment.setenv("WEB_SEARCH_URL", f"{url}/brave/res/v1")
    fresh_settings()
    with mock_aws():
        put_secret("web-search", {"api_key": "brave-local"})
        yield url


def put_secret(name: str, value: Any) -> None:
    secrets = aws.client("secretsmanager")
    try:
        secrets.create_secret(Name=name, SecretString=json.dumps(value))
    except secrets.exceptions.ResourceExistsException:
        secrets.put_secret_value(SecretId=name, SecretString=json.dumps(value))


def call(name: str, tool_use_id: str = "tooluse_1", **asked: Any) -> Call:
    """A call of a user of our workspace."""
    return Call(
        tool_use_id=tool_use_id,
        name=name,
        input=asked,
        principal=Principal("user-1", 3, OURS),
        request_id="request-1",
        message_id="message-1",
        conversation_id="conversation-1",
        chatbot_id="chatbot-1",
        source_ids=None,
    )


def source(url: str, source_id: str = "source-1", **fields: Any) -> dict[str, Any]:
    """A row of `backlog.SOURCES`, with its secret."""
    put_secret(f"{settings().source_secret_prefix}{source_id}", {"api_key": "backlog-local"})
    config = {"base_url": f"{url}/backlog/api/v2", "projects": ["OPS"]}
    return {
        "id": source_id,
        "name": "Operations",
        "config": config | fields.pop("config", {}),
    } | fields
