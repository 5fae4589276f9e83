"""Chunks that stand beside the corpus: made-up texts of topics, with vectors as the stand-in's.

A tenant has topics of its own, one for a hundred chunks, and shares 200 with all others. A topic
has 25 words and 20 sentences, which draw every second word from it and the others from all words
by Zipf's law. A chunk takes nine sentences, seven in ten of its topic. All of it is drawn inside
PostgreSQL; a chunk's vector is the sum of its words' hashed features, which is what the stand-in
makes of the text but for the pairs of neighbours.
"""

import io
import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from localstack.bedrock.embeddings import FUNCTION_WORDS, embed

WORDS = 12_000
SHARED_TOPICS = 200
SESSIONS = 2  # that write at the same time


class Connection(Protocol):
    """Of pg8000, in autocommit."""

    def cursor(self) -> Any: ...


def vocabulary(texts: Iterable[str]) -> list[str]:
    """Function words, then the words of the texts, frequent ones first, then made-up ones."""
    counted = Counter(word for text in texts for word in re.findall(r"[a-z]{2,}", text.casefold()))
    words = dict.fromkeys([*sorted(FUNCTION_WORDS), *(word for word, _ in counted.most_common())])
    source = random.Random(7)
    syllables = [
        first + rest
        for first in (*"bdfgklmnprstvz", "br", "tr", "st")
        for rest in (*"aeiou", "an", "er", "il", "or", "um")
    ]
    while len(words) < WORDS:
        words["".join(source.choices(syllables, k=source.randint(2, 4)))] = None
    return list(words)


def prepare(connection: Connection, words: list[str], tenants: Mapping[str, int]) -> None:
    """Make the words, the sentences and the plan: how many chunks each tenant gets."""
    cursor = connection.cursor()
    cursor.execute("CREATE SCHEMA filler")
    cursor.execute(
        """CREATE UNLOGGED TABLE filler.words
               (number integer, word text, embedding public.vector(1024));
           CREATE UNLOGGED TABLE filler.tenants
               (workspace_id uuid, chunks integer, topic integer, topics integer);
           CREATE AGGREGATE filler.joined (tsvector)
               (sfunc = tsvector_concat, stype = tsvector, initcond = '')"""
    )
    rows = (
        f"{number}\t{word}\t[{','.join(f'{value:.3g}' for value in embed(word, 1024, False))}]\n"
        for number, word in enumerate(words)
    )
    cursor.execute("COPY filler.words FROM STDIN", stream=io.StringIO("".join(rows)))
    topic = SHARED_TOPICS
    for workspace_id, chunks in tenants.items():
        topics = max(3, chunks // 100)
        cursor.execute(
            "INSERT INTO filler.tenants VALUES (%s, %s, %s, %s)",
            (workspace_id, chunks, topic, topics),
        )
        topic += topics
    cursor.execute("CREATE INDEX ON filler.words (number); ANALYZE filler.words; SELECT setseed(0)")
    common = len(FUNCTION_WORDS)
    cursor.execute(
        f"""CREATE UNLOGGED TABLE filler.sentences AS
            SELECT sentence AS number, string_agg(word, ' ' ORDER BY place) || '.' AS content,
                to_tsvector('english', string_agg(word, ' ' ORDER BY place)) AS terms,
                sum(embedding) AS embedding
            FROM (
                SELECT sentence, place, CASE WHEN place % 2 = 0
                    THEN {common} + abs(hashint4(sentence / 20 * 1000
                        + floor(25 * random())::integer)) % ({WORDS} - {common})
                    ELSE floor({WORDS} ^ random())::integer - 1 END AS chosen
                FROM generate_series(0, {topic * 20 - 1}) AS sentence,
                    generate_series(1, 12) AS place
                OFFSET 0
            ) AS drawn JOIN filler.words ON number = chosen
            GROUP BY sentence"""
    )
    cursor.execute("CREATE INDEX ON filler.sentences (number); ANALYZE filler.sentences")


def write(connections: list[Connection]) -> None:
    """Write all chunks, four to a document; eight in a thousand are of a tenant's small source."""
    with ThreadPoolExecutor(len(connections)) as pool:
        list(pool.map(_write_part, connections, range(len(connections))))


def _write_part(connection: Connection, part: int) -> None:
    cursor = connection.cursor()
    mine = f"/ 4 % {SESSIONS} = {part}"
    cursor.execute(f"SELECT setseed(0.{part + 1})")
    cursor.execute(
        f"""INSERT INTO app.document_versions (workspace_id, document_id, version, title)
            SELECT DISTINCT workspace_id, md5(workspace_id::text || chunk / 4)::uuid, 1,
                'Note ' || chunk / 4
            FROM filler.tenants, generate_series(0, chunks - 1) AS chunk WHERE chunk {mine}"""
    )
    cursor.execute(
        f"""INSERT INTO app.chunks
                (workspace_id, document_id, number, source_id, content, terms, embedding)
            SELECT workspace_id, md5(workspace_id::text || chunk / 4)::uuid, chunk % 4,
                md5(workspace_id::text || (chunk % 1000 < 8))::uuid,
                string_agg(content, ' '), filler.joined(terms),
                public.l2_normalize(sum(embedding))::public.halfvec(1024)
            FROM (
                SELECT workspace_id, chunk, floor(20 * random())::integer + 20 *
                    CASE WHEN random() > 0.7 THEN floor({SHARED_TOPICS} * random())::integer
                    WHEN chunk / 4 % 5 = 0 THEN abs(hashint4(chunk / 4)) % {SHARED_TOPICS}
                    ELSE topic + abs(hashint4(chunk / 4)) % topics END AS chosen
                FROM filler.tenants, generate_series(0, chunks - 1) AS chunk,
                    generate_series(1, 9) AS sentence
                WHERE chunk {mine}
                OFFSET 0
            ) AS drawn JOIN filler.sentences ON number = chosen
            GROUP BY workspace_id, chunk"""
    )
