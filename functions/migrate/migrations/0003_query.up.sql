-- One call a request. Row-level security stops a forgotten WHERE: the caller's login has no row of
-- another workspace to give. It does not stop SQL injection or a stolen secret, as whoever runs
-- statements of their own can set the variables too: so statements are literals, and values travel
-- in the parameters only.

-- The first answer if the key was met before with the same body; else NULL, and the key is taken.
-- Duplicates at the same moment wait here for the first one's transaction.
CREATE FUNCTION app.claim(p_idempotency jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    scope text := concat_ws(' ', p_idempotency ->> 'route', app.workspace_id());
    first app.idempotency_keys;
BEGIN
    DELETE FROM app.idempotency_keys
    WHERE user_id = app.user_id() AND created_at < now() - interval '24 hours';
    INSERT INTO app.idempotency_keys (route, key, body_hash)
    VALUES (scope, p_idempotency ->> 'key', p_idempotency ->> 'body_hash')
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        RETURN NULL;
    END IF;
    SELECT * INTO first FROM app.idempotency_keys
    WHERE user_id = app.user_id() AND route = scope AND key = p_idempotency ->> 'key';
    IF first.body_hash <> p_idempotency ->> 'body_hash' THEN
        PERFORM app.fail('CB422', 'The idempotency key was used with another body.');
    END IF;
    -- NULL where the first one's row went away between the two statements: run it again.
    RETURN coalesce(first.answer, app.fail('40001', 'The idempotency key has just expired.'));
END $$;

-- Stores a first answer. An answer of NULL is no success: the transaction ends without a trace.
CREATE FUNCTION app.keep(p_idempotency jsonb, p_answer jsonb) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF p_answer IS NULL THEN
        PERFORM app.fail('CB404', 'Not Found');
    END IF;
    UPDATE app.idempotency_keys SET answer = p_answer
    WHERE user_id = app.user_id() AND key = p_idempotency ->> 'key'
        AND route = concat_ws(' ', p_idempotency ->> 'route', app.workspace_id());
END $$;

-- Checks the caller, then runs a statement that returns one jsonb as row-level security lets the
-- caller see and change it; `$1` in the statement is p_params.
-- Without a workspace the call is about the caller's own account. Without a permission any member
-- may make it. Options: request_id; if_match, versions of which one must match; idempotency {key,
-- route, body_hash}; administrator, 'allowed' (a platform administrator passes as a member with the
-- permission would) or 'required' (the caller must be one; and a member only if a permission is
-- named). Raises CB401, CB403, CB404, CB409, CB412, CB422.
CREATE FUNCTION app.query(
    p_user_id uuid, p_token_version integer, p_workspace_id uuid, p_permission text,
    p_statement text, p_params jsonb, p_options jsonb
) RETURNS jsonb
LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    is_administrator boolean;
    permissions text[];
    rule text := p_options ->> 'administrator';
    passes boolean;
    answer jsonb;
BEGIN
    PERFORM app.enter(p_user_id, p_workspace_id, p_options ->> 'request_id', p_options -> 'if_match');

    SELECT is_admin INTO is_administrator FROM app.users
    WHERE id = p_user_id AND is_active AND token_version = p_token_version;
    IF NOT FOUND THEN
        PERFORM app.fail('CB401', 'Unauthorized');
    END IF;
    passes := is_administrator
        AND (rule = 'allowed' OR rule = 'required' AND p_permission IS NULL) IS TRUE;

    IF p_workspace_id IS NOT NULL THEN
        PERFORM FROM app.workspaces WHERE id = p_workspace_id AND status = 'active';
        IF FOUND THEN
            SELECT role.permissions INTO permissions
            FROM app.memberships AS member
            JOIN app.roles AS role
                ON (role.workspace_id, role.id) = (member.workspace_id, member.role_id)
            WHERE member.workspace_id = p_workspace_id AND member.user_id = p_user_id;
        END IF;
        IF NOT FOUND AND NOT (passes AND EXISTS
            (SELECT FROM app.workspaces WHERE id = p_workspace_id AND status = 'active')) THEN
            PERFORM app.fail('CB404', 'Not Found');
        END IF;
    END IF;
    IF rule = 'required' AND NOT is_administrator
        OR NOT passes AND p_permission IS NOT NULL
            AND p_permission <> ALL (coalesce(permissions, '{}')) THEN
        PERFORM app.fail('CB403', 'Forbidden');
    END IF;
    IF rule = 'required' THEN
        PERFORM set_config('app.administrator', 'on', true);
    END IF;

    IF p_options -> 'idempotency' IS NULL THEN
        EXECUTE p_statement INTO answer USING p_params;
        RETURN answer;
    END IF;
    answer := app.claim(p_options -> 'idempotency');
    IF answer IS NULL THEN
        EXECUTE p_statement INTO answer USING p_params;
        PERFORM app.keep(p_options -> 'idempotency', answer);
    END IF;
    RETURN answer;
END $$;

-- The same for machinery that acts for no user, pinned to one workspace.
CREATE FUNCTION app.system(
    p_workspace_id uuid, p_statement text, p_params jsonb, p_request_id text DEFAULT NULL
) RETURNS jsonb
LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    answer jsonb;
BEGIN
    PERFORM app.enter(NULL, p_workspace_id, p_request_id);
    EXECUTE p_statement INTO answer USING p_params;
    RETURN answer;
END $$;

GRANT EXECUTE ON FUNCTION app.claim(jsonb), app.keep(jsonb, jsonb),
    app.query(uuid, integer, uuid, text, text, jsonb, jsonb) TO chatbot_app;
GRANT EXECUTE ON FUNCTION app.system(uuid, text, jsonb, text) TO chatbot_worker;
