"""The tool `knowledge_search`, on a fake search."""

from typing import Any

import pytest

from chatbot import embeddings
from chatbot.errors import RetryLater, ServiceUnavailable
from chatbot.tool_calls import Principal
from functions.tool_knowledge_search import handler
from tests.unit.conftest import FakeDatabase
from tests.unit.tools.conftest import OURS, call


@pytest.fixture(autouse=True)
def embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedding of a text is its length."""
    monkeypatch.setattr(embeddings, "embed", lambda texts: [[float(len(text))] for text in texts])


def test_passages_come_with_title_and_address(database: FakeDatabase) -> None:
    passage = {"document_id": "1", "title": "T", "url": "https://e.org", "content": "C", "score": 1}
    database.answers = [[passage]]
    found = handler.run(call("knowledge_search", query="keys", count=7))
    assert found == [{"title": "T", "url": "https://e.org", "text": "C"}]
    assert database.asked == [
        {
            "caller": Principal("user-1", 3, OURS),
            "statement": handler.FIND,
            "params": {
                "chatbot_id": "chatbot-1",
                "search": {"text": "keys", "embedding": [4.0], "top_k": 7},
            },
            "workspace_id": OURS,
        }
    ]


@pytest.mark.parametrize("answer", [None, []])
def test_nothing_found_is_no_failure(answer: Any, database: FakeDatabase) -> None:
    database.answers = [answer]
    found = handler.run(call("knowledge_search", query="keys"))
    assert found == "Nothing in the workspace's documents fits."
    assert database.asked[0]["params"]["search"]["top_k"] == handler.COUNT


def test_machine_tries_again_when_the_database_is_away(database: FakeDatabase) -> None:
    database.answers = [ServiceUnavailable(retry_after=5)]
    with pytest.raises(RetryLater):
        handler.run(call("knowledge_search", query="keys"))
