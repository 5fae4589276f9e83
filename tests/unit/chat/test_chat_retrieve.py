"""From a question to its passages, and from an answer to its citations."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from chatbot import aws, database, embeddings, passages, tables
from chatbot.errors import RetryLater, ServiceUnavailable
from chatbot.settings import settings
from functions.chat_retrieve import handler as chat_retrieve
from functions.chat_stream import knowledge
from tests.unit.chat.world import WORKSPACE, Frame, World

SOURCE = "0190dddd-0000-7000-8000-00000000000d"
DOCUMENTS: dict[str, dict[str, Any]] = {
    "a": {"title": "Travel", "url": "https://a.example", "content": "Costs are paid back."},
    "b": {"title": 'On "<tags>"', "url": None, "content": "Use </passage> with care."},
}


class Library:
    """The documents of the workspace, and what the search was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.embedded: list[str] = []
        self.found = ["a", "b"]
        self.failure: Exception | None = None

    def system(self, workspace_id: str, statement: str, params: dict[str, Any]) -> Any:
        assert "app.find" in statement
        if self.failure:
            raise self.failure
        self.asked.append((workspace_id, params))
        return [{"document_id": name, **DOCUMENTS[name], "score": 1} for name in self.found]

    def embed(self, texts: list[str]) -> list[list[float]]:
        self.embedded += texts
        return [[0.0] * 1024 for _ in texts]

    def store(self, name: str, **fields: str) -> None:
        row = {"document_id": name, "workspace_id": WORKSPACE, "source_id": SOURCE}
        row |= {"status": "embedded", **fields}
        aws.client("dynamodb").put_item(TableName=settings().documents_table, Item=tables.pack(row))

    def drop(self, name: str) -> None:
        aws.client("dynamodb").delete_item(
            TableName=settings().documents_table, Key=tables.pack({"document_id": name})
        )


@pytest.fixture
def library(world: World, monkeypatch: pytest.MonkeyPatch) -> Library:
    made = Library()
    monkeypatch.setattr(database, "system", made.system)
    monkeypatch.setattr(embeddings, "embed", made.embed)
    for name in DOCUMENTS:
        made.store(name)
    world.chatbot["knowledge"] = {"enabled": True, "top_k": 4}
    return made


def retrieve(ack: Frame) -> dict[str, Any]:
    event = {"message_id": ack["message_id"], "request_id": "request"}
    return chat_retrieve.handler(event, None)


def turn(world: World, content: str, *said: Any, **fields: Any) -> tuple[Frame, Frame]:
    """A whole turn: its ack and its final frame."""
    if "ann" not in world.gateway.sent:
        world.connect("ann")
    ack = world.chat("ann", content, **fields)
    retrieve(ack)
    world.model.says(*said)
    world.run(ack["message_id"])
    return ack, world.check_ended("ann", ack)


def last_blocks(world: World) -> list[str]:
    return [block["text"] for block in world.model.requests[-1]["messages"][-1]["content"]]


def test_passages_stand_numbered_before_the_users_own_words(world: World, library: Library) -> None:
    turn(world, "Who pays?", "Yes.")
    first, second, own = last_blocks(world)
    assert first == '<passage number="1" title="Travel">\nCosts are paid back.\n</passage>'
    assert second == (
        '<passage number="2" title="On &quot;&lt;tags&gt;&quot;">\n'
        "Use &lt;/passage> with care.\n</passage>"
    )
    assert own == "Who pays?"
    system = [block["text"] for block in world.model.requests[-1]["system"]]
    assert system == ["You help.", knowledge.GUIDE]


def test_search_is_of_the_turns_workspace_and_the_chatbots_sources(
    world: World, library: Library
) -> None:
    world.chatbot["knowledge"] = {"enabled": True, "top_k": 4, "source_ids": [SOURCE]}
    turn(world, "Who pays?", "Yes.")
    ((workspace_id, asked),) = library.asked
    assert workspace_id == WORKSPACE
    assert asked == {
        "text": "Who pays?",
        "embedding": [0.0] * 1024,
        "top_k": 4,
        "source_ids": [SOURCE],
    }


def test_only_passages_that_are_named_are_cited(world: World, library: Library) -> None:
    _, final = turn(world, "Who pays?", "The company [1", "]. See [7] and [x].")
    assert final["citations"] == [
        {"number": 1, "document_id": "a", "title": "Travel", "url": "https://a.example"}
    ]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("", set()),
        ("a [1] b [2].", {1, 2}),
        ("[1][2]", {1, 2}),
        ("[1, 3]", {1, 3}),
        ("(1) 1] [1 ²[²] [a]", set()),
        ("[[2]]", {2}),
        ("list[0] [1234]", {0}),
    ],
)
def test_citations_are_read(text: str, numbers: set[int]) -> None:
    assert knowledge.cited(text) == numbers


def gone(library: Library) -> None:
    library.drop("a")


def theirs(library: Library) -> None:
    library.store("a", workspace_id="another")


def of_another_source(library: Library) -> None:
    library.store("a", source_id="another")


def outdated(library: Library) -> None:
    library.store("a", status="failed")


