-- What has no signed-in user yet, spans workspaces, or touches secrets: narrow functions that run as
-- their owner. Each takes one jsonb and returns one; times are seconds unless named otherwise.

-- The caller, who must be active with the token version.
CREATE FUNCTION app.caller(p jsonb) RETURNS app.users
LANGUAGE plpgsql AS $$
DECLARE
    found_user app.users;
BEGIN
    PERFORM app.enter((p ->> 'user_id')::uuid, NULL, p ->> 'request_id', p -> 'if_match');
    SELECT * INTO found_user FROM app.users
    WHERE id = (p ->> 'user_id')::uuid AND is_active
        AND token_version = (p ->> 'token_version')::int;
    IF NOT FOUND THEN
        PERFORM app.fail('CB401', 'Unauthorized');
    END IF;
    RETURN found_user;
END $$;

-- The same, locked: what changes a user's sessions goes one after the other.
CREATE FUNCTION app.locked_caller(p jsonb) RETURNS app.users
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM app.users WHERE id = (p ->> 'user_id')::uuid FOR NO KEY UPDATE;
    RETURN app.caller(p);
END $$;

CREATE FUNCTION app.insert_user(p jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    made app.users;
BEGIN
    INSERT INTO app.users (id, email, username, full_name, is_admin, email_verified)
    VALUES (coalesce((p ->> 'id')::uuid, gen_random_uuid()), p ->> 'email', p ->> 'username',
        p ->> 'full_name', coalesce((p ->> 'is_admin')::boolean, false),
        coalesce((p ->> 'verified')::boolean, false))
    ON CONFLICT DO NOTHING
    RETURNING * INTO made;
    IF NOT FOUND THEN
        PERFORM app.fail('CB409', 'The address is already registered.');
    END IF;
    INSERT INTO app.credentials VALUES (made.id, p ->> 'password_hash');
    RETURN app.json(made);
END $$;

-- {email, username, full_name, password_hash, verified} → User. Raises CB409.
CREATE FUNCTION app.register(p jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    new_id uuid := gen_random_uuid();
BEGIN
    PERFORM app.enter(new_id, NULL, p ->> 'request_id');
    RETURN app.insert_user(p - 'is_admin' || jsonb_build_object('id', new_id));
END $$;

-- {email} → {user_id, password_hash, is_active, is_admin, email_verified, token_version} or NULL.
CREATE FUNCTION app.credentials(p jsonb) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
RETURN (
    SELECT jsonb_build_object('user_id', known.id, 'password_hash', held.password_hash,
        'is_active', known.is_active, 'is_admin', known.is_admin,
        'email_verified', known.email_verified, 'token_version', known.token_version)
    FROM app.users AS known
    JOIN app.credentials AS held ON held.user_id = known.id
    WHERE lower(known.email) = lower(p ->> 'email'));

-- {user_id, token_version, token_hash, family_id, expires_in, family_expires_in} → {is_admin}.
-- Raises CB401 where the user changed since the password was checked.
CREATE FUNCTION app.start_session(p jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    caller app.users := app.locked_caller(p);
BEGIN
    DELETE FROM app.refresh_tokens WHERE user_id = caller.id AND family_expires_at < now();
    INSERT INTO app.refresh_tokens (token_hash, family_id, user_id, expires_at, family_expires_at)
    VALUES (p ->> 'token_hash', (p ->> 'family_id')::uuid, caller.id,
        now() + make_interval(secs => (p ->> 'expires_in')::float),
        now() + make_interval(secs => (p ->> 'family_expires_in')::float));
    RETURN jsonb_build_object('is_admin', caller.is_admin);
END $$;

-- {token_hash, new_token_hash, expires_in, at_ms} → {status, user_id?, token_version?, is_admin?}.
-- at_ms is when the gateway got the request, in ms since 1970. Status: ok; raced, the token was
-- spent while this request was under way; reused, it was spent before, and now the family is
-- revoked; expired; unknown.
CREATE FUNCTION app.rotate_session(p jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    holder app.users;
    token app.refresh_tokens;
BEGIN
    SELECT * INTO holder FROM app.users
    WHERE id = (SELECT user_id FROM app.refresh_tokens WHERE token_hash = p ->> 'token_hash')
    FOR NO KEY UPDATE;
    -- Read again: whoever held the lock may have spent the token or revoked its family.
    SELECT * INTO token FROM app.refresh_tokens WHERE token_hash = p ->> 'token_hash';
    IF NOT FOUND OR holder.is_active IS NOT TRUE THEN
        RETURN '{"status": "unknown"}';
    END IF;
    IF token.spent_at IS NOT NULL THEN
        IF (p ->> 'at_ms')::numeric <= floor(extract(epoch FROM token.spent_at) * 1000) THEN
            RETURN '{"status": "raced"}';
        END IF;
        DELETE FROM app.refresh_tokens WHERE family_id = token.family_id;
        PERFORM app.enter(holder.id, NULL, p ->> 'request_id');
        INSERT INTO app.audit_log (action, resource_type, resource_id)
        VALUES ('revoke', 'session', token.family_id);
        RETURN '{"status": "reused"}';
    END IF;
    IF least(token.expires_at, token.family_expires_at) <= now() THEN
        RETURN '{"status": "expired"}';
    END IF;
    -- The client has no new token before this ends, so whatever comes until then was under way
    -- together with it: a little time lets requests that were sent at once arrive.
    PERFORM pg_sleep(0.3);
    UPDATE app.refresh_tokens SET spent_at = clock_timestamp() WHERE token_hash = token.token_hash;
    INSERT INTO app.refresh_tokens (token_hash, family_id, user_id, expires_at, family_expires_at)
    VALUES (p ->> 'new_token_hash', token.family_id, token.user_id,
        least(token.family_expires_at, now() + make_interval(secs => (p ->> 'expires_in')::float)),
        token.family_expires_at);
    RETURN jsonb_build_object('status', 'ok', 'user_id', holder.id,
        'token_version', holder.token_version, 'is_admin', holder.is_admin);
END $$;

-- {user_id, token_version, token_hash} → NULL. The token's family ends if it is the caller's.
CREATE FUNCTION app.end_session(p jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    caller app.users := app.locked_caller(p);
BEGIN
    DELETE FROM app.refresh_tokens
    WHERE user_id = caller.id AND family_id = (
        SELECT family_id FROM app.refresh_tokens WHERE token_hash = p ->> 'token_hash');
    RETURN NULL;
END $$;

-- {user_id, token_version} → {password_hash}.
CREATE FUNCTION app.password_hash(p jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    caller app.users := app.caller(p);
BEGIN
    RETURN (SELECT jsonb_build_object('password_hash', held.password_hash)
            FROM app.credentials AS held WHERE held.user_id = caller.id);
END $$;

-- {user_id, token_version, password_hash} → {token_version}. All sessions and tokens end.
CREATE FUNCTION app.change_password(p jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    caller app.users := app.locked_caller(p);
BEGIN
    UPDATE app.users SET token_version = token_version + 1 WHERE id = caller.id;
    UPDATE app.credentials SET password_hash = p ->> 'password_hash' WHERE user_id = caller.id;
    DELETE FROM app.refresh_tokens WHERE user_id = caller.id;
    DELETE FROM app.one_time_tokens WHERE user_id = caller.id;
    RETURN jsonb_build_object('token_version', caller.token_version + 1);
END $$;

-- {user_id, token_version, name, slug?, quota, idempotency?} → Workspace with the caller's
-- permissions. Raises CB409 where the given slug is taken; a slug made of the name is made unique.
CREATE FUNCTION app.create_workspace(p jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    caller app.users := app.caller(p);
    words text := left(trim(BOTH '-' FROM
        regexp_replace(lower(p ->> 'name'), '[^a-z0-9]+', '-', 'g')), 40);
    wanted text := coalesce(p ->> 'slug', NULLIF(words, ''), 'workspace');
    made app.workspaces;
    answer jsonb;
BEGIN
    IF p -> 'idempotency' IS NOT NULL THEN
        answer := app.claim(p -> 'idempotency');
        IF answer IS NOT NULL THEN
            RETURN answer;
        END IF;
    END IF;
    LOOP
        INSERT INTO app.workspaces (name, slug, quota)
        VALUES (p ->> 'name', wanted, coalesce(p -> 'quota', '{}'))
        ON CONFLICT DO NOTHING
        RETURNING * INTO made;
        EXIT WHEN FOUND;
        IF p ->> 'slug' IS NOT NULL THEN
            PERFORM app.fail('CB409', 'The slug is taken.');
        END IF;
        wanted := concat_ws('-', NULLIF(words, ''), left(gen_random_uuid()::text, 8));
    END LOOP;
    INSERT INTO app.roles (workspace_id, name, permissions, is_system)
    SELECT made.id, name, permissions, true FROM app.system_roles();
    INSERT INTO app.memberships (workspace_id, user_id, role_id)
    SELECT made.id, caller.id, id FROM app.roles WHERE workspace_id = made.id AND name = 'owner';
    answer := app.json(made) || jsonb_build_object('permissions', app.all_permissions());
    IF p -> 'idempotency' IS NOT NULL THEN
        PERFORM app.keep(p -> 'idempotency', answer);
    END IF;
    RETURN answer;
END $$;

-- {user_id, token_version, limit, after?: {created_at, id}} → a page of the caller's Workspaces,
-- newest first.
CREATE FUNCTION app.list_workspaces(p jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    caller app.users := app.caller(p);
BEGIN
    RETURN (
        SELECT app.page(array_agg(item ORDER BY created_at DESC, id DESC), (p ->> 'limit')::int)
        FROM (
            SELECT own.created_at, own.id,
                app.json(own) || jsonb_build_object('permissions', role.permissions) AS item
            FROM app.memberships AS member
            JOIN app.roles AS role
                ON (role.workspace_id, role.id) = (member.workspace_id, member.role_id)
            JOIN app.workspaces AS own ON own.id = member.workspace_id
            WHERE member.user_id = caller.id AND own.status = 'active'
                AND (p -> 'after' IS NULL OR (own.created_at, own.id)
                    < ((p #>> '{after,created_at}')::timestamptz, (p #>> '{after,id}')::uuid))
            ORDER BY own.created_at DESC, own.id DESC
            LIMIT (p ->> 'limit')::int + 1
        ) AS listed);
END $$;

-- The caller, who must be a platform administrator.
CREATE FUNCTION app.administrating_caller(p jsonb) RETURNS app.users
LANGUAGE plpgsql AS $$
DECLARE
    caller app.users := app.caller(p);
BEGIN
    IF NOT caller.is_admin THEN
        PERFORM app.fail('CB403', 'Forbidden');
    END IF;
    RETURN caller;
END $$;

-- {user_id, token_version, email, username, full_name, password_hash, is_admin, idempotency?} → User,
-- made by an administrator, so the address counts as verified.
CREATE FUNCTION app.create_user(p jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    answer jsonb;
BEGIN
    PERFORM app.administrating_caller(p);
    IF p -> 'idempotency' IS NULL THEN
        RETURN app.insert_user(p - 'id' || '{"verified": true}');
    END IF;
    answer := app.claim(p -> 'idempotency');
    IF answer IS NULL THEN
        answer := app.insert_user(p - 'id' || '{"verified": true}');
        PERFORM app.keep(p -> 'idempotency', answer);
    END IF;
    RETURN answer;
END $$;

-- {user_id, token_version, target_id, changes: {username?, full_name?, is_active?, is_admin?},
-- if_match?} → User, or NULL where there is none.
CREATE FUNCTION app.update_user(p jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    changes jsonb := p -> 'changes';
    changed app.users;
BEGIN
    PERFORM app.administrating_caller(p);
    UPDATE app.users SET
        username = coalesce(changes ->> 'username', username),
        full_name = coalesce(changes ->> 'full_name', full_name),
        is_active = coalesce((changes ->> 'is_active')::boolean, is_active),
        is_admin = coalesce((changes ->> 'is_admin')::boolean, is_admin)
    WHERE id = (p ->> 'target_id')::uuid
    RETURNING * INTO changed;
    RETURN CASE WHEN FOUND THEN app.json(changed) END;
END $$;

-- {user_id, token_version, target_id, if_match?} → {id}, or NULL where there is none.
CREATE FUNCTION app.delete_user(p jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM app.administrating_caller(p);
    DELETE FROM app.users WHERE id = (p ->> 'target_id')::uuid;
    RETURN CASE WHEN FOUND THEN jsonb_build_object('id', p ->> 'target_id') END;
END $$;

-- {email, username, full_name, password_hash} → User. For the migrator only. A known user becomes an
-- administrator and keeps the rest.
CREATE FUNCTION app.create_administrator(p jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    known app.users;
BEGIN
    PERFORM app.enter(NULL, NULL, p ->> 'request_id');
    UPDATE app.users SET is_admin = true, email_verified = true
    WHERE lower(email) = lower(p ->> 'email')
    RETURNING * INTO known;
    IF FOUND THEN
        RETURN app.json(known);
    END IF;
    RETURN app.insert_user(p - 'id' || '{"is_admin": true, "verified": true}');
END $$;

GRANT EXECUTE ON FUNCTION app.register(jsonb), app.credentials(jsonb), app.start_session(jsonb),
    app.rotate_session(jsonb), app.end_session(jsonb), app.password_hash(jsonb),
    app.change_password(jsonb), app.create_workspace(jsonb), app.list_workspaces(jsonb),
    app.create_user(jsonb), app.update_user(jsonb), app.delete_user(jsonb)
TO chatbot_app;
