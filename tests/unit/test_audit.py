"""Denials are told to the audit trail once; the statements run in tests/integration/database."""

from typing import Any

import pytest

from chatbot.errors import Forbidden, NotFound
from functions.chatbots.handler import handler
from tests.unit.conftest import FakeDatabase
from tests.unit.rest import ALICE, WORKSPACE_A, event, send

BOT = "0190cccc-0000-7000-8000-00000000000c"
PATH = f"/api/v1/workspaces/{WORKSPACE_A}/chatbots"


@pytest.fixture(autouse=True)
def stores(cloud: None, database: FakeDatabase) -> None:
    """Counters in DynamoDB, answers from the fake database."""


@pytest.mark.parametrize(
    ("method", "path", "resource_id"),
    [("GET", PATH, WORKSPACE_A), ("DELETE", f"{PATH}/{BOT.upper()}", BOT.upper())],
)
def test_denial_is_told_once(
    method: str, path: str, resource_id: str, database: FakeDatabase
) -> None:
    database.answers = [Forbidden("no")]
    assert send(handler, event(method, path)).status == 403
    [told] = database.audited
    assert (told["caller"], told["workspace_id"]) == (ALICE, WORKSPACE_A)
    assert (told["params"]["action"], told["params"]["resource_id"]) == ("denied", resource_id)
    assert len(database.asked) == 1


@pytest.mark.parametrize("answer", [NotFound("no"), {"items": [], "more": False}, ValueError("x")])
def test_other_answers_are_not_told(answer: Any, database: FakeDatabase) -> None:
    database.answers = [answer]
    send(handler, event("GET", PATH))
    assert database.audited == []
