"""Documents found by OpenSearch and confirmed by PostgreSQL: the functions' own code, with two
tenants, on PostgreSQL, a stand-in for the collection that shows what was written a minute later,
and AWS as moto has it.
"""

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from chatbot import aws, conversations, database, documents, embeddings, opensearch, passages, turns
from chatbot.errors import RetryLater
from chatbot.principal import Principal
from chatbot.tool_calls import Call
from chatbot.tool_calls import Principal as ToolPrincipal
from functions.chat_retrieve import handler as chat_retrieve
from functions.documents.handler import handler as rest
from functions.embed import handler as embed
from functions.embed import index as chunks
from functions.embed import storage, vectors
from functions.migrate import index
from functions.purge import steps
from functions.tool_knowledge_search import handler as tool
from localstack.bedrock import embeddings as titan
from localstack.opensearch.collection import DELAY_SECONDS, Collection
from tests.integration.database.conftest import Cluster, Tenant, found_workspace
from tests.integration.database.test_tools import LIMIT, ask
from tests.integration.opensearch import Clock, serving
from tests.unit.conftest import cloud, environment, fresh_settings  # noqa: F401  the fixtures
from tests.unit.knowledge.conftest import Context, Titan, World, make_stores
from tests.unit.rest import Answer, event, send

SOURCES = [str(uuid.uuid4()), str(uuid.uuid4())]
TEXT = "The travel policy says that train costs are paid back within two weeks."
HOSTILE = "The travel policy says that train costs are never paid back, said the osprey."


@dataclass
class Library:
    """Two workspaces' documents, the collection, and the time that the collection goes by."""

    cluster: Cluster
    collection: Collection
    clock: Clock
    world: World
    ours: Tenant
    theirs: Tenant

    def put(self, text: str, tenant: Tenant | None = None, key: str = "1", source: int = 0) -> str:
        """A source's document, as a run stores it: its id."""
        place = (tenant or self.ours).workspace_id
        documents.put(place, SOURCES[source], key, "Travel", None, text, None, str(uuid.uuid4()))
        return documents.document_id(SOURCES[source], key)

    def embed(self) -> None:
        """What the stream tells of, as the function does it."""
        records = self.world.records()
        with self.cluster.as_login("worker"):
            assert self.world.embed(records) == []

    def settle(self) -> None:
        """What was written shows, and what was deleted does not."""
        self.clock.seconds += DELAY_SECONDS

    def call(self, action: str, **more: Any) -> dict[str, Any]:
        with self.cluster.as_login("worker"):
            return embed.handler({"action": action, **more}, Context())

    def request(self, method: str, path: str, body: Any = None, by: Tenant | None = None) -> Answer:
        caller = Principal((by or self.ours).owner.user_id, 1)
        path = f"/api/v1/workspaces/{self.ours.workspace_id}/{path}"
        with self.cluster.as_login("app"):
            return send(rest, event(method, path, body, caller=caller))

    def found(self, query: str = TEXT, **more: Any) -> list[str]:
        """The texts that a search of ours answers with."""
        answer = self.request("POST", "search", {"query": query, **more})
        assert answer.status == 200
        return [item["content"] for item in answer.json["items"]]

    def entries(self, document_id: str) -> list[dict[str, Any]]:
        """What the collection shows of a document."""
        body = {
            "query": {"term": {"document_id": document_id}},
            "_source": ["document_id", "version", "number", "workspace_id"],
            "size": 100,
        }
        hits = self.collection.search("chunks", body)["hits"]["hits"]
        return [hit["_source"] for hit in hits]

    def plant(self, content: str, **fields: Any) -> None:
        """An entry in the collection, as if it were ours."""
        entry = {
            "workspace_id": self.ours.workspace_id,
            "source_id": SOURCES[0],
            "version": 1,
            "number": 0,
            "indexed_at": 0,
            "content": content,
            "embedding": titan.embed(content, 1024, True),
        }
        lines: list[dict[str, Any]] = [{"index": {}}, entry | fields]
        assert not self.collection.bulk("chunks", iter(lines))["errors"]


@pytest.fixture
def library(
    cluster: Cluster,
    cloud: None,  # noqa: F811
    environment: pytest.MonkeyPatch,  # noqa: F811
) -> Iterator[Library]:
    clock = Clock()
    collection = Collection(clock=clock)
    credentials: Any = aws.session().get_credentials()
    with serving(collection, credentials.secret_key) as url:
        environment.setenv("OPENSEARCH_ENDPOINT", url)
        environment.setattr(cluster, "opensearch_endpoint", url)
        environment.setattr(embeddings, "_bedrock", Titan)
        environment.setattr(vectors, "now_ms", lambda: int((time.time() + clock.seconds) * 1000))
        fresh_settings()
        make_stores()
        index.provide()
        index.provide()  # again at every apply
        with cluster.as_login("app"):
            tenants = found_workspace("ours"), found_workspace("theirs")
        yield Library(cluster, collection, clock, World(Titan(), None), *tenants)  # type: ignore[arg-type]


