"""The Data API's operations on one PostgreSQL server, free of MiniStack.

`Backend.answer` runs in a thread of its own, so that slow statements hold up nobody else.
"""

import json
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from localstack.data_api import fields
from localstack.data_api.connections import (
    STATEMENT_SECONDS,
    Login,
    Lost,
    Pool,
    Result,
    Session,
)
from localstack.data_api.errors import DataApiError
from localstack.data_api.statements import number_parameters

RESPONSE_BYTES = 1024 * 1024
ROW_BYTES = 64 * 1024
REQUEST_BYTES = 4 * 1024 * 1024
JSON_BYTES = 10 * 1024 * 1024
TRANSACTION_IDLE_SECONDS = 180
TRANSACTION_SECONDS = 24 * 3600
PATHS = (
    "/Execute",
    "/BatchExecute",
    "/BeginTransaction",
    "/CommitTransaction",
    "/RollbackTransaction",
)
Answer = dict[str, Any]


@dataclass
class Transaction:
    """An open transaction; `busy` holds while one of its statements runs."""

    session: Session
    resource_arn: str
    started: float
    used: float
    busy: threading.Lock = field(default_factory=threading.Lock)


@dataclass
class Backend:
    """`clock` gives seconds that never go back; transactions are measured by it."""

    pool: Pool
    clock: Callable[[], float] = time.monotonic
    _transactions: dict[str, Transaction] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str, request: Mapping[str, Any], login: Login) -> Answer:
        """The response body of one operation. Raises `DataApiError`."""
        self.expire_transactions()
        operation = {
            "/Execute": self._execute,
            "/BatchExecute": self._batch_execute,
            "/BeginTransaction": self._begin,
            "/CommitTransaction": self._commit,
            "/RollbackTransaction": self._rollback,
        }[path]
        try:
            return operation(request, login)
        except Lost as error:
            raise DataApiError(
                "DatabaseUnavailableException", "The connection to the database was lost."
            ) from error

    def expire_transactions(self) -> None:
        """Roll back what was not used for three minutes, or is older than a day."""
        now = self.clock()
        with self._lock:
            expired = [
                identifier
                for identifier, transaction in self._transactions.items()
                if not transaction.busy.locked()
                and (
                    now - transaction.used > TRANSACTION_IDLE_SECONDS
                    or now - transaction.started > TRANSACTION_SECONDS
                )
            ]
            gone = [self._transactions.pop(identifier) for identifier in expired]
        for transaction in gone:
            self.pool.drop(transaction.session)

    def _begin(self, request: Mapping[str, Any], login: Login) -> Answer:
        session = self.pool.take(login)
        try:
            session.run("BEGIN")
        except BaseException:
            self.pool.drop(session)
            raise
        identifier = f"{uuid.uuid4().hex}{uuid.uuid4().hex}"
        now = self.clock()
        with self._lock:
            self._transactions[identifier] = Transaction(
                session, request["resourceArn"], started=now, used=now
            )
        return {"transactionId": identifier}

    def _commit(self, request: Mapping[str, Any], _login: Login) -> Answer:
        return self._end(request, "COMMIT", "Transaction Committed")

    def _rollback(self, request: Mapping[str, Any], _login: Login) -> Answer:
        return self._end(request, "ROLLBACK", "Rollback Complete")

    def _end(self, request: Mapping[str, Any], command: str, status: str) -> Answer:
        identifier = str(request.get("transactionId"))
        transaction = self._occupy(identifier, request["resourceArn"])
        try:
            transaction.session.run(command)
        except BaseException:
            self.pool.drop(transaction.session)
            raise
        else:
            self.pool.give_back(transaction.session)
        finally:
            with self._lock:
                self._transactions.pop(identifier, None)
            transaction.busy.release()
        return {"transactionStatus": status}

    def _occupy(self, identifier: str, resource_arn: str) -> Transaction:
        """Take a transaction for one statement; the caller releases `busy`."""
        with self._lock:
            transaction = self._transactions.get(identifier)
            if transaction is None or transaction.resource_arn != resource_arn:
                raise DataApiError(
                    "TransactionNotFoundException", f"Transaction {identifier} is not found."
                )
            if not transaction.busy.acquire(blocking=False):
                raise DataApiError(
                    "DatabaseErrorException", "Transaction is still running a query."
                )
            return transaction

    def _in_transaction(
        self, request: Mapping[str, Any], work: Callable[[Session], Answer]
    ) -> Answer:
        """A statement that fails aborts its transaction, which is then not found."""
        identifier = request["transactionId"]
        transaction = self._occupy(identifier, request["resourceArn"])
        try:
            answer = work(transaction.session)
            transaction.used = self.clock()
        except BaseException:
            with self._lock:
                self._transactions.pop(identifier, None)
            self.pool.drop(transaction.session)
            raise
        finally:
            transaction.busy.release()
        return answer

    def _with_session(
        self, request: Mapping[str, Any], login: Login, work: Callable[[Session], Answer]
    ) -> Answer:
        if request.get("transactionId"):
            return self._in_transaction(request, work)
        with self.pool.lend(login) as session:
            if not request.get("continueAfterTimeout"):
                return work(session)
            session.run("SET statement_timeout = 0")
            try:
                return work(session)
            finally:
                session.run(f"SET statement_timeout = {STATEMENT_SECONDS * 1000}")

    def _execute(self, request: Mapping[str, Any], login: Login) -> Answer:
        parameters = _parameters(request.get("parameters"))
        sql, order = number_parameters(_sql(request), parameters)
        typed = [fields.to_parameter(parameters[name]) for name in order]

        def work(session: Session) -> Answer:
            result = session.run(sql, [text for _, text in typed], [oid for oid, _ in typed])
            return _response(result, request)

        return self._with_session(request, login, work)

    def _batch_execute(self, request: Mapping[str, Any], login: Login) -> Answer:
        """All sets run in one transaction: the request's own, or one for the call."""
        sets = [_parameters(one) for one in request.get("parameterSets") or [[]]]
        prepared = []
        for parameters in sets:
            sql, order = number_parameters(_sql(request), parameters)
            prepared.append((sql, [fields.to_parameter(parameters[name]) for name in order]))

        def work(session: Session) -> Answer:
            own = not request.get("transactionId")
            if own:
                session.run("BEGIN")
            try:
                for sql, typed in prepared:
                    session.run(sql, [text for _, text in typed], [oid for oid, _ in typed])
            except DataApiError:
                if own:
                    session.run("ROLLBACK")
                raise
            if own:
                session.run("COMMIT")
            return {"updateResults": [{"generatedFields": []} for _ in prepared]}

        return self._with_session(request, login, work)


