"""How well and how fast `app.search` finds, in tenants of several sizes in one table and one index.

A PostgreSQL of its own with the migrations. `corpus/` holds 51 documents, `questions.json` 200
questions with the documents that answer each. The corpus is in each measured tenant, split and
embedded as `embed` does it, among made-up chunks (`filler.py`); the smallest has part of it, and
is asked only about that. Printed for each tenant:

- recall@5 of the question's documents, by the embedding alone, the words alone, and both;
- recall@10 of the embedding alone against an exact comparison with every chunk of the tenant, for
  the 200 questions and for 100 in words of the tenant's own made-up chunks;
- p50 and p95 of the whole `app.search` inside PostgreSQL, its caches warm, and the p50 of one by
  the embedding alone, which looks deeper: the one whose recall@10 is told.

All vectors are hashed words (`localstack/bedrock/embeddings.py`). They know no synonyms, so
recall@5 says how the two ways of searching are joined, and that neither is lost in a large tenant;
it says nothing about how well a real model finds. Nor does recall@10: it is that of the index on
such vectors, which are harder for it, as neighbours of a question are hardly each other's.

Ends with an error where a target is missed, or a search at full size reads a table without an
index.
"""

import json
import os
import random
import statistics
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pg8000.dbapi

from functions.embed import index
from functions.embed.index import Chunk
from functions.embed.splitting import split
from localstack.bedrock.embeddings import embed
from localstack.postgres import ADMIN
from tests.benchmarks.retrieval import filler
from tests.integration.database.conftest import Cluster, cluster_maker
from tests.integration.database.server import running_server

HERE = Path(__file__).parent
CHUNKS = 200_000
MEASURED = {"tiny": 20, "small": 1_000, "medium": 6_000, "large": 50_000, "half": 100_000}
MIN_RECALL_AT_10 = 0.98
MAX_P50_MS = 20.0
# As on Aurora, which gives shared buffers three quarters of the memory.
SETTINGS = {"shared_buffers": "2GB", "maintenance_work_mem": "2GB", "max_wal_size": "8GB"}


@dataclass(frozen=True)
class Question:
    text: str
    embedding: str
    documents: frozenset[str] = frozenset()


def question(text: str, documents: Sequence[str] = ()) -> Question:
    return Question(text, json.dumps(embed(text, 1024, True)), frozenset(documents))


