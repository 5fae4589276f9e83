DROP FUNCTION app.search(jsonb);
DROP INDEX app.chunks_embedding, app.chunks_terms;
DROP FUNCTION app.any_of(text[]);
DROP FUNCTION app.labelled(tsvector, uuid, uuid);
DROP FUNCTION app.located(public.halfvec, uuid);
CREATE INDEX chunks_terms ON app.chunks USING gin (terms);
CREATE INDEX chunks_embedding ON app.chunks USING hnsw (embedding public.halfvec_cosine_ops)
    WITH (m = 16, ef_construction = 100);

-- The chunks of the call's workspace that fit a question best, best first:
-- {text, embedding: [1024 numbers], top_k, source_ids?} →
-- [{document_id, title, url, content, score}]. With source_ids only chunks of those sources.
--
-- The nearest by embedding and the best by their terms are joined by reciprocal rank fusion
-- (Cormack et al., SIGIR 2009). One index over all workspaces would starve a small one: what is
-- nearest in it are other workspaces' chunks. So where there is little to search all of it is
-- compared, and only more goes through the index, which is read on until enough has been found.
--
-- Any term may match, as few chunks hold all the words of a question; but what every other chunk
-- holds finds nothing and costs most. So terms count in the ranking, all of them, and the rare ones
-- choose what is ranked: rare in a sample of the workspace, which is drawn all over its documents.
CREATE FUNCTION app.search(p jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET hnsw.iterative_scan = strict_order
SET hnsw.ef_search = 200
SET hnsw.max_scan_tuples = 100000
AS $$
DECLARE
    place CONSTANT uuid := app.workspace_id();
    target CONSTANT public.halfvec(1024) := p ->> 'embedding';
    sources CONSTANT uuid[] := ARRAY(SELECT jsonb_array_elements_text(p -> 'source_ids'));
    anywhere CONSTANT boolean := jsonb_typeof(p -> 'source_ids') IS DISTINCT FROM 'array';
    words CONSTANT tsquery[] := ARRAY(
        SELECT ('''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || '''')::tsquery
        FROM unnest(to_tsvector('english', p ->> 'text')) LIMIT 64);
    question CONSTANT tsquery := array_to_string(words, ' | ');
    most CONSTANT integer := 3000;
    size integer;
    chosen tsquery;
    answer jsonb;
BEGIN
    SELECT count(*) INTO size FROM (
        SELECT FROM app.chunks
        WHERE workspace_id = place AND (anywhere OR source_id = ANY (sources))
        LIMIT most + 1) AS counted;

    -- The rarest words first, as long as about 1,000 chunks hold one of them.
    WITH sample AS MATERIALIZED (
        SELECT drawn.terms
        FROM generate_series(0, 31) AS part, LATERAL (
            SELECT terms FROM app.chunks
            WHERE workspace_id = place
                AND document_id >= rpad(lpad(to_hex(part * 8), 2, '0'), 32, '0')::uuid
            ORDER BY document_id, number LIMIT 10) AS drawn
        WHERE size > 1000
    ), counted AS (
        SELECT word, (SELECT count(*) FROM sample WHERE terms @@ word) AS hits
        FROM unnest(words) AS word
    )
    SELECT string_agg(word::text, ' | ')::tsquery INTO chosen
    FROM (SELECT word, hits, sum(hits) OVER (ORDER BY hits, word::text) AS hits_so_far,
            row_number() OVER (ORDER BY hits, word::text) AS number
        FROM counted) AS ranked
    WHERE number = 1 OR hits_so_far <= CASE WHEN size > most THEN 3 ELSE 320000 / greatest(size, 1) END;

    WITH compared AS MATERIALIZED (
        SELECT document_id, number, embedding OPERATOR(public.<=>) target AS distance
        FROM app.chunks
        WHERE workspace_id = place AND (anywhere OR source_id = ANY (sources)) AND size <= most
    ), nearest AS (
        (SELECT * FROM compared ORDER BY distance LIMIT 100)
        UNION ALL
        (SELECT document_id, number, embedding OPERATOR(public.<=>) target AS distance
        FROM app.chunks
        WHERE workspace_id = place AND (anywhere OR source_id = ANY (sources)) AND size > most
        ORDER BY embedding OPERATOR(public.<=>) target LIMIT 100)
    ), matching AS (
        SELECT document_id, number, ts_rank_cd(terms, question) AS rank
        FROM (SELECT document_id, number, terms
            FROM app.chunks
            WHERE workspace_id = place AND (anywhere OR source_id = ANY (sources))
                AND terms @@ chosen
            LIMIT 1000) AS candidates
        ORDER BY rank DESC LIMIT 100
    ), fused AS (
        SELECT document_id, number, sum(1.0 / (60 + place_in_list)) AS score
        FROM (
            SELECT document_id, number, row_number() OVER (ORDER BY distance) AS place_in_list
            FROM nearest
            UNION ALL
            SELECT document_id, number, row_number() OVER (ORDER BY rank DESC) FROM matching
        ) AS listed
        GROUP BY document_id, number
        ORDER BY score DESC, document_id, number
        LIMIT (p ->> 'top_k')::integer
    )
    SELECT jsonb_agg(jsonb_build_object('document_id', document_id, 'title', title, 'url', url,
        'content', content, 'score', round(score, 6)) ORDER BY score DESC, document_id, number)
    INTO answer
    FROM fused
    JOIN app.chunks USING (document_id, number)
    JOIN app.document_versions USING (workspace_id, document_id)
    WHERE workspace_id = place;
    RETURN coalesce(answer, '[]');
END $$;
GRANT EXECUTE ON FUNCTION app.search(jsonb) TO chatbot_app, chatbot_worker;
GRANT CREATE ON SCHEMA app TO chatbot_search;
ALTER FUNCTION app.search(jsonb) OWNER TO chatbot_search;
REVOKE CREATE ON SCHEMA app FROM chatbot_search;
