-- Where an environment has OpenSearch Serverless as well: what was found there is looked up here.

-- As the caller, under row-level security: app.search needs its own rights only for its indexes.
GRANT SELECT (number, content, embedding) ON app.chunks TO chatbot_app;

-- What app.search is asked, and hits: [{document_id, version, number, words: 0..1}] → what app.search
-- answers. A hit in another workspace or source, in a version that is not the newest, or without a
-- chunk here, is nothing. Text, title, link and cosine are those here; the words' share is the hit's.
CREATE FUNCTION app.confirm(p jsonb) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN (
    WITH hit AS (
        SELECT document_id, version, number, max(words) AS words
        FROM jsonb_to_recordset(p -> 'hits')
            AS found (document_id uuid, version bigint, number integer, words float)
        GROUP BY document_id, version, number
    ), scored AS (
        SELECT document_id, number, content, title, url, round(((words
            + (1 - (embedding OPERATOR(public.<=>) (p ->> 'embedding')::public.halfvec(1024))) / 2
            ) / 1.5)::numeric, 6) AS score
        FROM hit
        JOIN app.document_versions USING (document_id, version)
        JOIN app.chunks USING (workspace_id, document_id, number)
        WHERE workspace_id = app.workspace_id() AND NOT is_removed
            AND (jsonb_typeof(p -> 'source_ids') IS DISTINCT FROM 'array'
                OR p -> 'source_ids' ? source_id::text)
        ORDER BY score DESC, document_id, number
        LIMIT (p ->> 'top_k')::integer
    )
    SELECT coalesce(jsonb_agg(jsonb_build_object('document_id', document_id, 'title', title,
        'url', url, 'content', content, 'score', greatest(score, 0))
        ORDER BY score DESC, document_id, number), '[]')
    FROM scored);
GRANT EXECUTE ON FUNCTION app.confirm(jsonb) TO chatbot_app, chatbot_worker;
