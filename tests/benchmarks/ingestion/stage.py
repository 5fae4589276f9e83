"""One stage of a source in a process of its own, so that its peak of memory is its own.

python -m tests.benchmarks.ingestion.stage connector '<folder, and what the state machine sends>'
python -m tests.benchmarks.ingestion.stage embed '<folder, the source, and the database>'

Prints {documents, seconds, processor, megabytes}, `processor` the seconds of its own work. The
connector is called as the state machine does it, until there is no more, and then sweeps; `embed`
gets the documents in batches of ten, as the stream brings them.
"""

import io
import json
import os
import sys
import time
from collections.abc import Iterator
from itertools import batched
from pathlib import Path
from typing import Any

from chatbot import aws
from chatbot.settings import Settings

SECONDS = 300  # that a Lambda has


class Context:
    """A Lambda's context."""

    aws_request_id = "benchmark"

    def __init__(self) -> None:
        self._end = time.monotonic() + SECONDS

    def get_remaining_time_in_millis(self) -> int:
        return int((self._end - time.monotonic()) * 1000)


class Titan:
    """Bedrock's embeddings: hashed words."""

    def invoke_model(self, modelId: str, body: str) -> Any:  # noqa: N803
        from localstack.bedrock.embeddings import embed

        assert modelId
        asked = json.loads(body)
        vector = embed(asked["inputText"], asked["dimensions"], asked["normalize"])
        return {"body": io.BytesIO(json.dumps({"embedding": vector}).encode())}


def connect(given: dict[str, Any]) -> None:
    """Lead the functions' settings and clients to what is kept in a folder, and to PostgreSQL."""
    from tests.benchmarks.ingestion.stores import S3, DynamoDb, SecretsManager

    kinds = {bool: "false", int: "50"}
    for name, kind in Settings.__annotations__.items():
        os.environ[name.upper()] = kinds.get(kind, name.removesuffix("_table"))
    os.environ |= {
        "ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8",
        "OPENSEARCH_ENDPOINT": "",
        **given.get("environment", {}),
    }
    folder = Path(given["folder"])
    clients: dict[str, Any] = {
        "dynamodb": DynamoDb(folder / "items"),
        "s3": S3(folder),
        "secretsmanager": SecretsManager(),
    }
    if "database" in given:
        clients["rds-data"] = _data_api(given["database"])
    aws.client = clients.__getitem__  # type: ignore[assignment]


def _data_api(database: dict[str, Any]) -> Any:
    from localstack.data_api.connections import Pool
    from tests.integration.database.server import DataApi, Secrets, Server

    secrets = Secrets([])
    secrets.values = database["secrets"]
    port = database["port"]
    return DataApi(Server(Pool("127.0.0.1", port, limit=8), {}, port), secrets)


def ingest(event: dict[str, Any]) -> int:
    """A whole run. Returns how many documents it met; all of them have to change, or none."""
    from functions.ingest_slack import handler as slack

    answer: dict[str, Any] = {}
    for phase in ({}, {"phase": "sweep"}):
        answer = {"has_more": True}
        while answer["has_more"]:
            answer = slack.handler({**event, **phase}, Context())
        if answer["error"]:
            raise SystemExit(answer["error"])
    return int(answer["counts"][event["expected"]])


def embed_all(event: dict[str, Any]) -> int:
    """All documents of a source. Returns how many there were."""
    from chatbot import embeddings
    from functions.embed import handler as embed

    embeddings._bedrock = Titan  # type: ignore[assignment]
    count = 0
    for batch in batched(_records(event["source_id"]), 10):
        if embed.handler({"Records": list(batch)}, Context())["batchItemFailures"]:
            raise SystemExit("a document was not embedded")
        count += len(batch)
    return count


def _records(source_id: str) -> Iterator[dict[str, Any]]:
    """What the stream tells of new documents."""
    from chatbot import documents, tables

    for number, row in enumerate(documents.listed(source_id)):
        image = tables.pack(row)
        yield {
            "eventName": "INSERT",
            "dynamodb": {
                "Keys": {"document_id": image["document_id"]},
                "NewImage": image,
                "SequenceNumber": str(number),
            },
        }


def peak() -> float:
    """The most memory that this process has held, in MB; getrusage would tell its parent's too."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


STAGES = {"connector": ingest, "embed": embed_all}

if __name__ == "__main__":
    stage, text = sys.argv[1:]
    order = json.loads(text)
    connect(order)
    started, worked = time.perf_counter(), time.process_time()
    measured = {
        "documents": STAGES[stage](order),
        "seconds": time.perf_counter() - started,
        "processor": time.process_time() - worked,
        "megabytes": peak(),
    }
    print(json.dumps(measured))
