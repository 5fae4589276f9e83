"""PostgreSQL through the RDS Data API, one ExecuteStatement a call.

The Data API returns rows of at most 64 KB and 1 MiB in all (Aurora user guide, "Limitations for the
Amazon RDS Data API"). Every answer is one JSON value; `app.pieces` cuts it into rows that fit and
`execute` joins them, and lists are cut to size by `app.page`.

Statements are literals, values travel in `params` only: row-level security stops a forgotten WHERE,
not SQL injection. tests/unit/test_statements_are_literals.py holds this.
"""

import json
import random
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal, Protocol, TypedDict

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
)

from chatbot import aws, log
from chatbot.errors import (
    Conflict,
    Forbidden,
    NotFound,
    PreconditionFailed,
    Problem,
    ServiceUnavailable,
    Unauthorized,
    ValidationFailed,
)
from chatbot.settings import settings

RETRY_AFTER = 5
# The statement did not run, or was rolled back whole: run it again.
_NOT_RUN = {
    "DatabaseResumingException",
    "ThrottlingException",
    "40001",  # serialization failure
    "40P01",  # deadlock
    "28P01",  # the login's password is being changed, which the Data API sees a moment later
    "53300",  # too many connections
    "57P01",  # the server is shut down
    "57P03",  # it cannot take connections yet
    "08001",  # nor could the Data API reach it
    "08004",
}
# The connection broke with the answer unknown: run again only what may run twice.
_UNKNOWN = {
    "DatabaseUnavailableException",
    "InternalServerErrorException",
    "ServiceUnavailableError",
    "StatementTimeoutException",
    "08000",
    "08003",
    "08006",
    "57014",  # cancelled by a time-out
}
_PROBLEMS: dict[str, type[Problem]] = {
    "CB403": Forbidden,
    "CB404": NotFound,
    "CB409": Conflict,
    "CB412": PreconditionFailed,
    "CB422": ValidationFailed,
    "23503": Conflict,  # still referred to, or what it refers to has gone
    "23505": Conflict,  # not unique
}
_STATE = re.compile(r"SQLState: ([0-9A-Z]{5})\W*$")
_MESSAGE = re.compile(r"^(?:ERROR: )?(.*?)(?:\n|; SQLState: |$)")


class Caller(Protocol):
    """Who makes a call: the user of a token and the version that the token was made with."""

    @property
    def user_id(self) -> str: ...
    @property
    def token_version(self) -> int: ...


class Idempotency(TypedDict):
    """An Idempotency-Key on a route, and the body that it came with, both as digests.

    `app.query` adds the user and the workspace to the scope.
    """

    key: str
    route: str
    body_hash: str


