"""Ingestion of up to 10,000 documents: time and memory by the size of the source.

For each size a new source is read, embedded, and read and swept again unchanged, each in a process
of its own. Printed are seconds, milliseconds a document and their ratio to the smallest size's, the
same of the processor's time, which others' work on the machine hardly changes, and the process's
peak of memory. Time is linear where the ratio stays, and nothing holds all documents where the
memory stays.

What runs is the functions' own code: the Slack connector, page by page over HTTP from the stand-in,
with its checkpoints and its sweep, and `embed` in batches of ten into a real PostgreSQL with all of
its indexes. Not measured is what Lambda, the state machine, the stream and the network add:
DynamoDB and S3 are a file and a folder (tests/benchmarks/ingestion/stores.py), the Data API is in
the process, and embeddings are hashed words.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import requests

from tests.integration.database.conftest import Cluster, cluster_maker, found_workspace
from tests.integration.database.server import running_server

ROOT = Path(__file__).parents[3]
SIZES = (1_000, 2_500, 5_000, 10_000)
CHANNEL = "C01OPS"


@contextmanager
def provider() -> Iterator[str]:
    """The stand-ins of the providers, in a process of their own: their URL."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "localstack.providers"],
        cwd=ROOT,
        env={**os.environ, "PROVIDERS_PORT": str(port)},
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


def measure(stage: str, order: dict[str, Any]) -> dict[str, Any]:
    """What a stage prints."""
    command = [sys.executable, "-m", "tests.benchmarks.ingestion.stage", stage, json.dumps(order)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "layers/shared/python")}
    ran = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True, text=True
    )
    answer: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return answer


def stages(cluster: Cluster, url: str, size: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """The stages of a source of so many documents, and what each took."""
    order = {"provider": "slack", "do": "fill", "with": {"channel": CHANNEL, "count": size}}
    requests.post(f"{url}/control", json=order, timeout=60).raise_for_status()
    with cluster.as_login("app"):
        workspace_id = found_workspace("benchmark").workspace_id
    with tempfile.TemporaryDirectory() as folder:
        source = {
            "folder": folder,
            "workspace_id": workspace_id,
            "source_id": str(uuid4()),
            "config": {"base_url": f"{url}/slack/api", "channels": [CHANNEL]},
            "trigger": "manual",
            "sweep": True,
        }
        database = {
            "environment": {
                "DATABASE_NAME": cluster.name,
                "DATABASE_SECRET_ARN": "arn:chatbot-test-database-worker",
            },
            "database": {"port": cluster.server.port, "secrets": cluster.secrets.values},
        }
        yield "read", measure("connector", source | {"job_id": "1", "expected": "changed"})
        yield "embed", measure("embed", source | database)
        yield "read again", measure("connector", source | {"job_id": "2", "expected": "unchanged"})


def main() -> None:
    print("documents  stage       seconds  ms each  ratio  processor ms each  ratio  peak MB")
    first: dict[str, tuple[float, float]] = {}
    with running_server() as server, provider() as url:
        new_cluster = cluster_maker(server)
        for size in SIZES:
            cluster = new_cluster()
            cluster.migrate("up")
            for stage, measured in stages(cluster, url, size):
                if measured["documents"] != size:
                    raise SystemExit(f"{measured['documents']} documents were met, not {size}")
                wall, work = (measured[name] * 1000 / size for name in ("seconds", "processor"))
                walls, works = first.setdefault(stage, (wall, work))
                print(
                    f"{size:9}  {stage:10} {measured['seconds']:8.1f} {wall:8.2f}"
                    f" {wall / walls:6.2f} {work:18.2f} {work / works:6.2f}"
                    f" {measured['megabytes']:8.0f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
