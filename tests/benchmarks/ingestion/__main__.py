"""Ingestion of 10,000 documents: time and memory by the size of the source.

A source grows. At each size what is new is read and embedded, as by schedule, and then all of it is
read again and swept, as by hand. Each stage has a process of its own; printed are its seconds, the
milliseconds a document that it met, their ratio to the smallest size's, and the process's peak of
memory. Time grows with the number of documents only where the ratio stays, and nothing holds them
all where the memory stays.

What runs is the functions' own code: the Slack connector, page by page over HTTP with checkpoints
and sweeps, and `embed` in batches of ten. They run one after the other here and not as Lambdas, so
the figures are of the code and of this machine: DynamoDB, S3, Bedrock and the Data API are the
running stack's stand-ins, PostgreSQL is real, embeddings are hashed words. The tables are made for
the purpose, without a stream, so that nobody else embeds.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
        [sys.executable, "-m", "localstack.providers"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
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


def grow(url: str, size: int) -> None:
    """Let the provider hold so many threads; those that it held stay as they are."""
    order = {"provider": "slack", "do": "fill", "with": {"channel": CHANNEL, "count": size}}
    requests.post(f"{url}/control", json=order, timeout=60).raise_for_status()


def stages(stack: Stack, url: str) -> Iterator[tuple[int, str, int, dict[str, Any]]]:
    """(size of the source, stage, documents that it met, what it took), one after the other."""
    source_id, tenant = str(uuid4()), sign_up(stack.outputs["api_url"], "")
    with stores(stack) as names, ExitStack() as undo:
        connector = environment(stack, "ingest_slack", names)
        embed = environment(stack, "embed", names)
        secret = connector["SOURCE_SECRET_PREFIX"] + source_id
        secrets = stack.client("secretsmanager")
        secrets.create_secret(Name=secret, SecretString=json.dumps({"bot_token": "xoxb-local"}))
        undo.callback(secrets.delete_secret, SecretId=secret, ForceDeleteWithoutRecovery=True)
        undo.callback(stack.sql, FORGET, id=tenant.workspace_id)
        config = {"base_url": f"{url}/slack/api", "channels": [CHANNEL]}
        source = {"workspace_id": tenant.workspace_id, "source_id": source_id, "config": config}
        known = 0
        for size in SIZES:
            grow(url, size)
            new, known = size - known, size
            by_schedule = {"job_id": f"new-{size}", "trigger": "schedule", "sweep": new == size}
            by_hand = {"job_id": f"all-{size}", "trigger": "manual", "sweep": True}
            read = measure("connector", source | by_schedule, connector)
            yield size, "read new", _met(read["counts"]["changed"], new), read
            embedded = measure("embed", source, embed)
            yield size, "embed new", _met(embedded["documents"], new), embedded
            again = measure("connector", source | by_hand, connector)
            yield size, "read all", _met(again["counts"]["unchanged"], size), again


def _met(count: int, wanted: int) -> int:
    if count != wanted:
        raise SystemExit(f"{count} documents were met instead of {wanted}")
    return count


FORGET = """
WITH gone AS (DELETE FROM app.document_versions WHERE workspace_id = :id::uuid RETURNING 1)
SELECT to_jsonb(count(*)) FROM gone
"""


def main() -> None:
    stack = Stack(read_outputs())
    print("source of  stage      documents    seconds   ms a document   ratio    peak MB")
    first: dict[str, float] = {}
    with provider() as url:
        for size, stage, documents, measured in stages(stack, url):
            each = measured["seconds"] * 1000 / documents
            ratio = each / first.setdefault(stage, each)
            print(
                f"{size:9}  {stage:9} {documents:10} {measured['seconds']:10.1f} {each:15.2f}"
                f" {ratio:7.2f} {measured['megabytes']:10.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
