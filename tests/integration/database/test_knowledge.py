"""Chunks in PostgreSQL: what embed stores, what a search finds, and for whom."""

import json
import uuid
from collections.abc import Mapping
from typing import Any

import pytest

from chatbot import database
from chatbot.database import StatementFailed
from chatbot.errors import Conflict
from functions.documents.handler import FIND, REMOVE
from functions.embed import index
from functions.embed.index import Chunk
from localstack.bedrock.embeddings import embed
from tests.integration.database.conftest import Cluster, Tenant

SOURCE = "0190dddd-0000-7000-8000-00000000000d"
SHARED = "The travel policy says that train costs are paid back within two weeks."


def chunk(text: str) -> Chunk:
    return Chunk(text, json.dumps(embed(text, 1024, True)))


def row(tenant: Tenant, version: int = 1, **fields: Any) -> dict[str, Any]:
    """A document's row as DynamoDB has it."""
    made = {
        "document_id": str(uuid.uuid4()),
        "workspace_id": tenant.workspace_id,
        "version": version,
        "title": "A title",
        "url": "https://example.com/a",
    }
    return made | fields


def store(cluster: Cluster, document: Mapping[str, Any], *texts: str) -> bool:
    with cluster.as_login("worker"):
        return index.replace(document, [chunk(text) for text in texts])


def remove(cluster: Cluster, document: Mapping[str, Any]) -> None:
    with cluster.as_login("worker"):
        index.remove(document)


def search(tenant: Tenant, text: str, top_k: int = 10, **more: Any) -> list[dict[str, Any]]:
    """As the route asks, for the tenant's viewer."""
    asked = {"text": text, "embedding": embed(text, 1024, True), "top_k": top_k, **more}
    found: list[dict[str, Any]] = database.query(
        tenant.viewer, FIND, asked, workspace_id=tenant.workspace_id, permission="chat:use"
    )
    return found


def texts(found: list[dict[str, Any]]) -> list[str]:
    return [item["content"] for item in found]


def test_chunk_is_found_with_its_document_when_it_fits(
    cluster: Cluster, tenants: tuple[Tenant, Tenant]
) -> None:
    ours, _ = tenants
    document = row(ours)
    store(cluster, document, SHARED, "Lunch is at noon.")
    first, *_ = search(ours, "When do I get my train costs back?")
    assert first.pop("score") > 0.02
    assert first == {
        "document_id": document["document_id"],
        "title": "A title",
        "url": "https://example.com/a",
        "content": SHARED,
    }


def test_other_tenants_chunks_are_never_found(
    cluster: Cluster, tenants: tuple[Tenant, Tenant]
) -> None:
    for tenant, secret in zip(tenants, ("heron", "osprey"), strict=True):
        for _ in range(3):
            store(cluster, row(tenant), f"{SHARED} The secret word is {secret}.")
    for tenant, own, other in (
        (tenants[0], "heron", "osprey"),
        (tenants[1], "osprey", "heron"),
    ):
        found = search(tenant, f"{SHARED} What is the secret word {other}?", 50)
        assert len(found) == 3
        assert all(own in text and other not in text for text in texts(found))
        with cluster.as_login("worker"):
            asked = {"text": other, "embedding": embed(other, 1024, True), "top_k": 50}
            worked = database.system(tenant.workspace_id, FIND, asked)
        assert all(other not in text for text in texts(worked))
        assert len(worked) == 3


def test_nothing_is_found_when_no_workspace_was_checked(
    cluster: Cluster, tenants: tuple[Tenant, Tenant]
) -> None:
    store(cluster, row(tenants[0]), SHARED)
    asked = json.dumps({"text": "train", "embedding": embed("train", 1024, True), "top_k": 5})
    for user in ("chatbot_app", "chatbot_worker"):
        assert cluster.sql(f"SELECT app.find('{asked}')", user=user) == [["[]"]]