class StatementFailed(Exception):
    """An error of a statement. Its text is the SQLSTATE, or the Data API's error code.

    Where it reaches a handler it is a bug of ours. `message` may hold values: it is for `migrate`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code)
        self.code = code
        self.message = message


def query(
    caller: Caller,
    statement: str,
    params: Mapping[str, Any] | None = None,
    *,
    workspace_id: str | None = None,
    permission: str | None = None,
    administrator: Literal["allowed", "required"] | None = None,
    if_match: Sequence[str] | None = None,
    idempotency: Idempotency | None = None,
) -> Any:
    """Check the caller, then run `statement` under row-level security, in one round trip.

    The statement returns one jsonb column of one row; `$1` in it is `params` as jsonb. Without
    `workspace_id` the call is about the caller's own account; without `permission` any member may
    make it. `administrator="allowed"` lets platform administrators pass, members or not;
    `"required"` asks for one. `if_match` are versions of which one must match, None for any. With
    `idempotency` a repetition gets the first answer.

    Returns the JSON value, or None where the statement found nothing. A statement that begins with
    SELECT must not write: after a broken connection it may run twice.
    Raises `Unauthorized`, `NotFound` (no member, or the workspace is not there), `Forbidden`,
    `Conflict`, `PreconditionFailed`, `ValidationFailed`, `ServiceUnavailable`, `StatementFailed`.
    """
    options: dict[str, Any] = {"request_id": log.request_id()}
    if administrator is not None:
        options["administrator"] = administrator
    if if_match is not None:
        options["if_match"] = list(if_match)
    if idempotency is not None:
        options["idempotency"] = idempotency
    return _run(
        "SELECT app.pieces(app.query(:user_id::uuid, :token_version::int, :workspace_id::uuid,"
        " :permission, :statement, :params::jsonb, :options::jsonb))",
        {
            "user_id": caller.user_id,
            "token_version": caller.token_version,
            "workspace_id": workspace_id,
            "permission": permission,
            "statement": statement,
            "params": params or {},
            "options": options,
        },
        idempotency is not None or statement.lstrip().startswith("SELECT"),
    )


def call(function: str, params: Mapping[str, Any], *, repeatable: bool = False) -> Any:
    """Call a function of the schema `app` that takes one jsonb and returns one, say "app.register".

    The id of the request goes along. `repeatable` says that the function may run twice.
    Returns the JSON value or None. Raises as `query` does.
    """
    return _run(
        f"SELECT app.pieces({function}(:params::jsonb))",
        {"params": {**params, "request_id": log.request_id()}},
        repeatable,
    )


def system(
    workspace_id: str,
    statement: str,
    params: Mapping[str, Any] | None = None,
    *,
    transaction: str | None = None,
) -> Any:
    """Run `statement` for no user, pinned to one workspace; only the worker's login may.

    Statement, answer and errors are those of `query`. Within a `transaction` nothing is repeated:
    an error has ended it.
    """
    return _run(
        "SELECT app.pieces(app.system(:workspace_id::uuid, :statement, :params::jsonb,"
        " :request_id))",
        {
            "workspace_id": workspace_id,
            "statement": statement,
            "params": params or {},
            "request_id": log.request_id(),
        },
        statement.lstrip().startswith("SELECT"),
        transaction,
    )


@contextmanager
def transaction() -> Iterator[str]:
    """A transaction for several calls of `system`: its id. Rolled back where the body raises.

    For what is too large for one call (4 MiB); all else is one statement.
    """
    client = aws.client("rds-data")
    target = {
        "resourceArn": settings().database_cluster_arn,
        "secretArn": settings().database_secret_arn,
    }
    begun: str = client.begin_transaction(**target, database=settings().database_name)[
        "transactionId"
    ]
    try:
        yield begun
    except BaseException:
        # A statement that failed has ended it already.
        with suppress(ClientError):
            client.rollback_transaction(**target, transactionId=begun)
        raise
    client.commit_transaction(**target, transactionId=begun)


def _run(
    sql: str, params: Mapping[str, Any], repeatable: bool, transaction: str | None = None
) -> Any:
    try:
        return execute(sql, params, repeatable=repeatable, transaction=transaction)
    except StatementFailed as failure:
        raise _problem(failure) from None


def execute(
    sql: str,
    params: Mapping[str, Any] | None = None,
    *,
    secret_arn: str | None = None,
    repeatable: bool = False,
    transaction: str | None = None,
) -> Any:
    """Execute one statement as the login of a secret, by default the function's own.

    Returns the JSON value that the rows' first column spells when joined, None without rows or with
    NULL. While the database wakes or is away, the statement is tried again until
    `database_wait_seconds` have passed; `repeatable` says that it may even run twice.
    Raises `ServiceUnavailable`, `StatementFailed`.
    """
    request: dict[str, Any] = {
        "resourceArn": settings().database_cluster_arn,
        "secretArn": secret_arn or settings().database_secret_arn,
        "database": settings().database_name,
        "sql": sql,
        "parameters": [_parameter(name, value) for name, value in (params or {}).items()],
        "continueAfterTimeout": False,
    }
    if transaction is not None:
        request["transactionId"] = transaction
    rows = _patiently(request, repeatable).get("records", [])
    text = "".join(row[0].get("stringValue", "") for row in rows if row)
    return json.loads(text) if text else None


def _parameter(name: str, value: Any) -> dict[str, Any]:
    if value is None:
        return {"name": name, "value": {"isNull": True}}
    if isinstance(value, int):
        return {"name": name, "value": {"longValue": value}}
    text = value if isinstance(value, str) else json.dumps(value)
    return {"name": name, "value": {"stringValue": text}}


def _patiently(request: Mapping[str, Any], repeatable: bool) -> dict[str, Any]:
    deadline = time.monotonic() + settings().database_wait_seconds
    pause = 0.25
    while True:
        try:
            answer: dict[str, Any] = aws.client("rds-data").execute_statement(**request)
            return answer
        except (EndpointConnectionError, ConnectTimeoutError):
            if "transactionId" in request:
                raise _away() from None
            # Nothing was sent.
        except BotoCoreError as error:
            if not repeatable or "transactionId" in request:
                raise _away() from error
        except ClientError as error:
            failure = _failure(error)
            if failure.code not in _NOT_RUN | _UNKNOWN:
                raise failure from None
            if "transactionId" in request or (failure.code in _UNKNOWN and not repeatable):
                raise _away() from None
        # Jitter, so that the callers of a waking database do not come back all at once.
        delay = pause * random.SystemRandom().uniform(0.5, 1.5)
        if time.monotonic() + delay >= deadline:
            raise _away()
        time.sleep(delay)
        pause = min(pause * 2, 2)


def _away() -> ServiceUnavailable:
    return ServiceUnavailable("The database is not available yet.", retry_after=RETRY_AFTER)


def _failure(error: ClientError) -> StatementFailed:
    details = error.response["Error"]
    message = details.get("Message", "")
    state = _STATE.search(message)
    return StatementFailed(state[1] if state else details["Code"], message)


def _problem(failure: StatementFailed) -> Exception:
    code = failure.code
    if code == "CB401":
        return Unauthorized()
    if code in _PROBLEMS:
        # Our own messages are for clients; PostgreSQL's tell of tables and values.
        ours = _MESSAGE.match(failure.message) if code.startswith("CB") else None
        return _PROBLEMS[code](ours[1] if ours else None)
    # Data exceptions (NUL bytes, lone surrogates, out of range), check constraints, rows too large
    # for an index: input that validation let through.
    if code.startswith("22") or code in {"23514", "54000"}:
        return ValidationFailed("A value cannot be stored.")
    return failure
