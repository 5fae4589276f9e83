"""What the state machine does with a connector, without the machine."""

import json
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest

from chatbot import documents, fetching, ingesting
from chatbot.aws import client
from chatbot.identifiers import new_id
from chatbot.settings import settings
from functions.ingest_backlog import handler as backlog
from functions.ingest_gitlab import handler as gitlab
from functions.ingest_slack import handler as slack

HANDLERS = {"slack": slack.handler, "gitlab": gitlab.handler, "backlog": backlog.handler}
ROOTS = {"slack": "/slack/api", "gitlab": "/gitlab/api/v4", "backlog": "/backlog/api/v2"}
CREDENTIALS = {
    "slack": {"bot_token": "xoxb-local"},
    "gitlab": {"private_token": "glpat-local"},
    "backlog": {"api_key": "backlog-local"},
}
CONFIGS: dict[str, dict[str, Any]] = {
    "slack": {},
    "gitlab": {"projects": ["platform/tracker"]},
    "backlog": {"projects": ["OPS"]},
}
MAX_CALLS = 200


def make_stores() -> None:
    """The tables and the bucket."""
    dynamodb = client("dynamodb")
    dynamodb.create_table(
        TableName="documents",
        KeySchema=[{"AttributeName": "document_id", "KeyType": "HASH"}],
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": "S"}
            for name in ("document_id", "source_id", "external_id")
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by_source",
                "KeySchema": [
                    {"AttributeName": "source_id", "KeyType": "HASH"},
                    {"AttributeName": "external_id", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    dynamodb.create_table(
        TableName="jobs",
        KeySchema=[
            {"AttributeName": "source_id", "KeyType": "HASH"},
            {"AttributeName": "job_id", "KeyType": "RANGE"},
        ],
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": "S"} for name in ("source_id", "job_id")
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    client("s3").create_bucket(
        Bucket="documents", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )


class Context:
    """A Lambda's context with time left, in milliseconds."""

    def __init__(self, left: int = 300_000) -> None:
        self.left = left

    def get_remaining_time_in_millis(self) -> int:
        return self.left


class Killed(BaseException):
    """The process has ended."""


@dataclass
class Source:
    """A source of a workspace, which keeps what its runs answered."""

    provider: str
    config: dict[str, Any]
    workspace_id: str
    source_id: str = field(default_factory=lambda: str(uuid4()))
    waits: list[int] = field(default_factory=list)

    def call(self, job_id: str, context: Context | None = None, **event: Any) -> dict[str, Any]:
        """One invocation of the connector."""
        order = {
            "workspace_id": self.workspace_id,
            "source_id": self.source_id,
            "job_id": job_id,
            "trigger": "schedule",
            "config": self.config,
            "sweep": False,
            **event,
        }
        answer = HANDLERS[self.provider](json.loads(json.dumps(order)), context or Context())
        json.dumps(answer)
        return answer

    def run(self, job_id: str = "", **event: Any) -> dict[str, Any]:
        """A whole run: pages, waits (which are noted) and the sweep."""
        job_id = job_id or new_id()
        answer = self._loop(job_id, **event)
        if answer["sweep_due"]:
            answer = self._loop(job_id, phase="sweep", **event)
        return answer

    def _loop(self, job_id: str, **event: Any) -> dict[str, Any]:
        for _ in range(MAX_CALLS):
            answer = self.call(job_id, **event)
            if not answer["has_more"]:
                return answer
            if answer["retry_after_seconds"]:
                self.waits.append(answer["retry_after_seconds"])
        raise AssertionError("the run does not end")

    def sync(self, **event: Any) -> dict[str, Any]:
        """A run by hand."""
        return self.run(trigger="manual", sweep=True, **event)

    def rows(self) -> dict[str, dict[str, Any]]:
        """The source's documents by their external ids."""
        return {row["external_id"]: row for row in documents.listed(self.source_id)}

    def text(self, external_id: str) -> str:
        """The stored text of a document."""
        key = self.rows()[external_id]["text_key"]
        return str(client("s3").get_object(Bucket="documents", Key=key)["Body"].read().decode())

    def texts(self) -> dict[str, str]:
        """All documents' texts by their external ids."""
        return {external_id: self.text(external_id) for external_id in self.rows()}


class Machine:
    """Makes sources whose base URL is the stand-in's."""

    def __init__(self, url: str) -> None:
        self.url = url

    def source(self, provider: str, **config: Any) -> Source:
        """A new source with its secret."""
        base_url = f"{self.url}{ROOTS[provider]}"
        source = Source(
            provider, {"base_url": base_url, **CONFIGS[provider], **config}, str(uuid4())
        )
        client("secretsmanager").create_secret(
            Name=f"{settings().source_secret_prefix}{source.source_id}",
            SecretString=json.dumps(CREDENTIALS[provider]),
        )
        return source


class Assassin:
    """Kills the process at its n-th request; what is dead saves nothing any more."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.left = 0
        self.is_dead = False
        once, save = fetching.Client._once, ingesting.save

        def deadly_once(*arguments: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                self.is_dead = True
                raise Killed
            return once(*arguments)

        def deadly_save(*arguments: Any) -> None:
            if self.is_dead:
                raise Killed
            save(*arguments)

        patch.setattr(fetching.Client, "_once", deadly_once)
        patch.setattr(ingesting, "save", deadly_save)

    def kill_at(self, request: int) -> None:
        """Let the process live for so many requests."""
        self.left, self.is_dead = request, False
