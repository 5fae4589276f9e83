"""Documents on AWS as moto has it, a model that counts its calls, and an index in memory."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import pytest
from botocore.exceptions import ClientError

from chatbot import aws, database, documents, embeddings, tables
from chatbot.settings import settings
from functions.embed import handler as embed
from localstack.bedrock import embeddings as standin
from tests.unit.rest import WORKSPACE_A

SOURCE = "0190dddd-0000-7000-8000-00000000000d"
INDEXES = {
    "by_pending": ("pending", "updated_at"),
    "by_source": ("source_id", "external_id"),
    "by_workspace": ("workspace_id", "created_key"),
}


@dataclass
class Titan:
    """Stands in for Bedrock: hashed words; a text with a poisonous word is refused."""

    texts: list[str] = field(default_factory=list)
    poison: str = "poison"
    busy: int = 0

    def invoke_model(self, modelId: str, body: str) -> Any:  # noqa: N803
        assert modelId == embeddings.MODEL_ID
        asked = json.loads(body)
        self.texts.append(asked["inputText"])
        if self.busy:
            self.busy -= 1
            raise _error("ThrottlingException", 429)
        if self.poison in asked["inputText"]:
            raise _error("ValidationException", 400)
        vector = standin.embed(asked["inputText"], asked["dimensions"], asked["normalize"])
        return {"body": BytesIO(json.dumps({"embedding": vector}).encode())}


def _error(code: str, status: int) -> ClientError:
    response: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "InvokeModel")


@dataclass
class Index:
    """What embed's two statements do, which tests/integration/database proves of the real ones."""

    versions: dict[tuple[str, str], tuple[int, bool]] = field(default_factory=dict)
    chunks: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    writes: int = 0
    away: bool = False

    def system(self, workspace_id: str, statement: str, params: dict[str, Any], **_: Any) -> bool:
        if self.away:
            raise RuntimeError("the database is away")
        self.writes += 1
        key = (workspace_id, params["id"])
        version, is_removed = self.versions.get(key, (0, False))
        removal = "remove_document" in statement
        if params["version"] < version or (
            params["version"] == version and is_removed and not removal
        ):
            return False
        self.versions[key] = (params["version"], removal)
        if removal:
            self.chunks.pop(key, None)
        else:
            self.chunks[key] = [chunk["content"] for chunk in params["chunks"]]
        return True


@dataclass
class Context:
    aws_request_id: str = "invocation"
    remaining: int = 300_000

    def get_remaining_time_in_millis(self) -> int:
        return self.remaining


class World:
    """What is stored, and the stream that tells embed of it."""

    def __init__(self, titan: Titan, index: Index) -> None:
        self.titan, self.index = titan, index
        self._told: dict[str, dict[str, Any]] = {}

    def put(self, text: str, external_id: str = "1", run: str = "run", **fields: Any) -> str:
        values = {"title": "A title", "url": "https://example.com/1", **fields}
        return documents.put(
            WORKSPACE_A, SOURCE, external_id, values["title"], values["url"], text, None, run
        )

    def row(self, external_id: str = "1") -> dict[str, Any]:
        found = documents.find(documents.document_id(SOURCE, external_id))
        assert found is not None
        return found

    def rows(self) -> dict[str, dict[str, Any]]:
        items = aws.client("dynamodb").scan(TableName=settings().documents_table)["Items"]
        return {item["document_id"]["S"]: item for item in items}

    def records(self) -> list[dict[str, Any]]:
        """The stream's records since the last call that the mapping's filter lets through."""
        now, before = self.rows(), self._told
        self._told = now
        found = []
        for number, key in enumerate(sorted({*now, *before})):
            change: dict[str, Any] = {
                "SequenceNumber": str(number),
                "Keys": {"document_id": {"S": key}},
            }
            if key in before:
                change["OldImage"] = before[key]
            if key in now:
                change["NewImage"] = now[key]
                row = tables.unpack(now[key])
                waits = row["status"] == "pending" and row["attempts"] == 0
                if now[key] == before.get(key) or not waits:
                    continue
            name = "MODIFY" if len(change) == 4 else "INSERT" if key in now else "REMOVE"
            found.append({"eventName": name, "dynamodb": change})
        return found

    def embed(self, records: list[dict[str, Any]] | None = None) -> list[str]:
        """Call embed; the sequence numbers that failed."""
        event = {"Records": self.records() if records is None else records}
        answer = embed.handler(event, Context())
        return [item["itemIdentifier"] for item in answer["batchItemFailures"]]

    def run(self) -> int:
        """The stream's way, with its retries: how many calls it took."""
        records, calls = self.records(), 0
        while records:
            calls += 1
            failed = self.embed(records)
            records = [r for r in records if r["dynamodb"]["SequenceNumber"] in failed]
            assert calls < 20
        return calls

    def found(self, external_id: str = "1") -> list[str] | None:
        """A document's chunks in the index."""
        key = (WORKSPACE_A, documents.document_id(SOURCE, external_id))
        return self.index.chunks.get(key)

    def objects(self) -> set[str]:
        listed = aws.client("s3").list_objects_v2(Bucket=settings().documents_bucket)
        return {item["Key"] for item in listed.get("Contents", [])}

    def dead_letters(self) -> list[Mapping[str, Any]]:
        answer = aws.client("sqs").receive_message(
            QueueUrl=settings().embed_dead_letter_queue_url, MaxNumberOfMessages=10
        )
        return [json.loads(message["Body"]) for message in answer.get("Messages", [])]


def make_stores() -> None:
    """The tables, the bucket and the queue that documents need."""
    names = {"document_id", *(name for pair in INDEXES.values() for name in pair)}
    aws.client("dynamodb").create_table(
        TableName=settings().documents_table,
        KeySchema=[{"AttributeName": "document_id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in sorted(names)],
        BillingMode="PAY_PER_REQUEST",
        GlobalSecondaryIndexes=[
            {
                "IndexName": name,
                "KeySchema": [
                    {"AttributeName": pair[0], "KeyType": "HASH"},
                    {"AttributeName": pair[1], "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "ALL"},
            }
            for name, pair in INDEXES.items()
        ],
    )
    aws.client("dynamodb").create_table(
        TableName=settings().jobs_table,
        KeySchema=[
            {"AttributeName": "source_id", "KeyType": "HASH"},
            {"AttributeName": "job_id", "KeyType": "RANGE"},
        ],
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": "S"} for name in ("source_id", "job_id")
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    aws.client("s3").create_bucket(
        Bucket=settings().documents_bucket,
        CreateBucketConfiguration={"LocationConstraint": "eu-west-1"},
    )
    aws.client("sqs").create_queue(QueueName="embed")


@pytest.fixture
def world(cloud: None, monkeypatch: pytest.MonkeyPatch) -> World:
    make_stores()
    titan, index = Titan(), Index()
    monkeypatch.setattr(embeddings, "_bedrock", lambda: titan)
    monkeypatch.setattr(database, "system", index.system)
    return World(titan, index)
