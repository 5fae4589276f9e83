"""The Data API's client: what it sends, joins, translates, waits out and never repeats."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    ReadTimeoutError,
)

from chatbot import aws, database, errors, log
from chatbot.database import StatementFailed

CALLER = SimpleNamespace(user_id="3f0c7c52-0000-4000-8000-000000000001", token_version=4)
RESUMING = ("DatabaseResumingException", "The Aurora DB instance is resuming.")


def _error(code: str, message: str = "") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "ExecuteStatement")


def _state(state: str, message: str = "boom") -> ClientError:
    return _error("DatabaseErrorException", f"ERROR: {message}; SQLState: {state}")


class Api:
    """Answers or raises what it is given, the last one for ever; keeps the requests."""

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = list(outcomes)
        self.requests: list[dict[str, Any]] = []

    def execute_statement(self, **request: Any) -> Any:
        self.requests.append(request)
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class Clock:
    """Time that passes by sleeping only."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def _rows(*texts: str) -> dict[str, Any]:
    return {"records": [[{"stringValue": text}] for text in texts]}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(database, "time", clock)
    monkeypatch.setattr(
        database,
        "settings",
        lambda: SimpleNamespace(
            database_cluster_arn="cluster",
            database_secret_arn="secret",
            database_name="chatbot",
            database_wait_seconds=25,
        ),
    )
    monkeypatch.setattr(log, "request_id", lambda: "request-1")
    return clock


def _api(monkeypatch: pytest.MonkeyPatch, *outcomes: Any) -> Api:
    api = Api(*outcomes)
    monkeypatch.setattr(aws, "client", {"rds-data": api}.__getitem__)
    return api


def _parameters(request: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: next(iter(one["value"].values())) for one in request["parameters"]}


def test_query_sends_caller_statement_and_options_in_one_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api = _api(monkeypatch, _rows('{"id"', ": 1}"))
    answer = database.query(
        CALLER,
        "SELECT 1",
        {"name": "é"},
        workspace_id="w",
        permission="chat:use",
        administrator="allowed",
        if_match=("3", "4"),
        idempotency={"key": "k", "route": "r", "body_hash": "h"},
    )
    assert answer == {"id": 1}
    (request,) = api.requests
    assert (request["resourceArn"], request["secretArn"], request["database"]) == (
        "cluster",
        "secret",
        "chatbot",
    )
    sent = _parameters(request)
    assert sent["user_id"] == CALLER.user_id
    assert sent["token_version"] == 4
    assert (sent["workspace_id"], sent["permission"], sent["statement"]) == (
        "w",
        "chat:use",
        "SELECT 1",
    )
    assert json.loads(sent["params"]) == {"name": "é"}
    assert json.loads(sent["options"]) == {
        "request_id": "request-1",
        "administrator": "allowed",
        "if_match": ["3", "4"],
        "idempotency": {"key": "k", "route": "r", "body_hash": "h"},
    }


def test_no_condition_is_told_from_one_that_never_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    api = _api(monkeypatch, _rows("1"))
    database.query(CALLER, "SELECT 1")
    database.query(CALLER, "SELECT 1", if_match=())
    without, never = (json.loads(_parameters(request)["options"]) for request in api.requests)
    assert "if_match" not in without
    assert never["if_match"] == []


@pytest.mark.parametrize("answer", [{"records": []}, {}, {"records": [[{"isNull": True}]]}])
def test_nothing_found_is_none(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]) -> None:
    _api(monkeypatch, answer)
    assert database.query(CALLER, "SELECT NULL") is None


