-- Where an environment has OpenSearch Serverless as well: what was found there is looked up here.

-- What app.search is asked, and hits: [{document_id, number, words: 0..1}] → what app.search answers
-- of these chunks, as far as they are in the call's workspace and the sources. Text, title, link and
-- cosine are those here; the words' share is the hit's. Owned as app.search is: logins read no chunk.
CREATE FUNCTION app.passages(p jsonb) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
RETURN (
    WITH scored AS (
        SELECT document_id, number, content, title, url, round(((words
            + (1 - (embedding OPERATOR(public.<=>) (p ->> 'embedding')::public.halfvec(1024))) / 2
            ) / 1.5)::numeric, 6) AS score
        FROM jsonb_to_recordset(p -> 'hits')
            AS hit (document_id uuid, number integer, words float)
        JOIN app.document_versions USING (document_id)
        JOIN app.chunks USING (workspace_id, document_id, number)
        WHERE workspace_id = app.workspace_id()
            AND (jsonb_typeof(p -> 'source_ids') IS DISTINCT FROM 'array'
                OR p -> 'source_ids' ? source_id::text)
        ORDER BY score DESC, document_id, number
        LIMIT (p ->> 'top_k')::integer
    )
    SELECT coalesce(jsonb_agg(jsonb_build_object('document_id', document_id, 'title', title,
        'url', url, 'content', content, 'score', greatest(score, 0))
        ORDER BY score DESC, document_id, number), '[]')
    FROM scored);
GRANT EXECUTE ON FUNCTION app.passages(jsonb) TO chatbot_app, chatbot_worker;
GRANT CREATE ON SCHEMA app TO chatbot_search;
ALTER FUNCTION app.passages(jsonb) OWNER TO chatbot_search;
REVOKE CREATE ON SCHEMA app FROM chatbot_search;

-- The same of hits: [{document_id, version, number, words}]. As the caller, under row-level security:
-- of another workspace's document, one that was removed, or a version that is not the newest, nothing.
CREATE FUNCTION app.confirm(p jsonb) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN app.passages(p || jsonb_build_object('hits', (
    SELECT coalesce(jsonb_agg(to_jsonb(hit)), '[]')
    FROM (
        SELECT document_id, version, number, max(words) AS words
        FROM jsonb_to_recordset(p -> 'hits')
            AS found (document_id uuid, version bigint, number integer, words float)
        GROUP BY document_id, version, number
    ) AS hit
    JOIN app.document_versions USING (document_id, version)
    WHERE NOT is_removed)));
GRANT EXECUTE ON FUNCTION app.confirm(jsonb) TO chatbot_app, chatbot_worker;
