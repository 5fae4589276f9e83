-- A sample of the workspace's chunks tells how common a word is, and of a word that many hold only those
-- are read that hold others too: a search of the words no longer costs more the larger the workspace.

-- What a chunk is looked up by: its words as their workspace's own, so that no other workspace's are
-- read, its source, and one of 256 buckets, by which a sample is drawn; hashed, as that is short
-- whatever the word.
CREATE OR REPLACE FUNCTION app.keys_of(
    terms tsvector, workspace_id uuid, source_id uuid, document_id uuid, number integer
) RETURNS bigint[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ARRAY(
    SELECT app.key_of(name, workspace_id)
    FROM unnest(tsvector_to_array(terms) || source_id::text
        || ('bucket ' || (hashtextextended(document_id::text || number::text, 0) & 255)::text)
    ) AS name);
GRANT EXECUTE ON FUNCTION app.keys_of(tsvector, uuid, uuid, uuid, integer)
    TO chatbot_worker, chatbot_search;

-- Where the table is large: make the function and, CONCURRENTLY, this index before, as its build may
-- take longer than a call of the Data API may.
CREATE INDEX IF NOT EXISTS chunks_looked_up ON app.chunks
    USING gin (app.keys_of(terms, workspace_id, source_id, document_id, number))
    WITH (fastupdate = off); -- a search looks into it a dozen times, each time at all that is pending

CREATE VIEW app.keyed_chunks WITH (security_invoker = true) AS
SELECT workspace_id, document_id, number,
    app.keys_of(terms, workspace_id, source_id, document_id, number) AS keys
FROM app.chunks;
GRANT SELECT ON app.keyed_chunks TO chatbot_search;

DROP INDEX app.chunks_keys;
DROP FUNCTION app.search(jsonb);
DROP FUNCTION app.keys_of(tsvector, uuid, uuid);

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
-- Where there is little to search all of it is compared, as that is exact and as quick. Else a sample
-- tells how many chunks hold each word. Words that many hold find nothing and cost most: they only
-- count in the score. Of the others those chunks are read that hold two of them, and 60 of each word:
-- any further chunk that holds it alone is worth no more than those.
--
-- The embedding alone is looked for deeper in the index than beside words, which find what it misses.
CREATE FUNCTION app.search(p jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off
SET jit = off
SET hnsw.iterative_scan = relaxed_order
SET hnsw.ef_search = 150
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
    word_keys CONSTANT bigint[] := ARRAY(
        SELECT app.key_of(lexeme, place) FROM unnest(lexemes) AS lexeme);
    -- Up to so many chunks are compared one by one: of a few sources more, as the index does not
    -- keep sources apart.
    most CONSTANT integer := CASE WHEN anywhere THEN 5000 ELSE 15000 END;
    size integer; -- estimated, beyond most
    enough integer := 1000; -- so many chunks of each word are read, whatever else they hold
    drawn integer; -- buckets, of about 1,000 chunks together
    buckets bigint[];
    often float[]; -- how many chunks hold each word, estimated
    rare integer[]; -- the words that are looked up; all, where there is none
    answer jsonb;
BEGIN
    IF words = '{}' THEN
        PERFORM set_config('hnsw.ef_search', '600', true); -- until the function ends
    END IF;

    SELECT count(*) INTO size FROM (
        SELECT FROM app.chunks
        WHERE workspace_id = place AND (anywhere OR source_id = ANY (sources))
        LIMIT most + 1) AS counted;
    IF size > most THEN
        SELECT greatest(size, 256 * count(*)) INTO size
        FROM app.keyed_chunks
        WHERE workspace_id IS NOT DISTINCT FROM place -- no bitmap of all that it has beside
            AND keys @> ARRAY[app.key_of('bucket 0', place)] AND (anywhere OR keys && source_keys);
    END IF;

    IF size > 1000 THEN
        enough := 60;
        drawn := 256000 / size + 1;
        buckets := ARRAY(
            SELECT app.key_of('bucket ' || bucket, place)
            FROM generate_series(0, drawn - 1) AS bucket);
        WITH counted AS MATERIALIZED (
            SELECT word_number, 256.0 / drawn * (
                SELECT count(*) FROM app.keyed_chunks
                WHERE workspace_id IS NOT DISTINCT FROM place AND keys @> ARRAY[key]
                    AND keys && buckets AND (anywhere OR keys && source_keys)) AS holders
            FROM unnest(word_keys) WITH ORDINALITY AS asked (key, word_number)
        ), summed AS (
            SELECT word_number, holders, sum(holders) OVER rarest AS together,
                row_number() OVER rarest AS rarity
            FROM counted WINDOW rarest AS (ORDER BY holders, word_number)
        )
        SELECT array_agg(holders ORDER BY word_number),
            array_agg(word_number) FILTER (WHERE rarity = 1 OR together <= 4000)
        INTO often, rare
        FROM summed;
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
        SELECT word, key, holders, word_number
        FROM unnest(words, word_keys, often)
            WITH ORDINALITY AS asked (word, key, holders, word_number)
    ), looked_up AS MATERIALIZED (
        SELECT word_number, key, array_remove(array_agg(key) OVER (), key) AS others
        FROM asked
        WHERE rare IS NULL OR word_number = ANY (rare)
    ), alone AS MATERIALIZED (
        SELECT word_number, document_id, number
        FROM looked_up, LATERAL (
            SELECT document_id, number FROM app.keyed_chunks
            WHERE workspace_id IS NOT DISTINCT FROM place AND keys @> ARRAY[key]
                AND (anywhere OR keys && source_keys)
            LIMIT enough) AS holding
    ), held AS MATERIALIZED (
        SELECT word_number, document_id, number FROM alone
        UNION
        SELECT word_number, document_id, number
        FROM looked_up, LATERAL (
            SELECT document_id, number FROM app.keyed_chunks
            WHERE workspace_id IS NOT DISTINCT FROM place AND keys @> ARRAY[key]
                AND keys && others AND (anywhere OR keys && source_keys)) AS holding
        WHERE rare IS NOT NULL
    ), worth AS MATERIALIZED (
        SELECT word_number, ln(1 + size
            / CASE WHEN few < enough THEN few ELSE greatest(holders, enough) END) AS worth
        FROM asked LEFT JOIN (
            SELECT word_number, count(*)::float AS few FROM alone GROUP BY word_number
        ) AS counted USING (word_number)
        WHERE few > 0 OR word_number <> ALL (rare)
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

-- What app.search is asked, perhaps with hits, which are what app.confirm takes: what they answer.
CREATE FUNCTION app.find(p jsonb) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN CASE WHEN p ? 'hits' THEN app.confirm(p) ELSE app.search(p) END;
GRANT EXECUTE ON FUNCTION app.find(jsonb) TO chatbot_app, chatbot_worker;
