"""The stand-in for a collection of OpenSearch Serverless, held against what AWS documents.

OpenSearch Service developer guide: "Supported operations and plugins in Amazon OpenSearch
Serverless", "Choosing a collection type" (no ids of one's own in a collection for vectors),
"Signing HTTP requests with other clients" (`x-amz-content-sha256`, service `aoss`); OpenSearch:
"k-NN vector".
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from localstack.opensearch.collection import DELAY_SECONDS, Collection
from tests.integration.opensearch import Clock, serving

KEY = "the other half"
VECTOR = {"type": "knn_vector", "dimension": 2, "method": {"name": "hnsw", "engine": "faiss"}}


def mapping(space: str = "innerproduct", engine: str = "faiss") -> dict[str, Any]:
    method = {"name": "hnsw", "engine": engine, "space_type": space}
    fields = {"place": {"type": "keyword"}, "text": {"type": "text"}, "number": {"type": "long"}}
    return {
        "mappings": {
            "dynamic": "strict",
            "properties": {**fields, "v": VECTOR | {"method": method}},
        }
    }


@dataclass
class Client:
    """Signs requests, well unless it is told otherwise."""

    url: str
    clock: Clock

    def send(
        self, method: str, path: str, body: Any = None, *, service: str = "aoss",
        key: str = KEY, digest: str | None = None,
    ) -> requests.Response:  # fmt: skip
        lines = [body] if isinstance(body, dict) else body or []
        data = "".join(f"{json.dumps(line)}\n" for line in lines).encode()
        request: Any = AWSRequest(method, f"{self.url}/{path}", data=data)
        if digest != "":
            request.headers["X-Amz-Content-SHA256"] = digest or hashlib.sha256(data).hexdigest()
        SigV4Auth(Credentials("id", key), service, "us-east-1").add_auth(request)
        return requests.request(
            method, request.url, data=data, headers=dict(request.headers), timeout=5
        )

    def index(self, *entries: dict[str, Any], target: dict[str, Any] | None = None) -> Any:
        lines = [line for entry in entries for line in ({"index": target or {}}, entry)]
        return self.send("POST", "things/_bulk", lines).json()

    def search(self, query: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
        body = {"query": query, "_source": ["number"], **more}
        found: list[dict[str, Any]] = self.send("POST", "things/_search", body).json()["hits"][
            "hits"
        ]
        return found

    def numbers(self, query: dict[str, Any], **more: Any) -> list[int]:
        return [hit["_source"]["number"] for hit in self.search(query, **more)]


@pytest.fixture
def client() -> Iterator[Client]:
    clock = Clock()
    with serving(Collection(clock=clock), KEY) as url:
        made = Client(url, clock)
        assert made.send("PUT", "things", mapping()).status_code == 200
        yield made


def entry(number: int, text: str = "a train", place: str = "a", **v: Any) -> dict[str, Any]:
    return {"number": number, "text": text, "place": place, "v": v.get("v", [1.0, 0.0])}


@pytest.mark.parametrize(
    "wrong", [{"service": "es"}, {"key": "x"}, {"digest": ""}, {"digest": "0"}]
)
def test_request_is_refused_when_it_is_not_signed_well(client: Client, wrong: Any) -> None:
    answer = client.send("POST", "things/_search", {"query": {"term": {"place": "a"}}}, **wrong)
    assert (answer.status_code, answer.json()["error"]["type"]) == (403, "Forbidden")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "things/_refresh"),
        ("POST", "things/_delete_by_query"),
        ("POST", "things/_update_by_query"),
        ("GET", "_cluster"),
    ],
)
def test_operation_is_not_there(client: Client, method: str, path: str) -> None:
    assert client.send(method, path, {}).status_code == 404


def test_ids_are_the_collections_own(client: Client) -> None:
    answer = client.index(entry(1), target={"_id": "mine"})
    assert answer["errors"]
    [item] = answer["items"]
    reason = "Document ID is not supported in create/index operation request"
    assert (item["index"]["status"], item["index"]["error"]["reason"]) == (400, reason)
    assert client.send("POST", "things/_bulk?refresh=true", [{"index": {}}, {}]).status_code == 400


def test_what_was_written_and_deleted_shows_later(client: Client) -> None:
    everything = {"term": {"place": "a"}}
    made = client.index(entry(1))["items"][0]["index"]["_id"]
    assert client.search(everything) == []
    client.clock.seconds += DELAY_SECONDS
    assert [hit["_id"] for hit in client.search(everything)] == [made]
    for result in ("deleted", "not_found"):
        answer = client.send("POST", "things/_bulk", [{"delete": {"_id": made}}]).json()
        assert (answer["errors"], answer["items"][0]["delete"]["result"]) == (False, result)
    assert len(client.search(everything)) == 1
    client.clock.seconds += DELAY_SECONDS
    assert client.search(everything) == []


def test_nearest_are_those_that_the_filter_lets_through(client: Client) -> None:
    places = [
        (1, "a", [1.0, 0.0]),
        (2, "b", [1.0, 0.0]),
        (3, "a", [0.6, 0.8]),
        (4, "a", [0.0, -1.0]),
    ]
    client.index(*(entry(number, place=place, v=v) for number, place, v in places))
    client.clock.seconds += DELAY_SECONDS
    asked = {"vector": [1.0, 0.0], "k": 2, "filter": {"term": {"place": "a"}}}
    assert [hit["_score"] for hit in client.search({"knn": {"v": asked}})] == [2.0, 1.6]
    assert client.numbers({"knn": {"v": asked}}) == [1, 3]


def test_words_are_ranked_and_pages_go_on(client: Client) -> None:
    client.index(entry(1, "a train"), entry(2, "a plane"), entry(3, "trains, trains, a plane"))
    client.clock.seconds += DELAY_SECONDS
    query = {"bool": {"must": {"match": {"text": "train"}}, "filter": [{"term": {"place": "a"}}]}}
    assert client.numbers(query) == [3, 1]
    everything, order = {"range": {"number": {"gte": 1}}}, [{"number": "asc"}]
    assert client.numbers(everything, sort=order, size=2) == [1, 2]
    assert client.numbers(everything, sort=order, size=2, search_after=[2]) == [3]
    many = " ".join(f"word{number}" for number in range(2000))
    answer = client.send("POST", "things/_search", {"query": {"match": {"text": many}}})
    assert answer.status_code == 400


@pytest.mark.parametrize("wrong", [{"v": [1.0]}, {"number": "one"}, {"text": 1}, {"more": 1}])
def test_entry_is_refused_when_it_does_not_fit_the_mapping(client: Client, wrong: Any) -> None:
    answer = client.index(entry(1) | wrong)
    assert answer["errors"]
    assert answer["items"][0]["index"]["status"] == 400


def test_index_is_made_once_and_of_spaces_that_there_are(client: Client) -> None:
    again = client.send("PUT", "things", mapping())
    assert again.json()["error"]["type"] == "resource_already_exists_exception"
    assert client.send("PUT", "other", mapping("cosinesimil")).status_code == 400
    assert client.send("PUT", "other", mapping("cosinesimil", "nmslib")).status_code == 200
    assert client.send("POST", "nothing/_search", {"query": {}}).status_code == 404
