"""A PostgreSQL 16 of the tests' own, and AWS clients that lead to it."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from localstack.data_api.connections import Login, Pool
from localstack.data_api.errors import DataApiError
from localstack.data_api.service import Backend
from localstack.layout import clean_environment
from localstack.postgres import ADMIN, Postgres, binary, user

MASTER = "chatbot_master"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@dataclass
class Server:
    """A running server; `sql` runs a statement as any login, the superuser by default."""

    pool: Pool
    passwords: dict[str, str]
    port: int

    def sql(self, statement: str, *, user: str = ADMIN, database: str = "postgres") -> list[Any]:
        login = Login(user, self.passwords[user], database)
        with self.pool.lend(login) as session:
            return session.run(statement).rows


@contextmanager
def running_server(**settings: str) -> Iterator[Server]:
    """Start a server on a free port with a master user as Aurora's: no superuser, makes roles."""
    with _folder() as folder, _serving(folder, settings) as server:
        server.passwords[MASTER] = secrets.token_hex(16)
        server.sql(f"CREATE ROLE {MASTER} LOGIN CREATEROLE PASSWORD '{server.passwords[MASTER]}'")
        yield server


@contextmanager
def restored_server(copy: Path, source: Server, log: Path, moment: str) -> Iterator[Server]:
    """Start a server on a copy, brought by the archived log to what the source was at a moment."""
    with _folder() as folder:
        copy.rename(folder / "postgres")
        (folder / "postgres/recovery.signal").touch()
        (folder / f"{ADMIN}.password").write_text(source.passwords[ADMIN], encoding="utf-8")
        settings = {
            "restore_command": f"cp {log}/%f %p",
            "recovery_target_time": moment,
            "recovery_target_action": "promote",
            "hot_standby": "off",  # nobody is let in before
        }
        with _serving(folder, settings) as server:
            server.passwords[MASTER] = source.passwords[MASTER]
            yield server


def copy_data(server: Server, folder: Path) -> None:
    """Copy a running server's data into a folder that is not there, without its log."""
    command = [
        *(str(binary("pg_basebackup")), "-h", "127.0.0.1", "-p", str(server.port), "-U", ADMIN),
        *("-D", str(folder), "-X", "none", "-c", "fast", "--no-sync"),
    ]
    environment = {**clean_environment(), "PGPASSWORD": server.passwords[ADMIN]}
    subprocess.run(command, env=environment, check=True, capture_output=True)
    if (owner := user()) is not None:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, owner, owner)


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="chatbot-postgres-"))
    folder.chmod(0o711)  # the server may run as another user
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def _serving(folder: Path, settings: Mapping[str, str]) -> Iterator[Server]:
    postgres = Postgres(folder, _free_port(), settings)
    try:
        postgres.start()
        yield Server(
            Pool("127.0.0.1", postgres.port, limit=80),
            {ADMIN: postgres.password_file.read_text()},
            postgres.port,
        )
    finally:
        postgres.stop()


class _NoValue(Exception):
    """Secrets Manager's ResourceNotFoundException."""


class Secrets:
    """A Secrets Manager whose secrets exist, as Terraform made them, each with a first value."""

    class exceptions:  # noqa: N801 - botocore's name
        ResourceNotFoundException = _NoValue

    def __init__(self, logins: Sequence[str]) -> None:
        self.values = {
            f"arn:chatbot-test-database-{login}": json.dumps(
                {"username": f"chatbot_{login}", "password": secrets.token_hex(64)}
            )
            for login in logins
        }
        self.pending: dict[tuple[str, str], str] = {}

    def describe_secret(self, SecretId: str) -> dict[str, Any]:  # noqa: N803
        arn = f"arn:{SecretId.removeprefix('arn:')}"
        return {"ARN": arn, "VersionIdsToStages": {"first": ["AWSCURRENT"]}}

    def get_secret_value(
        self, SecretId: str, VersionId: str | None = None, VersionStage: str = "AWSCURRENT"  # noqa: N803
    ) -> dict[str, str]:  # fmt: skip
        if VersionStage == "AWSCURRENT":
            return {"SecretString": self.values[SecretId]}
        try:
            return {"SecretString": self.pending[SecretId, str(VersionId)]}
        except KeyError:
            raise _NoValue(SecretId) from None

    def put_secret_value(
        self, SecretId: str, SecretString: str, ClientRequestToken: str, VersionStages: list[str]  # noqa: N803
    ) -> None:  # fmt: skip
        assert VersionStages == ["AWSPENDING"]
        self.pending[SecretId, ClientRequestToken] = SecretString

    def update_secret_version_stage(
        self, SecretId: str, VersionStage: str, MoveToVersionId: str, RemoveFromVersionId: str  # noqa: N803
    ) -> None:  # fmt: skip
        assert (VersionStage, RemoveFromVersionId) == ("AWSCURRENT", "first")
        self.values[SecretId] = self.pending.pop((SecretId, MoveToVersionId))


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
        return self._call("/Execute", request)

    def begin_transaction(self, **request: Any) -> Mapping[str, Any]:
        return self._call("/BeginTransaction", request)

    def commit_transaction(self, **request: Any) -> Mapping[str, Any]:
        return self._call("/CommitTransaction", request)

    def rollback_transaction(self, **request: Any) -> Mapping[str, Any]:
        return self._call("/RollbackTransaction", request)

    def _call(self, path: str, request: dict[str, Any]) -> Mapping[str, Any]:
        self.calls += 1
        secret = json.loads(self.secrets.values[request["secretArn"]])
        login = Login(secret["username"], secret["password"], request.get("database", ""))
        try:
            # Through JSON, as a request and an answer go.
            answer: dict[str, Any] = json.loads(
                json.dumps(self.backend.answer(path, json.loads(json.dumps(request)), login))
            )
        except DataApiError as error:
            details = {"Error": {"Code": error.code, "Message": error.message}}
            raise ClientError(details, path) from None  # type: ignore[arg-type]
        return answer
