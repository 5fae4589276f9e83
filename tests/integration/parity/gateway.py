"""A gateway on a free port for the parity tests, without Terraform."""

import http.client
import io
import os
import shutil
import socket
import subprocess
import textwrap
import time
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

ROOT = Path(__file__).parents[3]
MINISTACK_PYTHON = ROOT / ".local/ministack/bin/python"
LAMBDA_PYTHON = ROOT / ".local/lambda/bin/python"
ROLE = "arn:aws:iam::000000000000:role/parity"
OPENSEARCH_URL = "http://127.0.0.1:9/opensearch"  # where nobody listens


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until[T](look: Callable[[], T], seconds: float = 20) -> T:
    """What `look` returns as soon as it is true, or what it returned last."""
    end = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def workers(function: str) -> list[int]:
    """The processes of a function's workers."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if f"ministack-lambda-{function}-".encode() in command:
                found.append(int(entry.name))
    return found


class Server:
    """A gateway of its own process group, with its clients and what tests make there."""

    def __init__(self, module: list[str], directory: Path, environment: dict[str, str]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.directory = directory
        temporary = directory / "tmp"
        temporary.mkdir(parents=True)
        self._log = (directory / "server.log").open("wb")
        self.process = subprocess.Popen(
            [MINISTACK_PYTHON, *module],
            cwd=ROOT,
            env={
                "PATH": os.environ["PATH"],
                "GATEWAY_PORT": str(self.port),
                "LAMBDA_PYTHON": str(LAMBDA_PYTHON),
                "TMPDIR": str(temporary),
                "AWS_DEFAULT_REGION": "us-east-1",
                "IOT_MTLS_ENABLED": "0",
                "SFTP_ENABLED": "0",
                # Nobody listens there: what needs a database has tests of its own.
                "POSTGRES_PORT": "9",
                "POSTGRES_PASSWORD_FILE": os.devnull,
                "OPENSEARCH_URL": OPENSEARCH_URL,
                **environment,
            },
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        if not wait_until(self._answers, 30):
            self.stop()
            raise RuntimeError(f"the server did not start: {(directory / 'server.log')}")

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            return False
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1)
        try:
            connection.request("GET", "/_ministack/health")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def stop(self) -> None:
        """End the process and remove what it wrote, except the log."""
        if self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()
        shutil.rmtree(self.directory / "tmp", ignore_errors=True)

    def client(self, service: str, endpoint: str | None = None, **options: Any) -> Any:
        """A boto3 client of this server that tries once."""
        return boto3.client(
            service,
            endpoint_url=endpoint or self.url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"max_attempts": 0}, read_timeout=60, **options),
        )

    def function(self, source: str, **options: Any) -> str:
        """Make a function of this source with a `handler`, and return its name."""
        name = f"parity-{uuid.uuid4().hex[:8]}"
        self.client("lambda").create_function(
            **{
                "FunctionName": name,
                "Runtime": "python3.12",
                "Handler": "functions.probe.handler.handler",
                "Role": ROLE,
                "Timeout": 10,
                "Code": {
                    "ZipFile": archive({"functions/probe/handler.py": textwrap.dedent(source)})
                },
                **options,
            }
        )
        return name

    def lines(self, function: str) -> list[str]:
        """The function's log so far."""
        logs = self.client("logs")
        try:
            events = logs.filter_log_events(logGroupName=f"/aws/lambda/{function}")["events"]
        except logs.exceptions.ResourceNotFoundException:
            return []
        return [event["message"] for event in events]


def archive(files: dict[str, str]) -> bytes:
    """A zip of these files: path to text."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as written:
        for path, text in files.items():
            written.writestr(path, text)
    return buffer.getvalue()
