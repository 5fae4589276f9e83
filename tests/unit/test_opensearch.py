"""The client of OpenSearch Serverless: what it sends, tries again, takes for an answer."""

import hashlib
import json
import time
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from chatbot import opensearch
from chatbot.errors import ServiceUnavailable
from chatbot.opensearch import RequestRefused
from tests.unit.conftest import fresh_settings

PLACE = {"document_id": "0190dddd-0000-7000-8000-00000000000d", "version": 7, "number": 0}
ASKED = {"text": "trains", "embedding": [0.5], "top_k": 5}


def answer(*hits: dict[str, Any], status: int = 200, **more: Any) -> Any:
    body = {"timed_out": False, "_shards": {"failed": 0}, "hits": {"hits": hits}, **more}
    return SimpleNamespace(status_code=status, content=json.dumps(body).encode())


class Collection:
    """Answers or raises what it is given, the last one for ever; keeps the requests."""

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes, self.requests = list(outcomes), list[Any]()

    def send(self, request: Any) -> Any:
        self.requests.append(request)
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(request.body) for request in self.requests]


@pytest.fixture
def collection(environment: pytest.MonkeyPatch) -> Collection:
    environment.setenv("OPENSEARCH_ENDPOINT", "https://id.eu-west-1.aoss.amazonaws.com")
    fresh_settings()
    made = Collection(answer())
    environment.setattr(opensearch, "_http", lambda _: made)
    environment.setattr(time, "sleep", lambda _: None)
    return made


def test_requests_are_signed_for_the_service_with_the_digest_of_the_body(
    collection: Collection,
) -> None:
    opensearch.ask("POST", "chunks/_search", "{}")
    [request] = collection.requests
    assert request.url == "https://id.eu-west-1.aoss.amazonaws.com/chunks/_search"
    authorization = request.headers["Authorization"]
    assert "/eu-west-1/aoss/aws4_request" in authorization
    assert "x-amz-content-sha256" in authorization
    assert request.headers["X-Amz-Content-SHA256"] == hashlib.sha256(b"{}").hexdigest()


def test_both_searches_are_of_the_workspace_and_the_sources(collection: Collection) -> None:
    opensearch.hits("ours", {**ASKED, "source_ids": ["s"]})
    mine = [{"term": {"workspace_id": "ours"}}, {"terms": {"source_id": ["s"]}}]
    [near] = [body["query"]["knn"] for body in collection.bodies if "knn" in body["query"]]
    [words] = [body["query"]["bool"] for body in collection.bodies if "bool" in body["query"]]
    assert near["embedding"]["filter"]["bool"]["filter"] == words["filter"] == mine
    collection.requests.clear()
    opensearch.hits("ours", {**ASKED, "source_ids": None})
    assert all('"source_id"' not in json.dumps(body) for body in collection.bodies)


def test_words_count_beside_those_of_the_best(collection: Collection) -> None:
    def send(request: Any) -> Any:
        if "knn" in json.loads(request.body)["query"]:
            return answer({"_source": PLACE, "_score": 1.9})
        other = PLACE | {"number": 1}
        return answer({"_source": other, "_score": 8.0}, {"_source": PLACE, "_score": 2.0})

    collection.send = send  # type: ignore[method-assign]
    found = opensearch.hits("ours", ASKED)
    assert [(hit["number"], hit["words"]) for hit in found["hits"]] == [(0, 0), (1, 1), (0, 0.25)]


def test_place_is_left_out_when_it_can_be_none(collection: Collection) -> None:
    collection.outcomes = [answer({"_source": PLACE | {"document_id": "'"}, "_score": 1.0})]
    assert opensearch.hits("ours", ASKED) == {"hits": []}


def test_long_question_has_no_more_words_than_a_query_may(collection: Collection) -> None:
    opensearch.hits("ours", {**ASKED, "text": "w " * 3_000 + "the end"})
    [words] = [b["query"]["bool"]["must"] for b in collection.bodies if "bool" in b["query"]]
    text = words["match"]["content"]
    assert text.endswith("the end")
    assert len(text) == 1_000


GONE = ReadTimeoutError(endpoint_url="https://id.eu-west-1.aoss.amazonaws.com")
AWAY = [answer(status=403), answer(status=429), answer(status=503), GONE]


@pytest.mark.parametrize(
    "outcome", [*AWAY, answer(timed_out=True), answer(_shards={"failed": 1})], ids=repr
)
def test_search_is_tried_twice_when_the_collection_is_away(
    outcome: Any, collection: Collection
) -> None:
    collection.outcomes = [outcome, answer({"_id": "1"})]
    assert opensearch.search({}) == [{"_id": "1"}]
    collection.outcomes = [outcome]
    with pytest.raises(ServiceUnavailable):
        opensearch.search({})
    assert len(collection.requests) == 4


@pytest.mark.parametrize("outcome", [*AWAY, answer(errors=True)], ids=repr)
def test_write_is_tried_once_and_done_whole(outcome: Any, collection: Collection) -> None:
    collection.outcomes = [outcome]
    with pytest.raises(ServiceUnavailable):
        opensearch.write([{"index": {}}])
    assert len(collection.requests) == 1


def test_refusal_says_its_kind_and_nothing_of_what_was_asked(collection: Collection) -> None:
    error = {"type": "parsing_exception", "reason": "trains"}
    collection.outcomes = [answer(status=400, error=error)]
    with pytest.raises(RequestRefused, match=r"^400 parsing_exception$"):
        opensearch.search({})
    assert len(collection.requests) == 1


def test_nothing_is_asked_where_there_is_no_collection(
    collection: Collection, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("OPENSEARCH_ENDPOINT", "")
    fresh_settings()
    assert opensearch.hits("ours", ASKED) == {}
    assert collection.requests == []