def test_document_is_found_in_one_call_to_postgresql_once_it_shows(library: Library) -> None:
    library.put(TEXT)
    library.put(HOSTILE, library.theirs, key="2")
    library.embed()
    assert library.found() == []
    library.settle()
    calls = library.cluster.data_api.calls
    (item,) = library.request("POST", "search", {"query": TEXT}).json["items"]
    assert library.cluster.data_api.calls == calls + 1
    assert item.pop("score") > 0.5
    assert item == {
        "document_id": documents.document_id(SOURCES[0], "1"),
        "title": "Travel",
        "url": None,
        "content": TEXT,
    }


@pytest.mark.parametrize("query", ["osprey", HOSTILE, f"{TEXT} osprey"])
def test_nothing_of_another_workspace_is_found_whatever_the_collection_says(
    library: Library, query: str
) -> None:
    library.put(TEXT)
    foreign = library.put(HOSTILE, library.theirs, key="2")
    library.embed()
    theirs = documents.find(foreign)
    assert theirs is not None
    library.plant(HOSTILE, document_id=foreign, version=theirs["version"])
    library.settle()
    assert len(library.entries(foreign)) == 2
    assert library.found(query) == [TEXT]
    assert library.request("POST", "search", {"query": query}, by=library.theirs).status == 404


def test_only_what_postgresql_holds_is_found_whatever_the_collection_says(
    library: Library,
) -> None:
    known = library.put(TEXT)
    library.embed()
    row = documents.find(known)
    assert row is not None
    version = row["version"]
    library.plant(HOSTILE, document_id=known, version=version - 1)
    library.plant(HOSTILE, document_id=known, version=version + 1)
    library.plant(HOSTILE, document_id=known, version=version, number=7)
    library.plant(HOSTILE, document_id=str(uuid.uuid4()))
    library.plant(HOSTILE, document_id="' OR true --")
    library.settle()
    assert library.found(HOSTILE) == [TEXT]
    # A place that there is, with another text: what is answered is PostgreSQL's.
    library.plant(HOSTILE, document_id=known, version=version)
    library.settle()
    assert library.found("osprey") == [TEXT]


def test_passages_are_of_the_workspace_even_unconfirmed(library: Library) -> None:
    foreign = library.put(HOSTILE, library.theirs, key="2")
    library.embed()
    hit = {"document_id": foreign, "number": 0, "words": 1}
    asked = {"hits": [hit], "embedding": titan.embed(TEXT, 1024, True), "top_k": 5}
    with library.cluster.as_login("worker"):
        for tenant, count in ((library.ours, 0), (library.theirs, 1)):
            found = database.system(tenant.workspace_id, "SELECT app.passages($1)", asked)
            assert len(found) == count


def test_changed_document_is_found_by_its_new_text_alone(library: Library) -> None:
    known = library.put(TEXT)
    library.embed()
    library.settle()
    library.put("The travel policy is under review.")
    library.embed()
    assert library.found() == []
    library.settle()
    assert library.found() == ["The travel policy is under review."]
    assert len(library.entries(known)) == 1


def test_deleted_document_is_not_found_from_the_answer_on(library: Library) -> None:
    known = library.put(TEXT)
    library.embed()
    library.settle()
    assert library.request("DELETE", f"documents/{known}").status == 204
    assert library.entries(known)
    assert library.found() == []
    library.embed()
    library.settle()
    assert library.entries(known) == []


def test_newer_version_stays_when_news_of_an_older_one_come_late(library: Library) -> None:
    known = library.put(TEXT)
    library.embed()
    old = documents.find(known)
    assert old is not None
    library.put("The travel policy is under review.")
    library.embed()
    library.settle()
    with library.cluster.as_login("worker"):
        chunks.remove(old)
        vectors.replace(old, storage.embedded(old) or [])
    library.settle()
    assert library.found() == ["The travel policy is under review."]
    assert len(library.entries(known)) == 1


def test_what_a_deletion_could_not_see_is_swept(library: Library) -> None:
    gone, changed, kept = (library.put(TEXT, key=key) for key in "123")
    library.embed()
    documents.remove(gone)
    library.put(f"{TEXT} Perhaps.", key="2")
    library.put(TEXT, key="4")  # waits to be embedded
    library.embed()
    with library.cluster.as_login("worker"):  # once more, before the first showed
        row = documents.find(kept)
        assert row is not None
        vectors.replace(row, storage.embedded(row) or [])
    library.settle()
    assert [len(library.entries(each)) for each in (gone, changed, kept)] == [1, 2, 2]
    assert library.call("queue")["swept"] == 0  # too early to say
    library.clock.seconds += 600
    assert library.call("queue")["swept"] == 3
    library.settle()
    assert [len(library.entries(each)) for each in (gone, changed, kept)] == [0, 1, 1]
    assert library.call("queue")["swept"] == 0


