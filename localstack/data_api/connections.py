"""PostgreSQL sessions, kept open per login and database.

Signing in costs 26 to 78 ms (SCRAM), a statement on an open session about 1 ms. A session is
checked for a hang-up before it is lent out, so a restarted server costs no failed statement.
"""

import select
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pg8000.core import CoreConnection
from pg8000.exceptions import DatabaseError, InterfaceError

from localstack.data_api.errors import DataApiError

STATEMENT_SECONDS = 45
# What PostgreSQL says while it starts, stops or recovers: the cluster is coming up.
_RESUMING = {"57P03", "57P01", "57P02"}
_TIMED_OUT = "57014"
_MULTIPLE_COMMANDS = "cannot insert multiple commands into a prepared statement"


class Login(NamedTuple):
    user: str
    password: str
    database: str


class Lost(Exception):
    """The session broke while a statement ran: nobody knows whether it took effect."""


def resuming() -> DataApiError:
    """A server that does not answer looks like Aurora waking from zero capacity."""
    return DataApiError(
        "DatabaseResumingException",
        "The Aurora DB instance is resuming after being auto-paused. "
        "Please wait a few seconds and try again.",
    )


def database_error(error: DatabaseError) -> DataApiError:
    """PostgreSQL's error as the Data API words it: `ERROR: …; SQLState: 23505`."""
    details = error.args[0]
    state, message = details.get("C", ""), details.get("M", "")
    if state == _TIMED_OUT and "statement timeout" in message:
        return DataApiError(
            "StatementTimeoutException", "Request timed out: the statement ran for 45 seconds."
        )
    if message == _MULTIPLE_COMMANDS:
        return DataApiError("ValidationException", "Multistatements aren't supported.")
    return DataApiError(
        "DatabaseErrorException", f"{details.get('S', 'ERROR')}: {message}; SQLState: {state}"
    )


@dataclass
class Result:
    """Rows in text format, columns as pg8000 describes them, and the rows that were changed."""

    columns: list[dict[str, Any]]
    rows: list[list[str | None]]
    updated: int


class _TextConnection(CoreConnection):  # type: ignore[misc]  # pg8000 has no types
    """A session that leaves every value as PostgreSQL's text."""

    command: bytes = b""

    def handle_COMMAND_COMPLETE(self, data: bytes, context: Any) -> None:  # noqa: N802
        super().handle_COMMAND_COMPLETE(data, context)
        self.command = bytes(data).split(b"\x00")[0].split(b" ")[0]


class Session:
    """One PostgreSQL session: `run`, and what the pool needs to know of it."""

    def __init__(self, login: Login, host: str, port: int) -> None:
        try:
            self._connection = _TextConnection(
                login.user,
                host=host,
                port=port,
                database=login.database,
                password=login.password,
                timeout=STATEMENT_SECONDS + 30,
                application_name="data-api",
                startup_params={
                    "statement_timeout": str(STATEMENT_SECONDS * 1000),
                    "TimeZone": "UTC",
                    "DateStyle": "ISO, MDY",
                    "bytea_output": "hex",
                },
            )
        except InterfaceError as error:
            raise resuming() from error
        except DatabaseError as error:
            if error.args[0].get("C") in _RESUMING:
                raise resuming() from error
            raise database_error(error) from error
        self._connection.pg_types.clear()
        self.login = login

    def run(
        self, sql: str, values: list[str | None] | None = None, oids: list[int] | None = None
    ) -> Result:
        """Execute one statement. Raises `DataApiError`, or `Lost` if the session broke."""
        try:
            context = self._connection.execute_unnamed(sql, values or [], oids or [])
        except DatabaseError as error:
            if error.args[0].get("C") in _RESUMING:
                raise Lost from error
            raise database_error(error) from error
        except (InterfaceError, OSError) as error:
            raise Lost from error
        updated = 0 if self._connection.command == b"SELECT" else max(context.row_count, 0)
        return Result(context.columns or [], context.rows or [], updated)

    def is_alive(self) -> bool:
        """Whether the idle session is still there: a readable one was hung up on."""
        poll = select.poll()
        poll.register(self._connection._usock, select.POLLIN)
        return not poll.poll(0)

    def is_idle(self) -> bool:
        """Whether no transaction is open."""
        return bytes(self._connection._transaction_status) == b"I"

    def close(self) -> None:
        try:
            self._connection.close()
        except (InterfaceError, OSError):
            return


@dataclass
class Pool:
    """At most `limit` sessions to one server; `idle` ones are lent again, newest first."""

    host: str
    port: int
    limit: int = 120
    _idle: dict[Login, list[Session]] = field(default_factory=lambda: defaultdict(list))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _places: threading.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._places = threading.Semaphore(self.limit)

    def take(self, login: Login) -> Session:
        """A session of this login, an idle one if there is any. Raises `DataApiError`."""
        while True:
            with self._lock:
                session = self._idle[login].pop() if self._idle[login] else None
            if session is None:
                break
            if session.is_alive():
                return session
            self.drop(session)
        if not self._places.acquire(blocking=False):
            self._close_an_idle_one()
            if not self._places.acquire(timeout=STATEMENT_SECONDS):
                raise DataApiError("DatabaseUnavailableException", "Too many connections.")
        try:
            return Session(login, self.host, self.port)
        except BaseException:
            self._places.release()
            raise

    def give_back(self, session: Session) -> None:
        """Keep a session for the next caller, unless it is in the middle of something."""
        if not session.is_idle():
            self.drop(session)
            return
        with self._lock:
            self._idle[session.login].append(session)

    def drop(self, session: Session) -> None:
        """Close a session and free its place."""
        session.close()
        self._places.release()

    def forget(self, user: str) -> None:
        """Close the idle sessions of a login, whose password was changed."""
        with self._lock:
            stale = [s for login, kept in self._idle.items() if login.user == user for s in kept]
            for login in [login for login in self._idle if login.user == user]:
                del self._idle[login]
        for session in stale:
            self.drop(session)

    def _close_an_idle_one(self) -> None:
        with self._lock:
            kept = next((kept for kept in self._idle.values() if kept), None)
            session = kept.pop(0) if kept else None
        if session is not None:
            self.drop(session)

    @contextmanager
    def lend(self, login: Login) -> Iterator[Session]:
        """A session for one statement outside transactions; it is committed by itself."""
        session = self.take(login)
        try:
            yield session
        except DataApiError:
            self.give_back(session)
            raise
        except BaseException:
            self.drop(session)
            raise
        self.give_back(session)
