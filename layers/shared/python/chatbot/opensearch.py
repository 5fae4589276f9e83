"""The chunks in OpenSearch Serverless, where the environment has it (`opensearch_endpoint`).

PostgreSQL stays the authority: what is found here are places where a passage may be, and
`app.confirm` answers with those that PostgreSQL holds itself, in that version, for that caller.

What a collection for vectors does not do (OpenSearch Service developer guide, "Supported operations
and plugins in Amazon OpenSearch Serverless", "Choosing a collection type"): it takes no ids of
ours, neither updates nor deletes by query, and shows what was written about a minute later.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any
from uuid import UUID

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError
from botocore.httpsession import URLLib3Session

from chatbot.aws import session
from chatbot.errors import ServiceUnavailable
from chatbot.settings import settings

INDEX = "chunks"
CANDIDATES = 100  # of each of the two searches
TRIES = 2  # of a search; what writes is tried again by its caller
# Each term of a query is a clause, and a query has at most 1,024.
MAX_CHARACTERS = 1_000
_READ_SECONDS, _WRITE_SECONDS = 4, 30
_PLACE = ["document_id", "version", "number"]


class RequestRefused(Exception):
    """OpenSearch did not take a request: a bug of ours. The text says status and kind, no more."""

    def __init__(self, status: int, kind: str) -> None:
        super().__init__(f"{status} {kind}")
        self.kind = kind


def is_on() -> bool:
    """Whether the environment has a collection."""
    return settings().opensearch_endpoint != ""


def hits(workspace_id: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What `app.find` takes beside `asked`: nothing where there is no collection, else `hits`,
    where passages may be: [{document_id, version, number, words: 0..1}].

    `words` is how well the words fit, beside the best of all. Raises `ServiceUnavailable`.
    """
    if not is_on():
        return {}
    mine: list[dict[str, Any]] = [{"term": {"workspace_id": workspace_id}}]
    if asked.get("source_ids") is not None:
        mine.append({"terms": {"source_id": asked["source_ids"]}})
    nearest = {"vector": asked["embedding"], "k": CANDIDATES, "filter": {"bool": {"filter": mine}}}
    text = {"content": asked["text"][-MAX_CHARACTERS:]}
    with ThreadPoolExecutor(2) as pool:
        near, matching = pool.map(
            lambda query: search({"query": query, "size": CANDIDATES, "_source": _PLACE}),
            [
                {"knn": {"embedding": nearest}},
                {"bool": {"must": {"match": text}, "filter": mine}},
            ],
        )
    most = max((hit["_score"] for hit in matching), default=1)
    scored = [(hit, 0.0) for hit in near] + [(hit, hit["_score"] / most) for hit in matching]
    places = [{**hit["_source"], "words": words} for hit, words in scored if _is_place(hit)]
    return {"hits": places}


def _is_place(hit: Mapping[str, Any]) -> bool:
    """Whether PostgreSQL can look there: numbers are what the mapping lets in, ids are any text."""
    try:
        UUID(hit["_source"]["document_id"])
    except ValueError:
        return False
    return True


def search(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The hits of one search. Raises `ServiceUnavailable`, `RequestRefused`."""
    for _ in range(TRIES - 1):
        try:
            return _hits(body)
        except ServiceUnavailable:
            time.sleep(0.2)
    return _hits(body)


def _hits(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    answer = ask("POST", f"{INDEX}/_search", json.dumps(body), _READ_SECONDS)
    if answer["timed_out"] or answer["_shards"]["failed"]:
        raise _away()
    found: list[dict[str, Any]] = answer["hits"]["hits"]
    return found


def write(lines: Sequence[Mapping[str, Any]]) -> None:
    """Do what the lines of a bulk request say. Raises `ServiceUnavailable` unless all was done."""
    body = "".join(f"{json.dumps(line)}\n" for line in lines)
    if ask("POST", f"{INDEX}/_bulk", body, _WRITE_SECONDS)["errors"]:
        raise _away()


def ask(method: str, path: str, body: str, seconds: int = _WRITE_SECONDS) -> Any:
    """What the collection answers to a signed request of JSON, or of a line of it each.

    Raises `ServiceUnavailable`, also for a 403, as policies and credentials take effect late, and
    `RequestRefused`.
    """
    data = body.encode()
    request = AWSRequest(
        method,
        f"{settings().opensearch_endpoint}/{path}",
        {
            "Content-Type": "application/json",
            "X-Amz-Content-SHA256": hashlib.sha256(data).hexdigest(),
        },
        data,
    )
    credentials: Any = session().get_credentials()  # a function has some
    region = session().get_config_variable("region")
    SigV4Auth(credentials.get_frozen_credentials(), "aoss", region).add_auth(request)
    try:
        response = _http(seconds).send(request.prepare())
        status, answer = response.status_code, response.content
    except BotoCoreError as error:
        raise _away() from error
    if status in (403, 429) or status >= 500:
        raise _away()
    parsed = json.loads(answer)
    if status >= 400:
        raise RequestRefused(status, parsed["error"]["type"])
    return parsed


@cache
def _http(seconds: int) -> URLLib3Session:
    pair: Any = (2, seconds)  # to connect, to read; the stubs know but one number
    return URLLib3Session(timeout=pair)


def _away() -> ServiceUnavailable:
    return ServiceUnavailable("The search is not available now.", retry_after=5)