def test_login_sees_and_changes_chunks_of_its_workspace_only(
    cluster: Cluster, tenants: tuple[Tenant, Tenant]
) -> None:
    ours, theirs = tenants
    document = row(theirs)
    store(cluster, document, SHARED)
    everything = "SELECT to_jsonb(count(*)) FROM app.chunks"
    delete = """WITH gone AS (DELETE FROM app.chunks RETURNING 1)
                SELECT to_jsonb(count(*)) FROM gone"""
    with cluster.as_login("worker"):
        assert database.system(ours.workspace_id, everything) == 0
        assert database.system(ours.workspace_id, delete) == 0
        assert database.system(theirs.workspace_id, everything) == 1
        with pytest.raises(StatementFailed, match=r"^42501$"):
            database.system(
                ours.workspace_id,
                """INSERT INTO app.document_versions (workspace_id, document_id, version)
                   VALUES (($1 ->> 'to')::uuid, gen_random_uuid(), 1) RETURNING to_jsonb(1)""",
                {"to": theirs.workspace_id},
            )
    assert database.query(ours.owner, delete, workspace_id=ours.workspace_id) == 0
    # The other one's id does not help: it is another row of document_versions.
    gone = {"id": document["document_id"], "version": 2}
    database.query(ours.owner, REMOVE, gone, workspace_id=ours.workspace_id)
    assert texts(search(theirs, SHARED)) == [SHARED]


def test_one_that_searches_reads_chunks_and_nothing_else(cluster: Cluster) -> None:
    granted = cluster.sql(
        """SELECT table_name, privilege_type FROM information_schema.role_table_grants
           WHERE grantee = 'chatbot_search' ORDER BY 1"""
    )
    assert granted == [[name, "SELECT"] for name in ("chunks", "document_versions", "keyed_chunks")]
    attributes = cluster.sql(
        """SELECT rolcanlogin, rolsuper, rolbypassrls, rolcreaterole
           FROM pg_roles WHERE rolname = 'chatbot_search'"""
    )
    assert attributes == [["f"] * 4]
    owned = cluster.sql(
        """SELECT proname FROM pg_proc WHERE proowner = 'chatbot_search'::regrole ORDER BY 1"""
    )
    assert owned == [["passages"], ["search"]]


def test_edit_replaces_every_chunk(cluster: Cluster, tenants: tuple[Tenant, Tenant]) -> None:
    ours, _ = tenants
    document = row(ours)
    store(cluster, document, "one old", "two old", "three old")
    assert store(cluster, {**document, "version": 2, "title": "New"}, "one new")
    found = search(ours, "old new one two three", 50)
    assert [(item["title"], item["content"]) for item in found] == [("New", "one new")]


def test_older_version_is_refused_when_a_newer_one_is_there(
    cluster: Cluster, tenants: tuple[Tenant, Tenant]
) -> None:
    ours, _ = tenants
    document = row(ours, version=7)
    assert store(cluster, document, "seven")
    assert not store(cluster, {**document, "version": 6}, "six", "and a half")
    assert store(cluster, document, "seven")  # the same again
    assert texts(search(ours, "six seven", 50)) == ["seven"]


def test_removed_document_stays_away_when_its_events_come_late(
    cluster: Cluster, tenants: tuple[Tenant, Tenant]
) -> None:
    ours, _ = tenants
    document = row(ours, version=7)
    store(cluster, document, "here")
    params = {"id": document["document_id"], "version": 7}
    assert database.query(ours.owner, REMOVE, params, workspace_id=ours.workspace_id) is True
    assert search(ours, "here") == []
    assert not store(cluster, document, "here")
    assert search(ours, "here") == []
    assert store(cluster, {**document, "version": 8}, "back")
    remove(cluster, document)  # the stream tells of the removal after that
    assert texts(search(ours, "here back")) == ["back"]
    remove(cluster, {**document, "version": 8})
    assert search(ours, "here back") == []


def test_nothing_is_removed_or_stored_when_the_workspace_is_gone(cluster: Cluster) -> None:
    gone: dict[str, Any] = {
        "document_id": str(uuid.uuid4()),
        "workspace_id": str(uuid.uuid4()),
        "version": 1,
    }
    with cluster.as_login("worker"):
        params = {"id": gone["document_id"], "version": 1}
        assert database.system(gone["workspace_id"], REMOVE, params) is False
        index.remove(gone)
        with pytest.raises(Conflict):
            index.replace({**gone, "title": "t", "url": None}, [])


def test_failed_version_has_no_chunks_and_is_stored_when_it_is_tried_again(
    cluster: Cluster, tenants: tuple[Tenant, Tenant]
) -> None:
    ours, theirs = tenants
    document = row(ours)
    store(cluster, document, "The code is 1111.")
    store(cluster, row(theirs), "The code is 3333.")
    edited = {**document, "version": 2}
    assert store(cluster, edited)
    assert search(ours, "code") == []
    assert texts(search(theirs, "code")) == ["The code is 3333."]
    assert not store(cluster, document, "The code is 1111.")
    assert store(cluster, edited, "The code is 2222.")
    assert texts(search(ours, "code")) == ["The code is 2222."]