def workspace_id(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.retrieval.example"))


def document_id(workspace: str, name: str) -> str:
    return str(uuid.uuid5(uuid.UUID(workspace), name))


class Database:
    """The superuser's sessions; statements take as long as they take."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._cursor = self.connect().cursor()

    def connect(self) -> Any:
        server = self.cluster.server
        connection = pg8000.dbapi.connect(
            ADMIN,
            host="127.0.0.1",
            port=server.port,
            database=self.cluster.name,
            password=server.passwords[ADMIN],
        )
        connection.autocommit = True
        return connection

    def sql(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        """The rows of a statement, where it has any."""
        self._cursor.execute(statement, tuple(parameters))
        return self._cursor.fetchall() if self._cursor.description else None

    def enter(self, workspace: str) -> None:
        self.sql("SELECT set_config('app.workspace_id', %s, false)", [workspace])


@contextmanager
def step(name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    print(f"{time.perf_counter() - started:8.1f} s  {name}", flush=True)


def load(database: Database, corpus: dict[str, str]) -> None:
    """Fill tables and build their indexes, as the migrations define them, once they are full."""
    indexes = database.sql(
        """SELECT indexname, indexdef FROM pg_indexes
           WHERE schemaname = 'app' AND tablename = 'chunks' AND indexname <> 'chunks_pkey'"""
    )
    for name, _ in indexes:
        database.sql(f"DROP INDEX app.{name}")
    others = {f"other-{n}": 1_000 for n in range((CHUNKS - sum(MEASURED.values())) // 1_000)}
    sizes = {workspace_id(name): size for name, size in {**MEASURED, **others}.items()}
    for workspace in sizes:
        database.sql(
            "INSERT INTO app.workspaces (id, name, slug, quota) VALUES (%s, 'One', %s, '{}')",
            (workspace, workspace),
        )
    with step("write the corpus"):
        for name in MEASURED:
            sizes[workspace_id(name)] -= _write_corpus(database, workspace_id(name), name, corpus)
    with step("write the made-up chunks"):
        words = filler.vocabulary(corpus.values())
        filler.prepare(database.connect(), words, {w: size for w, size in sizes.items() if size})
        filler.write([database.connect() for _ in range(filler.SESSIONS)])
    with step("vacuum and analyze"):
        database.sql("VACUUM ANALYZE app.chunks, app.document_versions")
    for name, definition in indexes:
        with step(f"build {name}"):
            database.sql(definition)


def _write_corpus(database: Database, workspace: str, name: str, corpus: dict[str, str]) -> int:
    """How many chunks it has there."""
    documents = dict(list(corpus.items())[: MEASURED["tiny"]]) if name == "tiny" else corpus
    written = 0
    with database.cluster.as_login("worker"):
        for key, text in documents.items():
            parts = split(text)
            row = {
                "document_id": document_id(workspace, key),
                "workspace_id": workspace,
                "version": 1,
                "title": text.partition("\n")[0].lstrip("# "),
                "url": None,
            }
            chunks = [Chunk(part, json.dumps(embed(part, 1024, True))) for part in parts]
            index.replace(row, chunks)
            written += len(parts)
    return written


def parameters(asked: Question, top_k: int, legs: str = "both") -> dict[str, Any]:
    """What `app.search` takes."""
    params = {"top_k": top_k, "text": "" if legs == "vector" else asked.text}
    return params if legs == "text" else {**params, "embedding": asked.embedding}


def search(database: Database, asked: Question, top_k: int, legs: str = "both") -> Any:
    """What `app.search` answers in the workspace that was entered."""
    params = parameters(asked, top_k, legs)
    return database.sql("SELECT app.search(%s::jsonb)", [json.dumps(params)])[0][0]


def recall_at_5(database: Database, workspace: str, questions: list[Question], legs: str) -> float:
    """The share of the questions' documents among the first five chunks."""
    shares = []
    for asked in questions:
        wanted = {document_id(workspace, name) for name in asked.documents}
        found = {item["document_id"] for item in search(database, asked, 5, legs)}
        shares.append(len(wanted & found) / len(wanted))
    return statistics.mean(shares)


def recall_at_10(database: Database, workspace: str, questions: list[Question]) -> float:
    """The share of the ten nearest chunks that are among the ten found by the embedding alone."""
    shares = []
    for asked in questions:
        nearest = database.sql(
            """WITH compared AS MATERIALIZED (
                   SELECT document_id::text, content,
                       embedding OPERATOR(public.<=>) %s::public.halfvec(1024) AS distance
                   FROM app.chunks WHERE workspace_id = %s
               ) SELECT document_id, content FROM compared ORDER BY distance LIMIT 10""",
            (asked.embedding, workspace),
        )
        found = search(database, asked, 10, "vector")
        both = {(item["document_id"], item["content"]) for item in found} & set(map(tuple, nearest))
        shares.append(len(both) / len(nearest))
    return statistics.mean(shares)


def milliseconds(
    database: Database, questions: list[Question], legs: str = "both", **beside: Any
) -> list[float]:
    """What each search takes in PostgreSQL, sorted; each is made twice, and the second counts."""
    taken = []
    for asked in questions:
        params = parameters(asked, 10, legs) | beside
        statement = "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) SELECT app.search(%s::jsonb)"
        for _ in range(2):
            plan = database.sql(statement, [json.dumps(params)])[0][0]
        taken.append(plan[0]["Execution Time"])
    return sorted(taken)


def scans(database: Database, asked: Question) -> dict[str, int]:
    """How often a search scans each index of chunks, and tables without one."""
    count = """SELECT relname::text, pg_stat_get_xact_numscans(oid) FROM pg_class
               WHERE relnamespace = 'app'::regnamespace
                   AND relname ~ '^(chunks|document_versions)'"""
    database.sql("BEGIN")  # they are flushed between transactions
    before = dict(database.sql(count))
    search(database, asked, 10)
    after = dict(database.sql(count))
    database.sql("COMMIT")
    return {name: number - before[name] for name, number in after.items()}


def own_questions(database: Database, workspace: str, count: int) -> list[Question]:
    """Six words of a sentence of a made-up chunk of the tenant's, and words around them."""
    source = random.Random(11)
    rows = database.sql(
        """SELECT content FROM app.chunks JOIN app.document_versions USING
               (workspace_id, document_id)
           WHERE workspace_id = %s AND title LIKE 'Note %%'
           ORDER BY md5(document_id::text || number) LIMIT %s""",
        (workspace, count),
    )
    asked = []
    for (content,) in rows:
        sentence = source.choice(content.rstrip(".").split(". ")).split()
        asked.append(question("How do I find " + " ".join(source.sample(sentence, 6))))
    return asked


def main() -> None:
    corpus = {path.stem: path.read_text() for path in sorted((HERE / "corpus").glob("*.md"))}
    labelled = [
        question(row["question"], row["documents"])
        for row in json.loads((HERE / "questions.json").read_text())
    ]
    with running_server(**SETTINGS) as server:
        cluster = cluster_maker(server)()
        cluster.migrate("up")
        database = Database(cluster)
        load(database, corpus)
        missed = report(database, corpus, labelled)
    if missed:
        raise SystemExit("\n".join(missed))


def report(database: Database, corpus: dict[str, str], labelled: list[Question]) -> list[str]:
    """Print the figures; the targets that were missed."""
    missed = []
    known_to_tiny = set(list(corpus)[: MEASURED["tiny"]])
    print("load averages:", *(f"{load:.1f}" for load in os.getloadavg()))
    print("                recall@5                recall@10         ms")
    print("   chunks   vector   text   both   questions    own   p50    p95   p50 of vector")
    for name, size in MEASURED.items():
        workspace = workspace_id(name)
        database.enter(workspace)
        asked = [q for q in labelled if name != "tiny" or q.documents <= known_to_tiny]
        at_5 = [
            recall_at_5(database, workspace, asked, legs) for legs in ("vector", "text", "both")
        ]
        own = own_questions(database, workspace, 100)
        at_10 = [recall_at_10(database, workspace, some) for some in (asked, own) if some]
        taken = milliseconds(database, asked)
        p50, p95 = statistics.median(taken), taken[int(len(taken) * 0.95)]
        alone = statistics.median(milliseconds(database, asked, "vector"))
        print(
            f"{size:9,}   {at_5[0]:6.3f} {at_5[1]:6.3f} {at_5[2]:6.3f}   "
            f"{at_10[0]:9.3f} {at_10[-1]:6.3f} {p50:5.1f} {p95:6.1f} {alone:15.1f}",
            flush=True,
        )
        if at_5[2] < max(at_5):
            missed.append(f"{size} chunks: both ways together find less than one alone")
        if name != "half" and min(at_10) < MIN_RECALL_AT_10:
            missed.append(f"{size} chunks: recall@10 is below {MIN_RECALL_AT_10}")
        if p50 >= MAX_P50_MS:
            missed.append(f"{size} chunks: p50 is not below {MAX_P50_MS} ms")
    large = workspace_id("large")
    database.enter(large)
    small_source = database.sql("SELECT md5(%s || true)::uuid::text", [large])[0][0]
    taken = milliseconds(database, labelled, source_ids=[small_source])
    print(f"a source of 400 chunks in the tenant of 50,000: p50 {statistics.median(taken):.1f} ms")
    counted = scans(database, labelled[0])
    print("scans of a search in it:", ", ".join(f"{n} {c}" for n, c in sorted(counted.items())))
    if counted["chunks"] or counted["document_versions"]:
        missed.append("a table is read without an index")
    if not counted["chunks_nearest"] or not counted["chunks_looked_up"]:
        missed.append("an index is not used")
    return missed


if __name__ == "__main__":
    main()
