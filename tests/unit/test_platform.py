import pytest

from chatbot.errors import ServiceUnavailable
from functions.platform.handler import handler
from tests.unit.conftest import FakeDatabase
from tests.unit.rest import Answer, event, send

IDENTITY = {"version": "1.2.3", "environment": "test"}


def get(path: str) -> Answer:
    return send(handler, event("GET", path, caller=None))


@pytest.mark.parametrize("path", ["/health", "/health/live"])
def test_health_is_told_without_asking_a_store(path: str, database: FakeDatabase) -> None:
    answer = get(path)  # DynamoDB would need a socket
    assert (answer.status, answer.json) == (200, {"status": "ok", **IDENTITY})
    assert database.asked == []


def test_ready_when_both_stores_answer(cloud: None, database: FakeDatabase) -> None:
    database.answers = [True]
    answer = get("/health/ready")
    assert answer.status == 200
    checks = {"postgresql": "ok", "dynamodb": "ok"}
    assert answer.json == {"status": "ok", **IDENTITY, "checks": checks}


def test_not_ready_when_postgresql_is_away(cloud: None, database: FakeDatabase) -> None:
    database.answers = [ServiceUnavailable(retry_after=5)]
    answer = get("/health/ready")
    assert answer.status == 503
    checks = {"postgresql": "failed", "dynamodb": "ok"}
    assert answer.json == {"status": "failed", **IDENTITY, "checks": checks}


def test_not_ready_when_dynamodb_is_away(
    cloud: None, database: FakeDatabase, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("GUARDS_TABLE", "missing")
    database.answers = [True]
    answer = get("/health/ready")
    assert answer.status == 503
    assert answer.json["checks"] == {"postgresql": "ok", "dynamodb": "failed"}


def test_every_other_path_is_a_problem_404() -> None:
    for path in ("/", "/api/v1", "/api/v1/unknown", "/healthy", "/health/../health"):
        answer = get(path)
        assert answer.status == 404
        assert answer.headers["Content-Type"] == "application/problem+json"