def _sql(request: Mapping[str, Any]) -> str:
    sql = request.get("sql")
    if not isinstance(sql, str) or not sql.strip():
        raise DataApiError("ValidationException", "sql must not be empty.")
    if request.get("schema"):
        raise DataApiError("ValidationException", "The schema parameter isn't supported.")
    return sql


def _parameters(given: Any) -> dict[str, Mapping[str, Any]]:
    parameters: dict[str, Mapping[str, Any]] = {}
    for parameter in given or []:
        name = parameter.get("name")
        if not name:
            raise DataApiError("ValidationException", "A parameter needs a name.")
        parameters[name] = parameter
    return parameters


def _response(result: Result, request: Mapping[str, Any]) -> Answer:
    if any(fields.size(row) > ROW_BYTES for row in result.rows):
        raise DataApiError(
            "UnsupportedResultException", "The result contains a row of more than 64 KB."
        )
    if sum(fields.size(row) for row in result.rows) > RESPONSE_BYTES:
        raise DataApiError(
            "UnsupportedResultException", "Database response exceeded size limit of 1 MiB."
        )
    options = request.get("resultSetOptions") or {}
    oids = [column["type_oid"] for column in result.columns]
    records = [
        [fields.to_field(text, oid, options) for text, oid in zip(row, oids, strict=True)]
        for row in result.rows
    ]
    answer: Answer = {"numberOfRecordsUpdated": result.updated, "generatedFields": []}
    if request.get("formatRecordsAs") == "JSON":
        answer["formattedRecords"] = _formatted(result, records)
        return answer
    if result.columns:
        answer["records"] = records
    if request.get("includeResultMetadata"):
        answer["columnMetadata"] = [fields.metadata(column) for column in result.columns]
    return answer


def _formatted(result: Result, records: list[list[dict[str, Any]]]) -> str:
    names = [column["name"] for column in result.columns]
    if len(set(names)) != len(names):
        raise DataApiError(
            "UnsupportedResultException", "The result contains duplicate column names."
        )
    text = json.dumps(
        [
            {name: fields.to_json_value(value) for name, value in zip(names, record, strict=True)}
            for record in records
        ],
        separators=(",", ":"),
        ensure_ascii=False,
    )
    if len(text.encode()) > JSON_BYTES:
        raise DataApiError("UnsupportedResultException", "formattedRecords exceeds 10 MB.")
    return text