def test_large_document_is_stored_whole_or_not_at_all(
    cluster: Cluster, tenants: tuple[Tenant, Tenant], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, _ = tenants
    document = row(ours)
    store(cluster, document, "before")
    monkeypatch.setattr(index, "BATCH", 4)
    newer = {**document, "version": 2}
    good = [chunk(f"piece {number}") for number in range(10)]
    count = f"SELECT count(*) FROM app.chunks WHERE document_id = '{document['document_id']}'"
    with cluster.as_login("worker"):
        with pytest.raises(Exception, match="cannot be stored"):
            index.replace(newer, [*good, Chunk("no vector", "[1]")])
        assert texts(search_as_worker(ours, "before piece")) == ["before"]
        assert index.replace(newer, good)
        calls = cluster.data_api.calls
        assert not index.replace(document, good)
        assert cluster.data_api.calls == calls + 3  # begun, refused, rolled back or ended
    assert cluster.sql(count) == [["10"]]


def search_as_worker(tenant: Tenant, text: str) -> list[dict[str, Any]]:
    asked = {"text": text, "embedding": embed(text, 1024, True), "top_k": 10}
    found: list[dict[str, Any]] = database.system(tenant.workspace_id, FIND, asked)
    return found


def test_two_writers_of_a_document_leave_the_newer_version(
    cluster: Cluster, tenants: tuple[Tenant, Tenant]
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    ours, _ = tenants
    document = row(ours)
    with cluster.as_login("worker"), ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda version: index.replace(
                    {**document, "version": version},
                    [chunk(f"version {version} part {part}") for part in range(1 + version % 3)],
                ),
                [3, 9, 1, 7, 12, 5, 11, 2, 10, 4, 8, 6],
            )
        )
    assert texts(search(ours, "version part", 50)) == ["version 12 part 0"]


def test_search_is_limited_to_sources_when_they_are_named(
    cluster: Cluster, tenants: tuple[Tenant, Tenant]
) -> None:
    ours, _ = tenants
    other = str(uuid.uuid4())
    store(cluster, row(ours, source_id=SOURCE), f"{SHARED} one")
    store(cluster, row(ours, source_id=other), f"{SHARED} two")
    store(cluster, row(ours), f"{SHARED} by hand")
    assert len(search(ours, SHARED)) == 3
    assert texts(search(ours, SHARED, source_ids=[SOURCE])) == [f"{SHARED} one"]
    assert len(search(ours, SHARED, source_ids=[SOURCE, other])) == 2
    assert search(ours, SHARED, source_ids=[]) == []


def test_title_is_searched_too(cluster: Cluster, tenants: tuple[Tenant, Tenant]) -> None:
    ours, _ = tenants
    store(cluster, row(ours, title="Zanzibar"), "Nothing of the kind is said here.")
    store(cluster, row(ours), "Something else.")
    assert search(ours, "zanzibar", 1)[0]["title"] == "Zanzibar"


@pytest.mark.parametrize(
    "text",
    ["", " ", "the of and", "'; DROP TABLE app.chunks; --", "a\\' | !b & (c", "http://x/?a=1&b=2",
     "C:\\dir\\file.txt", "日本語", "🙂", "<b>&amp;</b>", ":*", "x " * 4000],
)  # fmt: skip
def test_search_answers_when_a_question_is_odd(
    cluster: Cluster, tenants: tuple[Tenant, Tenant], text: str
) -> None:
    ours, _ = tenants
    store(cluster, row(ours), SHARED)
    assert texts(search(ours, text)) == [SHARED]


def test_top_k_bounds_the_answer(cluster: Cluster, tenants: tuple[Tenant, Tenant]) -> None:
    ours, _ = tenants
    store(cluster, row(ours), *(f"{SHARED} {number}" for number in range(60)))
    assert len(search(ours, SHARED, 50)) == 50
    assert len(search(ours, SHARED, 1)) == 1


def test_nearest_is_found_when_no_word_fits(
    cluster: Cluster, tenants: tuple[Tenant, Tenant]
) -> None:
    ours, _ = tenants
    store(cluster, row(ours), SHARED, "Lunch is at noon.")
    # No word of it is in a chunk, but the pieces of its words are.
    assert texts(search(ours, "lunching noonday", 1)) == ["Lunch is at noon."]


