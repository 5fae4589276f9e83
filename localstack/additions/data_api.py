"""The RDS Data API on MiniStack's port, over the stack's PostgreSQL.

MiniStack's own needs Docker; without it every statement is "Unsupported SQL in RDS Data API stub
mode". This one checks the cluster's ARN and its HTTP endpoint, reads the secret from MiniStack's
Secrets Manager and signs in as the user in it, so that roles and row-level security are real.

The cluster's master user exists in PostgreSQL from its first use on, with the password of the
cluster's secret and the rights of Aurora's `rds_superuser`: it may make roles and databases, and
is no superuser.

A cluster needs no instance here: each takes the provider half a minute to wait for.

Environment: `POSTGRES_PORT`, and `POSTGRES_PASSWORD_FILE` with the password of `rdsadmin`.
"""

import asyncio
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ministack import app
from ministack.core.responses import error_response_json, json_response
from ministack.services import rds, rds_data, secretsmanager

from localstack.additions.seam import PINNED, SeamMissing, replace, require
from localstack.data_api.connections import STATEMENT_SECONDS, Login, Pool
from localstack.data_api.errors import DataApiError
from localstack.data_api.service import PATHS, REQUEST_BYTES, Answer, Backend

_HOST = "127.0.0.1"
_ADMIN = "rdsadmin"
_TEXT = 25  # the type's oid
_threads = ThreadPoolExecutor(max_workers=160, thread_name_prefix="data-api")


class _Cluster:
    """What one request needs to know of its cluster, read on the event loop."""

    def __init__(self, request: dict[str, Any]) -> None:
        cluster = rds._resolve_cluster(request["resourceArn"])
        if cluster is None or not cluster.get("HttpEndpointEnabled"):
            raise DataApiError(
                "HttpEndpointNotEnabledException",
                f"HttpEndpoint is not enabled for cluster {request['resourceArn']}.",
            )
        secret = self._secret(request["secretArn"])
        self.database = request.get("database") or cluster.get("DatabaseName") or "postgres"
        self.login = Login(secret["username"], secret["password"], self.database)
        self.cluster_database = cluster.get("DatabaseName")
        self.is_master = self.login.user == cluster["MasterUsername"] and (
            request["secretArn"] == (cluster.get("MasterUserSecret") or {}).get("SecretArn")
            or self.login.password == cluster.get("_MasterUserPassword")
        )

    @staticmethod
    def _secret(arn: str) -> dict[str, str]:
        text = secretsmanager.resolve_secret_string(arn)
        if text is None:
            raise DataApiError(
                "SecretsErrorException", f"The secret {arn} wasn't found or has no value."
            )
        try:
            secret = json.loads(text)
            return {"username": secret["username"], "password": secret["password"]}
        except (ValueError, KeyError, TypeError) as error:
            raise DataApiError(
                "InvalidSecretException", "The secret needs a username and a password."
            ) from error


class DataApi:
    """The five operations for MiniStack's dispatcher."""

    def __init__(self, port: int, password_file: Path) -> None:
        self._pool = Pool(_HOST, port)
        self._backend = Backend(self._pool)
        self._password_file = password_file
        self._masters: set[Login] = set()

    async def handle_request(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes,
        query_params: dict[str, Any],
    ) -> tuple[int, dict[str, str], bytes]:
        """MiniStack's signature of a service: status, headers and body."""
        del method, headers, query_params
        try:
            answer = await self._answer(path, body)
        except DataApiError as error:
            response: tuple[int, dict[str, str], bytes] = error_response_json(
                error.code, error.message, error.status
            )
            return response
        found: tuple[int, dict[str, str], bytes] = json_response(
            answer, content_type="application/json"
        )
        return found

    async def _answer(self, path: str, body: bytes) -> Answer:
        if len(body) > REQUEST_BYTES:
            raise DataApiError("ValidationException", "The request is larger than 4 MiB.")
        try:
            request = json.loads(body)
        except ValueError as error:
            raise DataApiError("ValidationException", "The body is no JSON object.") from error
        for name in ("resourceArn", "secretArn"):
            if not isinstance(request, dict) or not isinstance(request.get(name), str):
                raise DataApiError("ValidationException", f"{name} is required.")
        cluster = _Cluster(request)
        work = asyncio.get_running_loop().run_in_executor(
            _threads, self._in_thread, path, request, cluster
        )
        try:
            # PostgreSQL ends the statement itself; this is for `continueAfterTimeout`.
            return await asyncio.wait_for(asyncio.shield(work), STATEMENT_SECONDS + 1)
        except TimeoutError as error:
            raise DataApiError(
                "StatementTimeoutException", "Request timed out after 45 seconds."
            ) from error

    def _in_thread(self, path: str, request: dict[str, Any], cluster: _Cluster) -> Answer:
        if cluster.is_master and cluster.login not in self._masters:
            self._provide_master(cluster)
        return self._backend.answer(path, request, cluster.login)

    def _provide_master(self, cluster: _Cluster) -> None:
        """Make the master user and the cluster's first database, or give it the new password."""
        user, password, _ = cluster.login
        admin = Login(_ADMIN, self._password_file.read_text(encoding="utf-8").strip(), "postgres")
        with self._pool.lend(admin) as session:
            exists = session.run("SELECT 1 FROM pg_roles WHERE rolname = $1", [user], [_TEXT]).rows
            role = f"{'ALTER' if exists else 'CREATE'} ROLE {_identifier(user)}"
            session.run(f"{role} LOGIN CREATEROLE CREATEDB PASSWORD {_literal(password)}")
            session.run(f"GRANT pg_monitor, pg_signal_backend TO {_identifier(user)}")
            name, find = cluster.cluster_database, "SELECT 1 FROM pg_database WHERE datname = $1"
            if name and not session.run(find, [name], [_TEXT]).rows:
                session.run(f"CREATE DATABASE {_identifier(name)} OWNER {_identifier(user)}")
        self._masters.add(cluster.login)
        self._pool.forget(user)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def install() -> None:
    """Put the Data API in place of MiniStack's. Fails if what it replaces has moved."""
    require(rds, "_resolve_cluster", "cluster_id")
    require(secretsmanager, "resolve_secret_string", "secret_id", "version_stage", "version_id")
    if set(PATHS) != set(app._RDS_DATA_PATHS) or "rds-data" not in app.SERVICE_HANDLERS:
        raise SeamMissing(f"MiniStack {PINNED} dispatches {', '.join(PATHS)} to rds-data.")
    port = int(os.environ.get("POSTGRES_PORT", "5432"))
    api = DataApi(port, Path(os.environ.get("POSTGRES_PASSWORD_FILE", os.devnull)))
    # Both ways lead here: the dispatcher by path, and the registry for calls by service name.
    replace(rds_data, "handle_request", api.handle_request)
    app.SERVICE_HANDLERS["rds-data"] = api.handle_request
