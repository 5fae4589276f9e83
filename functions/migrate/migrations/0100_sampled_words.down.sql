DROP FUNCTION app.find(jsonb);
DROP FUNCTION app.search(jsonb);

CREATE FUNCTION app.keys_of(terms tsvector, workspace_id uuid, source_id uuid) RETURNS bigint[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ARRAY(
    SELECT app.key_of(name, workspace_id)
    FROM unnest(tsvector_to_array(terms) || source_id::text) AS name);

GRANT EXECUTE ON FUNCTION app.keys_of(tsvector, uuid, uuid) TO chatbot_worker, chatbot_search;
CREATE INDEX IF NOT EXISTS chunks_keys ON app.chunks
    USING gin (app.keys_of(terms, workspace_id, source_id));

DROP VIEW app.keyed_chunks;
DROP INDEX app.chunks_looked_up;
DROP FUNCTION app.keys_of(tsvector, uuid, uuid, uuid, integer);

-- The chunks of the call's workspace that fit a question best, best first:
-- {text, embedding?: [1024 numbers], top_k: 1..50, source_ids?} →
-- [{document_id, title, url, content, score: 0..1}]. With source_ids only chunks of those sources;
-- without an embedding the words alone decide, without words the embedding.
--
-- Candidates are the nearest by embedding and those that hold the question's rare words. A
-- candidate's score is what it holds of the question's words, each worth the more the fewer chunks
-- hold it, as a share of them all, and half as much for the cosine: a weighted sum, which loses less
-- than ranks do when one of the two is sure (Bruch et al., TOIS 2023).
--
-- Where there is little to search all of it is compared, as that is exact and as quick.
-- A word that many chunks hold finds nothing and costs most: how many is estimated by a sample, which
-- is drawn all over the workspace's documents, and such words only count in the score.
--
-- The embedding alone is looked for deeper in the index than beside words, which find what it misses.
CREATE FUNCTION app.search(p jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off
SET jit = off
SET hnsw.iterative_scan = relaxed_order
SET hnsw.ef_search = 250
AS $$
DECLARE
    place CONSTANT uuid := app.workspace_id();
    target CONSTANT public.halfvec(1024) := p ->> 'embedding';
    anywhere CONSTANT boolean := jsonb_typeof(p -> 'source_ids') IS DISTINCT FROM 'array';
    sources CONSTANT uuid[] := ARRAY(SELECT jsonb_array_elements_text(p -> 'source_ids'));
    source_keys CONSTANT bigint[] := ARRAY(
        SELECT app.key_of(id::text, place) FROM unnest(sources) AS id);
    lexemes CONSTANT text[] := ARRAY(
        SELECT lexeme FROM unnest(to_tsvector('english', p ->> 'text')) LIMIT 64);
    words CONSTANT tsquery[] := ARRAY(
        SELECT app.any_of(ARRAY[lexeme]) FROM unnest(lexemes) AS lexeme);
    keys CONSTANT bigint[] := ARRAY(SELECT app.key_of(lexeme, place) FROM unnest(lexemes) AS lexeme);
    -- Up to so many chunks are compared one by one: of a few sources more, as the index does not
    -- keep sources apart.
    most CONSTANT integer := CASE WHEN anywhere THEN 5000 ELSE 15000 END;
    size integer;
    common integer[];
    commonness integer[];
    answer jsonb;
BEGIN
    IF words = '{}' THEN
        PERFORM set_config('hnsw.ef_search', '600', true); -- until the function ends
    END IF;

    SELECT count(*) INTO size FROM (
        SELECT FROM app.chunks
        WHERE workspace_id = place AND (anywhere OR source_id = ANY (sources))
        LIMIT 2 * most) AS counted;
    IF size = 2 * most THEN -- or more, which is not worth counting
        size := 50000;
    END IF;

    -- The common words, and how many of 1,000 chunks hold each: all but the rarest that 4,000 chunks
    -- hold together.
    IF size > 1000 THEN
        WITH bounds AS (
            SELECT min(start) AS first, max(start) - min(start) AS width
            FROM (
                (SELECT document_id FROM app.chunks WHERE workspace_id = place
                ORDER BY document_id LIMIT 1)
                UNION ALL
                (SELECT document_id FROM app.chunks WHERE workspace_id = place
                ORDER BY document_id DESC LIMIT 1)
            ) AS ends, LATERAL (
                SELECT ('x' || left(replace(document_id::text, '-', ''), 12))::bit(48)::bigint
            ) AS parsed (start)
        ), sample AS MATERIALIZED (
            SELECT drawn.terms
            FROM bounds, generate_series(0, 15) AS part, LATERAL (
                SELECT terms FROM app.chunks
                WHERE workspace_id = place AND document_id >=
                    rpad(lpad(to_hex(first + width * part / 16), 12, '0'), 32, '0')::uuid
                ORDER BY document_id, number LIMIT 8) AS drawn
        ), counted AS (
            SELECT number, (SELECT count(*) FROM sample WHERE terms @@ word) * 1000
                / (SELECT count(*) FROM sample) AS often
            FROM unnest(words) WITH ORDINALITY AS asked (word, number)
        ), summed AS (
            SELECT number, often, sum(often) OVER rarest AS together, row_number() OVER rarest AS rarity
            FROM counted WINDOW rarest AS (ORDER BY often, number)
        )
        SELECT array_agg(number), array_agg(often) INTO common, commonness
        FROM summed
        WHERE rarity > 1 AND together > 4000000 / size;
    END IF;

    WITH indexed AS MATERIALIZED (
        SELECT document_id, number
        FROM app.chunks
        WHERE workspace_id = place AND (anywhere OR source_id = ANY (sources))
            AND target IS NOT NULL AND size > most
        ORDER BY app.located(embedding, workspace_id)::public.halfvec(1088)
            OPERATOR(public.<=>) app.located(target, place)::public.halfvec(1088)
        LIMIT 60
    ), compared AS ( -- the few there are, or all where the index's graph does not lead to them
        SELECT document_id, number
        FROM app.chunks
        WHERE workspace_id = place AND (anywhere OR source_id = ANY (sources))
            AND target IS NOT NULL AND (SELECT count(*) FROM indexed) < 60
        ORDER BY embedding OPERATOR(public.<=>) target LIMIT 60
    ), nearest AS (
        SELECT * FROM indexed UNION ALL SELECT * FROM compared
    ), asked AS MATERIALIZED (
        SELECT word, key, number AS word_number
        FROM unnest(words, keys) WITH ORDINALITY AS asked (word, key, number)
    ), held AS MATERIALIZED (
        SELECT word_number, document_id, number
        FROM asked, LATERAL (
            SELECT document_id, number FROM app.chunks
            WHERE workspace_id IS NOT DISTINCT FROM place -- no bitmap of all that it has beside
                AND app.keys_of(terms, workspace_id, source_id) @> ARRAY[key]
                AND (anywhere OR app.keys_of(terms, workspace_id, source_id) && source_keys)
            ) AS holding
        WHERE word_number <> ALL (coalesce(common, '{}'))
    ), worth AS MATERIALIZED (
        SELECT word_number, ln(1 + size / count(*)::float) AS worth
        FROM held GROUP BY word_number
        UNION ALL
        SELECT word_number, ln(1 + 1000 / often::float)
        FROM unnest(common, commonness) AS counted (word_number, often)
    ), weighed AS MATERIALIZED (
        SELECT word, worth FROM asked JOIN worth USING (word_number)
    ), matching AS (
        SELECT document_id, number
        FROM held JOIN worth USING (word_number)
        GROUP BY document_id, number
        ORDER BY sum(worth) DESC LIMIT 60
    ), candidates AS (
        SELECT document_id, number, content, 1 - (embedding OPERATOR(public.<=>) target) AS cosine,
            terms || ''::tsvector AS terms -- unpacked once, not for every word
        FROM (SELECT * FROM nearest UNION SELECT * FROM matching) AS found
        JOIN app.chunks USING (document_id, number)
        WHERE workspace_id = place
        OFFSET 0
    ), scored AS (
        SELECT document_id, number, content, round((
            coalesce((SELECT sum(worth) FROM weighed WHERE terms @@ word)
                / (SELECT sum(worth) FROM weighed), 0)
            + coalesce(cosine, 0) / 2)::numeric / 1.5, 6) AS score
        FROM candidates
        ORDER BY score DESC, document_id, number
        LIMIT (p ->> 'top_k')::integer
    )
    SELECT jsonb_agg(jsonb_build_object('document_id', document_id, 'title', title, 'url', url,
        'content', content, 'score', greatest(score, 0)) ORDER BY score DESC, document_id, number)
    INTO answer
    FROM scored JOIN app.document_versions USING (document_id)
    WHERE workspace_id = place;
    RETURN coalesce(answer, '[]');
END $$;
GRANT EXECUTE ON FUNCTION app.search(jsonb) TO chatbot_app, chatbot_worker;
GRANT CREATE ON SCHEMA app TO chatbot_search;
ALTER FUNCTION app.search(jsonb) OWNER TO chatbot_search;
REVOKE CREATE ON SCHEMA app FROM chatbot_search;