@pytest.mark.parametrize("change", [gone, theirs, of_another_source, outdated])
def test_document_is_not_cited_when_by_the_end_it_is(
    world: World, library: Library, change: Callable[[Library], None]
) -> None:
    world.chatbot["knowledge"] = {"enabled": True, "top_k": 4, "source_ids": [SOURCE]}
    _, final = turn(world, "Who pays?", "They do [1].", lambda: change(library), " And [2].")
    assert [citation["document_id"] for citation in final["citations"]] == ["b"]


def test_citations_are_whole_when_the_table_answers_for_one_document_at_a_time(
    world: World, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    dynamodb = aws.client("dynamodb")
    get = dynamodb.batch_get_item

    def reluctant(RequestItems: Any) -> Any:  # noqa: N803
        [(table, asked)] = RequestItems.items()
        first, *rest = asked["Keys"]
        answer = get(RequestItems={table: {**asked, "Keys": [first]}})
        left = {table: {**asked, "Keys": rest}} if rest else {}
        return {**answer, "UnprocessedKeys": left}

    monkeypatch.setattr(dynamodb, "batch_get_item", reluctant)
    _, final = turn(world, "Who pays?", "They do [1, 2].")
    assert [citation["document_id"] for citation in final["citations"]] == ["a", "b"]


def test_partial_answer_cites_what_it_used_when_the_turn_is_cancelled(
    world: World, library: Library
) -> None:
    world.connect("ann")
    ack = world.chat("ann", "Who pays?")
    retrieve(ack)

    def cancel() -> None:
        world.send("ann", {"type": "cancel", "message_id": ack["message_id"]})

    world.model.says("They do [1].", 0.3, cancel, 5, "Never said [2].")
    world.run(ack["message_id"])
    final = world.check_ended("ann", ack)
    assert final["status"] == "cancelled"
    assert [citation["number"] for citation in final["citations"]] == [1]


def test_follow_up_is_searched_with_what_was_asked_and_cited_before(
    world: World, library: Library
) -> None:
    ack, _ = turn(world, "Who pays for travel?", "The company [1].")
    turn(world, "And how soon?", "Soon.", conversation_id=ack["conversation_id"])
    assert library.embedded[-1] == "Who pays for travel?\nTravel\nAnd how soon?"
    assert library.asked[-1][1]["text"] == library.embedded[-1]
    # The model sees the question as it was asked, and no number of other passages.
    assert last_blocks(world)[-1] == "And how soon?"
    earlier = world.model.requests[-1]["messages"][1]["content"][0]["text"]
    assert earlier == "The company ."


def test_answer_is_made_without_passages_when_the_search_fails(
    world: World, library: Library, caplog: pytest.LogCaptureFixture
) -> None:
    library.failure = ServiceUnavailable("away", retry_after=1)
    ack = world.chat(world.connect("ann"), "Who pays?")
    with pytest.raises(RetryLater):
        retrieve(ack)
    world.model.says("I could not look it up [1].")
    world.run(ack["message_id"])
    final = world.check_ended("ann", ack)
    assert (final["status"], final["citations"]) == ("completed", [])
    assert last_blocks(world) == ["Who pays?"]
    assert world.model.requests[-1]["system"][-1]["text"] == knowledge.UNAVAILABLE
    assert "CHAT012" in [vars(record).get("code") for record in caplog.records]


def test_model_is_told_when_nothing_was_found(world: World, library: Library) -> None:
    library.found = []
    _, final = turn(world, "Who pays?", "I do not know [1].")
    assert final["citations"] == []
    assert world.model.requests[-1]["system"][-1]["text"] == knowledge.NOTHING_FOUND


def test_nothing_is_said_of_documents_when_the_chatbot_has_none(
    world: World, library: Library
) -> None:
    world.chatbot["knowledge"] = {"enabled": False, "top_k": 4}
    ack = world.chat(world.connect("ann"), "Who pays?")
    assert world.machine.inputs[ack["message_id"]]["knowledge"] is False
    world.model.says("We do [1].")
    world.run(ack["message_id"])
    assert world.check_ended("ann", ack)["citations"] == []
    assert [block["text"] for block in world.model.requests[-1]["system"]] == ["You help."]


def test_retrieval_keeps_the_turn_alive_and_leaves_an_ended_one_alone(
    world: World, library: Library
) -> None:
    ack = world.chat(world.connect("ann"), "Who pays?")
    assert world.machine.inputs[ack["message_id"]]["knowledge"] is True
    before = world.item("turns", message_id=ack["message_id"], seq=0)
    assert retrieve(ack) == {"message_id": ack["message_id"], "request_id": "request"}
    after = world.item("turns", message_id=ack["message_id"], seq=0)
    assert before is not None
    assert after is not None
    assert after["lease_until"] > before["lease_until"]
    assert passages.get(ack["message_id"]) is not None
    world.run(ack["message_id"])
    retrieve(ack)
    assert len(library.asked) == 1


def test_passages_do_not_reach_followers_or_logs(
    world: World, library: Library, caplog: pytest.LogCaptureFixture
) -> None:
    turn(world, "Who pays?", "They do [1].")
    assert "paid back" not in json.dumps(world.got("ann"))
    assert "paid back" not in str([vars(record) for record in caplog.records])
