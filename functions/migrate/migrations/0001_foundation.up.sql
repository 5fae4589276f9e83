-- What every table and function below stands on: the variables of a call, errors, JSON forms,
-- versions, the audit trail.

-- A new function belongs to nobody until it is granted.
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
GRANT USAGE ON SCHEMA app TO chatbot_app, chatbot_worker;

-- Unset, a variable reads as NULL; after a transaction that had set it, as the empty string.
CREATE FUNCTION app.user_id() RETURNS uuid
LANGUAGE sql STABLE PARALLEL SAFE
RETURN NULLIF(current_setting('app.user_id', true), '')::uuid;

CREATE FUNCTION app.workspace_id() RETURNS uuid
LANGUAGE sql STABLE PARALLEL SAFE
RETURN NULLIF(current_setting('app.workspace_id', true), '')::uuid;

-- True while a statement runs that only a platform administrator may run.
CREATE FUNCTION app.administrator() RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce(current_setting('app.administrator', true), '') = 'on';

-- Sets every variable of a call until the end of the transaction, so that none is left over from
-- an earlier call in the same transaction.
CREATE FUNCTION app.enter(
    p_user_id uuid, p_workspace_id uuid, p_request_id text, p_if_match jsonb DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('TimeZone', 'UTC', true),
            set_config('app.user_id', coalesce(p_user_id::text, ''), true),
            set_config('app.workspace_id', coalesce(p_workspace_id::text, ''), true),
            set_config('app.administrator', '', true),
            set_config('app.request_id', coalesce(p_request_id, ''), true),
            set_config('app.if_match', CASE WHEN jsonb_typeof(p_if_match) = 'array'
                THEN ARRAY(SELECT jsonb_array_elements_text(p_if_match))::text ELSE '' END, true);
END $$;

-- SQLSTATEs of our own: CB401 no such active user with this token version, CB403 the permission
-- lacks, CB404 not there or not visible, CB409 conflict, CB412 stale If-Match, CB422 an idempotency
-- key met again with another body. The message is for the client.
CREATE FUNCTION app.fail(p_state text, p_message text) RETURNS jsonb
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = p_state, MESSAGE = p_message;
END $$;

-- The JSON form of a row, with what no client sees left out.
CREATE FUNCTION app.json(p_row anyelement) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT to_jsonb(p_row) - '{workspace_id,token_version,email_verified,token_hash}'::text[]
$$;

-- One page of a list. Pass one row more than the limit: `more` says that rows were left out. A page
-- ends early where it would outgrow the Data API's 1 MiB of response.
CREATE FUNCTION app.page(p_rows jsonb[], p_limit integer) RETURNS jsonb
LANGUAGE sql STABLE
RETURN (
    SELECT jsonb_build_object(
        'items', coalesce(jsonb_agg(item ORDER BY number) FILTER (WHERE fits), '[]'),
        'more', coalesce(bool_or(NOT fits), false))
    FROM (
        SELECT item, number, number <= p_limit
            AND (number = 1 OR sum(octet_length(item::text)) OVER (ORDER BY number) <= 400000) AS fits
        FROM unnest(p_rows) WITH ORDINALITY AS listed (item, number)
    ) AS measured
);

-- A value as rows that the Data API's 64 KB a row hold in any script: 16,000 characters, at most
-- 64,000 bytes. No row for NULL.
CREATE FUNCTION app.pieces(p_value jsonb) RETURNS SETOF text
LANGUAGE sql STABLE AS $$
    SELECT substr(p_value::text, piece * 16000 + 1, 16000)
    FROM generate_series(0, (length(p_value::text) - 1) / 16000) AS piece
    ORDER BY piece
$$;

-- Compares If-Match and counts versions. Rows that go with another row are not compared.
CREATE FUNCTION app.touch() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF pg_trigger_depth() = 1 AND OLD.version::text
        <> ALL (NULLIF(current_setting('app.if_match', true), '')::text[]) THEN
        PERFORM app.fail('CB412', 'The resource has changed since it was read.');
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    NEW.created_at := OLD.created_at;
    NEW.updated_at := clock_timestamp();
    NEW.version := OLD.version + 1;
    RETURN NEW;
END $$;

-- No foreign keys: the trail outlives what it tells of, and holds no personal data.
CREATE TABLE app.audit_log (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    workspace_id uuid DEFAULT app.workspace_id(),
    actor_id uuid DEFAULT app.user_id(),
    action text NOT NULL,
    resource_type text NOT NULL,
    resource_id uuid,
    changes jsonb NOT NULL DEFAULT '{}',
    request_id text DEFAULT NULLIF(current_setting('app.request_id', true), ''),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX audit_log_newest ON app.audit_log (workspace_id, created_at DESC, id DESC);
ALTER TABLE app.audit_log ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY migrator ON app.audit_log TO chatbot_migrator USING (true) WITH CHECK (true);
CREATE POLICY reads ON app.audit_log FOR SELECT TO chatbot_app
    USING (workspace_id = (SELECT app.workspace_id()));
CREATE POLICY appends ON app.audit_log FOR INSERT TO chatbot_app, chatbot_worker
    WITH CHECK (workspace_id IS NOT DISTINCT FROM (SELECT app.workspace_id())
        AND actor_id IS NOT DISTINCT FROM (SELECT app.user_id()));
-- Who, where and when are the defaults, never the statement's.
GRANT SELECT, INSERT (action, resource_type, resource_id, changes) ON app.audit_log TO chatbot_app;
GRANT INSERT (action, resource_type, resource_id, changes) ON app.audit_log TO chatbot_worker;

-- Arguments: the resource's type; the columns whose values are left out, separated by commas.
-- SECURITY DEFINER, so that no login can change a row without leaving a trace.
CREATE FUNCTION app.audit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before jsonb := CASE WHEN TG_OP = 'INSERT' THEN '{}' ELSE to_jsonb(OLD) END;
    after jsonb := CASE WHEN TG_OP = 'DELETE' THEN '{}' ELSE to_jsonb(NEW) END;
    either jsonb := before || after;
    withheld text[] := string_to_array(TG_ARGV[1], ',');
    changes jsonb;
BEGIN
    SELECT jsonb_object_agg(key, CASE WHEN key = ANY (withheld) THEN '{"withheld": true}'
        ELSE jsonb_strip_nulls(jsonb_build_object('from', before -> key, 'to', after -> key)) END)
    INTO changes
    FROM jsonb_object_keys(either) AS key
    WHERE before -> key IS DISTINCT FROM after -> key
        AND key <> ALL ('{id,workspace_id,created_at,updated_at,version,token_version}');
    IF changes IS NOT NULL THEN
        INSERT INTO app.audit_log (workspace_id, action, resource_type, resource_id, changes)
        VALUES (
            CASE TG_ARGV[0] WHEN 'workspace' THEN either ->> 'id' ELSE either ->> 'workspace_id' END
                ::uuid,
            CASE TG_OP WHEN 'INSERT' THEN 'create' WHEN 'UPDATE' THEN 'update' ELSE 'delete' END,
            TG_ARGV[0], coalesce(either ->> 'id', either ->> 'user_id')::uuid, changes);
    END IF;
    RETURN NULL;
END $$;

GRANT EXECUTE ON FUNCTION app.user_id(), app.workspace_id(), app.administrator(),
    app.enter(uuid, uuid, text, jsonb), app.fail(text, text), app.json(anyelement),
    app.page(jsonb[], integer), app.pieces(jsonb)
TO chatbot_app, chatbot_worker;
