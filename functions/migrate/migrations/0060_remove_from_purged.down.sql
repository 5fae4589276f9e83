CREATE OR REPLACE FUNCTION app.remove_document(p jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO app.document_versions AS known (document_id, version, is_removed)
    VALUES ((p ->> 'id')::uuid, (p ->> 'version')::bigint, true)
    ON CONFLICT (workspace_id, document_id) DO UPDATE
    SET version = excluded.version, is_removed = true, title = '', url = NULL
    WHERE known.version <= excluded.version;
    IF NOT FOUND THEN
        RETURN to_jsonb(false);
    END IF;
    DELETE FROM app.chunks
    WHERE workspace_id = app.workspace_id() AND document_id = (p ->> 'id')::uuid;
    RETURN to_jsonb(true);
END $$;