def test_call_and_system_name_their_function_and_send_the_request_id(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api = _api(monkeypatch, _rows("true"))
    assert database.call("app.register", {"email": "e"}) is True
    assert database.system("w", "SELECT 1", {"a": 1}) is True
    called, pinned = api.requests
    assert called["sql"] == "SELECT app.pieces(app.register(:params::jsonb))"
    assert json.loads(_parameters(called)["params"]) == {"email": "e", "request_id": "request-1"}
    assert "app.system(" in pinned["sql"]
    assert _parameters(pinned)["workspace_id"] == "w"
    assert _parameters(pinned)["request_id"] == "request-1"


@pytest.mark.parametrize(
    ("state", "error"),
    [
        ("CB401", errors.Unauthorized),
        ("CB403", errors.Forbidden),
        ("CB404", errors.NotFound),
        ("CB409", errors.Conflict),
        ("CB412", errors.PreconditionFailed),
        ("CB422", errors.ValidationFailed),
        ("23505", errors.Conflict),
        ("23503", errors.Conflict),
        ("23514", errors.ValidationFailed),
        ("22P05", errors.ValidationFailed),
        ("22021", errors.ValidationFailed),
        ("22003", errors.ValidationFailed),
        ("54000", errors.ValidationFailed),
    ],
)
def test_a_sqlstate_becomes_a_problem(
    monkeypatch: pytest.MonkeyPatch, state: str, error: type[errors.Problem]
) -> None:
    secret = 'duplicate key "users_email"\n  Detail: Key (email)=(a@b.c) SQLState: CB404 exists.'
    api = _api(monkeypatch, _state(state, secret))
    with pytest.raises(error) as caught:
        database.query(CALLER, "SELECT 1")
    assert type(caught.value) is error
    assert "a@b.c" not in caught.value.detail
    assert len(api.requests) == 1


def test_only_our_own_messages_reach_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    _api(monkeypatch, _state("CB409", "The slug is taken."), _state("23505", "Key (slug)=(x)"))
    with pytest.raises(errors.Conflict, match=r"^The slug is taken\.$"):
        database.query(CALLER, "SELECT 1")
    with pytest.raises(errors.Conflict, match=r"^Conflict$"):
        database.query(CALLER, "SELECT 1")


@pytest.mark.parametrize("state", ["42501", "42P01", "23502", "P0001"])
def test_a_bug_is_named_by_its_sqlstate_only(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    _api(monkeypatch, _state(state, "permission denied for table users"))
    with pytest.raises(StatementFailed) as caught:
        database.query(CALLER, "SELECT 1")
    assert str(caught.value) == state
    assert caught.value.__suppress_context__


def test_a_waking_database_is_waited_for(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    api = _api(
        monkeypatch,
        *[_error(*RESUMING)] * 6,
        EndpointConnectionError(endpoint_url="x"),
        _state("57P03"),
        _state("40P01"),
        _rows("1"),
    )
    assert database.query(CALLER, "INSERT") == 1
    assert len(api.requests) == 10
    assert 0 < sum(clock.slept) < 25
    assert len({round(pause, 6) for pause in clock.slept}) == len(clock.slept)  # jitter


def test_a_database_that_stays_away_is_a_503_within_the_bound(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    _api(monkeypatch, _error(*RESUMING))
    with pytest.raises(errors.ServiceUnavailable) as caught:
        database.query(CALLER, "SELECT 1")
    assert caught.value.headers["Retry-After"] == "5"
    assert 20 < clock.now - 1000 <= 25


LOST = [
    _error("DatabaseUnavailableException", "The connection to the database was lost."),
    _error("InternalServerErrorException"),
    _state("08006"),
    ReadTimeoutError(endpoint_url="x"),
    ConnectionClosedError(endpoint_url="x"),
]


@pytest.mark.parametrize("lost", LOST, ids=lambda lost: type(lost).__name__)
def test_a_write_whose_answer_was_lost_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, lost: Exception
) -> None:
    api = _api(monkeypatch, lost, _rows("1"))
    attempts: list[Callable[[], Any]] = [
        lambda: database.query(CALLER, "INSERT INTO t"),
        lambda: database.call("app.register", {}),
        lambda: database.system("w", "DELETE FROM t"),
    ]
    for attempt in attempts:
        api.outcomes = [lost, _rows("1")]
        with pytest.raises(errors.ServiceUnavailable):
            attempt()
    assert len(api.requests) == 3


@pytest.mark.parametrize("lost", LOST, ids=lambda lost: type(lost).__name__)
def test_what_may_run_twice_is_repeated_when_its_answer_was_lost(
    monkeypatch: pytest.MonkeyPatch, lost: Exception
) -> None:
    api = _api(monkeypatch, lost)
    key = database.Idempotency(key="k", route="r", body_hash="h")
    attempts: list[Callable[[], Any]] = [
        lambda: database.query(CALLER, "\n  SELECT 1"),
        lambda: database.query(CALLER, "INSERT INTO t", idempotency=key),
        lambda: database.call("app.credentials", {}, repeatable=True),
    ]
    for attempt in attempts:
        api.outcomes = [lost, _rows("1")]
        assert attempt() == 1
    assert len(api.requests) == 6


def test_the_client_of_the_data_api_repeats_nothing_by_itself() -> None:
    config = aws.client.__wrapped__("rds-data").meta.config
    assert config.retries["total_max_attempts"] == 1
    assert config.read_timeout > 45
    assert aws.client.__wrapped__("sqs").meta.config.retries["total_max_attempts"] == 3