def test_search_keeps_to_the_sources_that_it_is_asked_for(library: Library) -> None:
    library.put(TEXT)
    library.put(HOSTILE, source=1)
    library.embed()
    library.settle()
    assert {*library.found()} == {TEXT, HOSTILE}
    assert library.found(source_ids=[SOURCES[1]]) == [HOSTILE]
    assert library.found(source_ids=[]) == []


def test_tool_keeps_to_the_sources_that_the_chatbot_may_use_now(library: Library) -> None:
    library.put(TEXT)
    library.put(HOSTILE, source=1)
    library.embed()
    library.settle()
    tenant = library.ours
    asked = Call(
        tool_use_id="tooluse_1",
        name="knowledge_search",
        input={"query": TEXT},
        principal=ToolPrincipal(tenant.viewer.user_id, 1, tenant.workspace_id),
        request_id="request",
        message_id="message",
        conversation_id="conversation",
        chatbot_id=tenant.chatbot_id,
        source_ids=None,
    )
    with library.cluster.as_login("app"):
        assert {each["text"] for each in tool.run(asked)} == {TEXT, HOSTILE}
        limit = {"id": tenant.chatbot_id, "source_ids": SOURCES[:1]}
        ask(tenant, LIMIT, limit, caller=tenant.owner)
        assert [each["text"] for each in tool.run(asked)] == [TEXT]


def retrieve(library: Library, patch: pytest.MonkeyPatch) -> list[str]:
    """The passages that a turn of ours with the question `TEXT` gets."""
    turn = SimpleNamespace(
        message_id="message",
        conversation_id="conversation",
        workspace_id=library.ours.workspace_id,
        snapshot=json.dumps({"chatbot": {"knowledge": {"top_k": 4, "source_ids": SOURCES}}}),
    )
    stored: list[passages.Passage] = []
    patch.setattr(turns, "retrieve", lambda _: turn)
    patch.setattr(conversations, "messages_before", lambda *_: iter([{"content": TEXT}]))
    patch.setattr(passages, "put", lambda _, found: stored.extend(found))
    with library.cluster.as_login("worker"):
        chat_retrieve.handler({"message_id": "message", "request_id": "request"}, None)
    return [passage.content for passage in stored]


def test_chat_gets_passages(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    library.put(TEXT)
    library.put(HOSTILE, library.theirs, key="2")
    library.embed()
    library.settle()
    assert retrieve(library, monkeypatch) == [TEXT]


def test_nothing_of_a_purged_workspace_stays(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = [library.put(TEXT, key=str(number)) for number in range(3)]
    foreign = library.put(HOSTILE, library.theirs, key="foreign")
    library.embed()
    library.settle()
    place = library.ours.workspace_id
    library.cluster.sql(f"UPDATE app.workspaces SET status = 'deleting' WHERE id = '{place}'")
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with library.cluster.as_login("worker"):
        for step in ("documents", "rows"):
            assert all(pause == "" for pause in steps.STEPS["workspace"][step](place, ""))
    library.embed()
    library.settle()
    assert [library.entries(each) for each in known] == [[], [], []]
    assert len(library.entries(foreign)) == 1


def test_index_is_rebuilt_from_what_is_kept(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = library.put(TEXT)
    with monkeypatch.context() as patch:
        patch.setattr(opensearch, "is_on", lambda: False)  # the option comes later
        library.embed()
    library.settle()
    assert library.entries(known) == []
    for _ in range(2):  # again, and nothing is there twice
        assert library.call("reindex") == {"restored": 1}
        library.settle()
        assert library.found() == [TEXT]
        assert len(library.entries(known)) == 1


def test_search_fails_and_embedding_waits_while_the_collection_is_away(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = library.put(TEXT)
    url = library.cluster.opensearch_endpoint
    library.cluster.opensearch_endpoint = "http://127.0.0.1:9"
    records = library.world.records()
    with library.cluster.as_login("worker"):
        assert len(library.world.embed(records)) == 1
    row = documents.find(known)
    assert row is not None
    assert row["status"] == "pending"
    answer = library.request("POST", "search", {"query": TEXT})
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    with pytest.raises(RetryLater):
        retrieve(library, monkeypatch)
    library.cluster.opensearch_endpoint = url
    with library.cluster.as_login("worker"):
        assert library.world.embed(records) == []
    library.settle()
    assert library.found() == [TEXT]
