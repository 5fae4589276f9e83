"""Ingestion of up to 10,000 documents: time and memory by the size of the source.

For each size a new source of a new workspace is read, embedded, and read again unchanged, each in a
process of its own; printed are seconds, milliseconds a document, their ratio to the smallest
size's, and the process's peak of memory. Linear growth is a ratio that stays, and memory that does
not follow the size.

What runs is the functions' own code: the Slack connector, page by page over HTTP with its
checkpoints and its sweep, and `embed` in batches of ten. They run one after the other here and not
as Lambdas, so figures are of the code, not of a service: DynamoDB, S3, Bedrock and the Data API are
the running stack's stand-ins, PostgreSQL is real, embeddings are hashed words. The tables are made
for the purpose, without a stream, so that nobody else embeds.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import requests

from tests.e2e.client import sign_up
from tests.e2e.conftest import ROOT, Stack, read_outputs

SIZES = (1_000, 2_500, 5_000, 10_000)
CHANNEL = "C01OPS"


@contextmanager
def provider() -> Iterator[str]:
    """The stand-ins of the providers, in a process of their own: their URL."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    environment = {**os.environ, "PROVIDERS_PORT": str(port)}
    process = subprocess.Popen(
        [sys.executable, "-m", "localstack.providers"], cwd=ROOT, env=environment
    )
    url = f"http://127.0.0.1:{port}"
    try:
        while process.poll() is None:
            try:
                requests.get(f"{url}/health", timeout=5).raise_for_status()
                break
            except requests.RequestException:
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()


@contextmanager
def stores(stack: Stack) -> Iterator[dict[str, str]]:
    """Two tables and a bucket that are gone afterwards: the functions' variables for them."""
    dynamodb, s3, mark = stack.client("dynamodb"), stack.client("s3"), uuid4().hex[:8]
    names = {
        "DOCUMENTS_TABLE": f"bench-{mark}-documents",
        "JOBS_TABLE": f"bench-{mark}-jobs",
        "DOCUMENTS_BUCKET": f"bench-{mark}",
    }
    _create_table(dynamodb, names["DOCUMENTS_TABLE"], ["document_id"], ["source_id", "external_id"])
    _create_table(dynamodb, names["JOBS_TABLE"], ["source_id", "job_id"], [])
    bucket = names["DOCUMENTS_BUCKET"]
    s3.create_bucket(Bucket=bucket)
    try:
        yield names
    finally:
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            keys = [{"Key": item["Key"]} for item in page.get("Contents", [])]
            s3.delete_objects(Bucket=bucket, Delete={"Objects": keys})
        s3.delete_bucket(Bucket=bucket)
        for table in (names["DOCUMENTS_TABLE"], names["JOBS_TABLE"]):
            dynamodb.delete_table(TableName=table)


def _create_table(dynamodb: Any, name: str, key: list[str], by_source: list[str]) -> None:
    def schema(names: list[str]) -> list[dict[str, str]]:
        kinds = zip(names, ("HASH", "RANGE"), strict=False)
        return [{"AttributeName": each, "KeyType": kind} for each, kind in kinds]

    index = {
        "IndexName": "by_source",
        "KeySchema": schema(by_source),
        "Projection": {"ProjectionType": "ALL"},
    }
    dynamodb.create_table(
        TableName=name,
        KeySchema=schema(key),
        AttributeDefinitions=[
            {"AttributeName": each, "AttributeType": "S"} for each in [*key, *by_source]
        ],
        BillingMode="PAY_PER_REQUEST",
        **({"GlobalSecondaryIndexes": [index]} if by_source else {}),
    )


def environment(stack: Stack, function: str, names: dict[str, str]) -> dict[str, str]:
    """What a function of the stack is given, with other tables and another bucket."""
    found = stack.client("lambda").get_function_configuration(
        FunctionName=stack.outputs["function_names"][function]
    )
    return {
        **os.environ,
        **found["Environment"]["Variables"],
        **names,
        "AWS_ENDPOINT_URL": stack.outputs["gateway_url"],
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": stack.outputs["bedrock_url"],
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": stack.outputs["aws_region"],
        "PYTHONPATH": str(ROOT / "layers/shared/python"),
    }


def measure(stage: str, event: dict[str, Any], environment: dict[str, str]) -> dict[str, Any]:
    """What a stage prints."""
    command = [sys.executable, "-m", "tests.benchmarks.ingestion.stage", stage, json.dumps(event)]
    ran = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True, text=True
    )
    answer: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return answer


def run(stack: Stack, url: str, names: dict[str, str], size: int) -> dict[str, dict[str, Any]]:
    """Read, embed and read again a source of so many documents."""
    source_id, tenant = str(uuid4()), sign_up(stack.outputs["api_url"], "")
    requests.delete(f"{url}/control", timeout=10).raise_for_status()
    order = {"provider": "slack", "do": "fill", "with": {"channel": CHANNEL, "count": size}}
    requests.post(f"{url}/control", json=order, timeout=60).raise_for_status()
    connector = environment(stack, "ingest_slack", names)
    secrets, secret = stack.client("secretsmanager"), connector["SOURCE_SECRET_PREFIX"] + source_id
    secrets.create_secret(Name=secret, SecretString=json.dumps({"bot_token": "xoxb-local"}))
    event = {
        "workspace_id": tenant.workspace_id,
        "source_id": source_id,
        "trigger": "manual",
        "sweep": True,
        "config": {"base_url": f"{url}/slack/api", "channels": [CHANNEL]},
    }
    try:
        read = measure("connector", {**event, "job_id": "first"}, connector)
        embedded = measure("embed", event, environment(stack, "embed", names))
        again = measure("connector", {**event, "job_id": "second"}, connector)
    finally:
        secrets.delete_secret(SecretId=secret, ForceDeleteWithoutRecovery=True)
        stack.sql(
            "WITH gone AS (DELETE FROM app.document_versions WHERE workspace_id = :id::uuid"
            " RETURNING 1) SELECT to_jsonb(count(*))",
            id=tenant.workspace_id,
        )
    met = (read["counts"]["changed"], embedded["documents"], again["counts"]["unchanged"])
    if met != (size, size, size):
        raise SystemExit(f"not all of {size} documents were met: {met}")
    return {"read": read, "embedded": embedded, "read again": again}


def main() -> None:
    stack = Stack(read_outputs())
    print("documents            seconds   ms a document   ratio    peak MB")
    first: dict[str, float] = {}
    with provider() as url, stores(stack) as names:
        for size in SIZES:
            for stage, measured in run(stack, url, names, size).items():
                each = measured["seconds"] * 1000 / size
                ratio = each / first.setdefault(stage, each)
                print(
                    f"{size:6} {stage:10} {measured['seconds']:10.1f} {each:15.2f} {ratio:7.2f}"
                    f" {measured['megabytes']:10.0f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
