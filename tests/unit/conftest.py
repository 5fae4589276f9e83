"""Every unit test runs on the same settings, without sockets, on fakes of AWS's clients."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from moto import mock_aws
from pytest_socket import disable_socket

from chatbot import audit, aws, log, tools
from chatbot import database as real
from chatbot.settings import settings

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "ENVIRONMENT": "test",
    "VERSION": "1.2.3",
    "DEBUG": "false",
    "ACCESS_TOKEN_SECONDS": "900",
    "REFRESH_TOKEN_SECONDS": "86400",
    "REFRESH_FAMILY_SECONDS": "2592000",
    "REGISTRATION_ENABLED": "true",
    "EMAIL_VERIFICATION_REQUIRED": "false",
    "ADDRESS_REQUESTS_PER_MINUTE": "100",
    "USER_REQUESTS_PER_MINUTE": "100",
    "SIGN_IN_ATTEMPTS_PER_MINUTE": "5",
    "CHATS_PER_MINUTE": "10",
    "MAX_CONCURRENT_TURNS": "3",
    "APPROVAL_TIMEOUT_SECONDS": "600",
    "MONTHLY_TOKENS": "1000000",
    "CONVERSATION_RETENTION_DAYS": "0",
    "BEDROCK_MODEL_ID": "eu.anthropic.claude-sonnet-4-20250514-v1:0",
    "BEDROCK_MODEL_IDS": "eu.anthropic.claude-sonnet-4-20250514-v1:0,amazon.nova-lite-v1:0",
    "BEDROCK_INFERENCE_PROFILES": "",
    "GUARDRAIL_ID": "guard1",
    "GUARDRAIL_VERSION": "1",
    "DATABASE_CLUSTER_ARN": "arn:aws:rds:eu-west-1:123456789012:cluster:test",
    "DATABASE_NAME": "chatbot",
    "DATABASE_SECRET_ARN": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:app",
    "DATABASE_WAIT_SECONDS": "2",
    "SIGNING_SECRET_ARN": "signing",
    "CONVERSATIONS_TABLE": "conversations",
    "TURNS_TABLE": "turns",
    "CONNECTIONS_TABLE": "connections",
    "GUARDS_TABLE": "guards",
    "USAGE_TABLE": "usage",
    "FEEDBACK_TABLE": "feedback",
    "MAIL_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/mail",
    "MAIL_SENDER": "no-reply@chat.example.com",
    "CLIENT_URL": "https://chat.example.com",
    "TURN_WATCH_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/turn-watch",
    "CHAT_STATE_MACHINE_ARN": "arn:aws:states:eu-west-1:123456789012:stateMachine:chat",
    "PURGE_STATE_MACHINE_ARN": "arn:aws:states:eu-west-1:123456789012:stateMachine:purge",
    "DOCUMENTS_TABLE": "documents",
    "DOCUMENTS_BUCKET": "documents",
    "EMBED_DEAD_LETTER_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/embed",
    "OPENSEARCH_ENDPOINT": "",
    "JOBS_TABLE": "jobs",
    "INGEST_STATE_MACHINE_ARN": "arn:aws:states:eu-west-1:123456789012:stateMachine:ingest",
    "REMOVE_STATE_MACHINE_ARN": "arn:aws:states:eu-west-1:123456789012:stateMachine:remove",
    "SOURCE_SCHEDULE_GROUP": "sources",
    "SCHEDULER_ROLE_ARN": "arn:aws:iam::123456789012:role/scheduler",
    "SCHEDULER_DEAD_LETTER_ARN": "arn:aws:sqs:eu-west-1:123456789012:dead-letter",
    "SOURCE_SECRET_PREFIX": "chatbot-test/source/",
    "ALLOWED_PRIVATE_NETWORKS": "",
    "SWEEP_MAX_PERCENT": "50",
    "WEB_SEARCH_PROVIDER": "brave",
    "WEB_SEARCH_URL": "",
    "WEB_SEARCH_SECRET_ARN": "web-search",
    "WEBSOCKET_CALLBACK_URL": "https://example.execute-api.eu-west-1.amazonaws.com/ws",
    "WEBSOCKET_ALLOWED_ORIGINS": "",
    "ORIGIN_DIGEST": "",
}
# Two tools that only tests have: one reads, one changes something.
TOOLS: list[dict[str, Any]] = [
    {
        "name": "look_up",
        "description": "Looks something up.",
        "input_schema": {
            "type": "object",
            "properties": {"query": {"type": "string", "maxLength": 100}},
            "required": ["query"],
            "additionalProperties": False,
        },
        "permission": "chat:use",
        "timeout_seconds": 20,
        "requires_approval": False,
    },
    {
        "name": "send_it",
        "description": "Sends something.",
        "input_schema": {"type": "object"},
        "permission": "documents:write",
        "timeout_seconds": 30,
        "requires_approval": True,
    },
]
SIGNING_SECRET: dict[str, Any] = {"current": "2", "keys": {"1": "first-" * 8, "2": "second-" * 8}}


def pytest_runtest_setup() -> None:
    disable_socket(allow_unix_socket=True)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The settings above; a test changes one with `environment.setenv` and `fresh_settings`."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    fresh_settings()
    yield monkeypatch
    fresh_settings()


@pytest.fixture(autouse=True)
def registry(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """The registry, of the tools above."""
    file = tmp_path_factory.mktemp("registry") / "tools.json"
    file.write_text(json.dumps(TOOLS), encoding="utf-8")
    monkeypatch.setattr(tools, "REGISTRY", file)
    tools.registry.cache_clear()
    yield
    tools.registry.cache_clear()


def fresh_settings() -> None:
    """Forget what was read from the environment."""
    settings.cache_clear()
    log.logger.cache_clear()


@pytest.fixture
def cloud() -> Iterator[None]:
    """DynamoDB with the table `guards`, and Secrets Manager with the signing secret."""
    with mock_aws():
        aws.client("secretsmanager").create_secret(
            Name="signing", SecretString=json.dumps(SIGNING_SECRET)
        )
        aws.client("dynamodb").create_table(
            TableName="guards",
            KeySchema=[{"AttributeName": "guard", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "guard", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield


class FakeDatabase:
    """Stands in for `chatbot.database`: answers from a list, and remembers what was asked.

    An answer that is an exception is raised. What is told to the audit trail stands apart.
    """

    def __init__(self) -> None:
        self.audited: list[dict[str, Any]] = []
        self.answers: list[Any] = []
        self.asked: list[dict[str, Any]] = []

    def _answer(self, **asked: Any) -> Any:
        told = (audit.RECORD, "app.sign_in_refused")
        if asked.get("statement") in told or asked.get("function") in told:
            self.audited.append(asked)
            return None
        self.asked.append(asked)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def query(self, caller: Any, statement: str, params: Any = None, **options: Any) -> Any:
        return self._answer(caller=caller, statement=statement, params=params, **options)

    def call(self, function: str, params: Any) -> Any:
        return self._answer(function=function, params=params)

    def execute(self, sql: str) -> Any:
        return self._answer(sql=sql)


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> FakeDatabase:
    """Put the fake in the place of the Data API's client, for every module that uses it."""
    fake = FakeDatabase()
    for name in ("query", "call", "execute"):
        monkeypatch.setattr(real, name, getattr(fake, name))
    return fake
