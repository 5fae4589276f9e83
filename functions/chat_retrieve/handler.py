"""The state `RetrieveKnowledge`: finds the passages that an answer may be made from."""

import json
from itertools import islice
from typing import Any

from chatbot import conversations, database, embeddings, log, opensearch, passages, turns
from chatbot.errors import RetryLater, ServiceUnavailable
from chatbot.passages import Passage
from chatbot.turns import Head, Lost

# Of what was said before, so that "and how long does it take?" finds what it is about.
EARLIER_MESSAGES = 2
EARLIER_CHARACTERS = 500
QUERY_CHARACTERS = 8_000


def handler(event: dict[str, Any], _: Any) -> dict[str, Any]:
    """Take {message_id, request_id}, return them; the passages are stored with the turn.

    Raises `RetryLater`.
    """
    answer = {"message_id": event["message_id"], "request_id": event["request_id"]}
    log.bind(event["request_id"], message_id=event["message_id"])
    try:
        turn = turns.retrieve(event["message_id"])
    except Lost:
        return answer
    try:
        passages.put(turn.message_id, _found(turn))
    except ServiceUnavailable as error:
        raise RetryLater(str(error)) from None
    return answer


def _found(turn: Head) -> list[Passage]:
    knowledge = json.loads(turn.snapshot)["chatbot"]["knowledge"]
    text = _query(turn)
    (embedding,) = embeddings.embed([text])
    asked = {"text": text, "embedding": embedding, "top_k": knowledge["top_k"]}
    if knowledge.get("source_ids") is not None:
        asked["source_ids"] = knowledge["source_ids"]
    asked |= opensearch.hits(turn.workspace_id, asked)
    found = database.system(turn.workspace_id, FIND, asked)
    return [
        Passage(number, item["document_id"], item["title"], item["url"], item["content"])
        for number, item in enumerate(found, start=1)
    ]


def _query(turn: Head) -> str:
    """The question, after the question before it and the titles that its answer cited."""
    newest = conversations.messages_before(turn.conversation_id, turn.message_id)
    question, *earlier = islice(newest, 1 + EARLIER_MESSAGES)
    said = [
        " ".join(citation["title"] for citation in item["citations"])
        if item["role"] == "assistant"
        else item["content"]
        for item in reversed(earlier)
    ]
    parts = [*(text[:EARLIER_CHARACTERS] for text in said), question["content"]]
    return "\n".join(part for part in parts if part)[-QUERY_CHARACTERS:]


FIND = "SELECT app.find($1)"