def test_words_alone_decide_when_there_is_no_embedding(
    cluster: Cluster, tenants: tuple[Tenant, Tenant]
) -> None:
    ours, theirs = tenants
    for tenant in tenants:
        store(cluster, row(tenant), SHARED, "Lunch is at noon.", "The train leaves at noon.")
    found = search(ours, "noon lunch of the", embedding=None)
    assert texts(found) == ["Lunch is at noon.", "The train leaves at noon."]
    assert found[0]["score"] > 2 * found[1]["score"] > 0
    assert search(theirs, "of the", embedding=None) == []


def test_rare_word_counts_more_than_common_ones(
    cluster: Cluster, tenants: tuple[Tenant, Tenant]
) -> None:
    ours, _ = tenants
    store(cluster, row(ours), *(f"The scanner shows an error, note {n}." for n in range(20)))
    store(cluster, row(ours), "S-117 stands for an unknown label.")
    asked = "scanner shows error S-117"
    assert texts(search(ours, asked, 1)) == ["S-117 stands for an unknown label."]


def fill(cluster: Cluster, tenant: Tenant, documents: int, source_id: str, vector: str) -> None:
    """Ten chunks a document with one vector: the index keeps those under one entry, and takes them
    fast."""
    cluster.sql(
        f"""
        WITH known AS (
            INSERT INTO app.document_versions (workspace_id, document_id, version)
            SELECT '{tenant.workspace_id}', md5(number::text)::uuid, 1
            FROM generate_series(1, {documents}) AS number RETURNING document_id
        ), vectors AS (
            SELECT document_id, ({vector})::halfvec AS embedding
            FROM known, generate_series(1, 1024) GROUP BY document_id
        )
        INSERT INTO app.chunks
            (workspace_id, document_id, number, source_id, content, terms, embedding)
        SELECT '{tenant.workspace_id}', document_id, number, '{source_id}', 'filler',
            to_tsvector('filler'), l2_normalize(embedding)
        FROM vectors, generate_series(1, 10) AS number
        """
    )


def scanned(cluster: Cluster, tenant: Tenant, asked: Mapping[str, Any]) -> dict[str, int]:
    """How often a search scans each index of chunks, and tables without one."""
    params = json.dumps(asked).replace("'", "''")
    # Of the session so far: counters are flushed once a second, not at a transaction's end.
    counters = """SELECT jsonb_object_agg(relname, pg_stat_get_xact_numscans(oid)) FROM pg_class
        WHERE relnamespace = 'app'::regnamespace AND relname ~ '^(chunks|document_versions)'"""
    ((before, after),) = cluster.sql(
        f"""WITH before AS MATERIALIZED (
            SELECT ({counters}) AS counted,
                set_config('app.workspace_id', '{tenant.workspace_id}', true) AS entered
        ), searched AS MATERIALIZED (SELECT counted, app.search('{params}') FROM before)
        SELECT counted, ({counters} AND search IS NOT NULL) FROM searched"""
    )
    return {name: count - json.loads(before)[name] for name, count in json.loads(after).items()}


def test_large_workspace_is_searched_through_the_indexes(
    cluster: Cluster, tenants: tuple[Tenant, Tenant]
) -> None:
    """More chunks than are compared one by one, beside a stranger's that are all nearer."""
    ours, theirs = tenants
    question = "When are train costs paid back, says the filler?"
    nearest = json.dumps(embed(question, 1024, True))
    fill(cluster, theirs, 100, SOURCE, f"max('{nearest}')::vector")
    fill(cluster, ours, 560, SOURCE, "array_agg(random() - 0.5)::vector")
    small = str(uuid.uuid4())
    store(cluster, row(ours), SHARED + " ours")
    store(cluster, row(ours, source_id=small), "Of a small source, about something else.")
    cluster.sql("ANALYZE app.chunks")
    found = search(ours, question)
    assert found[0]["content"] == SHARED + " ours"
    assert len(found) == 10
    ids = {item["document_id"] for item in found}
    mine = f"SELECT document_id FROM app.chunks WHERE workspace_id = '{ours.workspace_id}'"
    assert ids <= {document_id for (document_id,) in cluster.sql(mine)}
    assert texts(search(ours, question, source_ids=[small])) == [
        "Of a small source, about something else."
    ]
    asked = {"text": question, "embedding": json.loads(nearest), "top_k": 10}
    scans = scanned(cluster, ours, asked)
    assert scans["chunks"] == scans["document_versions"] == 0
    assert scans["chunks_nearest"] == 1
    assert scans["chunks_looked_up"] > 0
