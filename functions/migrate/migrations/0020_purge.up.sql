-- What is left to do once a user or a workspace is gone from sight, for the function `purge`, and
-- sign-ins in the audit trail.

-- Deleted users whose data in other stores is still to be removed.
CREATE TABLE app.purges (
    user_id uuid PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE app.purges ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY migrator ON app.purges TO chatbot_migrator USING (true) WITH CHECK (true);

-- SECURITY DEFINER: in the same transaction as the deletion, whoever makes it. Invitations hold the
-- address in every workspace that sent one.
CREATE FUNCTION app.forget_user() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO app.purges (user_id) VALUES (OLD.id);
    DELETE FROM app.invitations WHERE lower(email) = lower(OLD.email);
    RETURN NULL;
END $$;
CREATE TRIGGER forget_user AFTER DELETE ON app.users
    FOR EACH ROW EXECUTE FUNCTION app.forget_user();
CREATE INDEX invitations_address ON app.invitations (lower(email));
CREATE INDEX workspaces_deleting ON app.workspaces (id) WHERE status = 'deleting';

-- {} → [{kind, id}], at most 100 of each kind, oldest first.
CREATE FUNCTION app.due_purges(p jsonb) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
RETURN (
    SELECT coalesce(jsonb_agg(jsonb_build_object('kind', kind, 'id', id)), '[]')
    FROM (
        (SELECT 'user' AS kind, user_id AS id FROM app.purges ORDER BY created_at LIMIT 100)
        UNION ALL
        (SELECT 'workspace', id FROM app.workspaces
         WHERE status = 'deleting' ORDER BY updated_at LIMIT 100)
    ) AS due);

-- {after?} → [id], at most 100 workspaces that are in use, after that one.
CREATE FUNCTION app.workspace_ids(p jsonb) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
RETURN (
    SELECT coalesce(jsonb_agg(id ORDER BY id), '[]')
    FROM (
        SELECT id FROM app.workspaces
        WHERE status = 'active' AND (p -> 'after' IS NULL OR id > (p ->> 'after')::uuid)
        ORDER BY id LIMIT 100
    ) AS listed);

-- {id} → NULL. The last step of a user's purge.
CREATE FUNCTION app.purge_user(p jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM app.purges WHERE user_id = (p ->> 'id')::uuid;
    RETURN NULL;
END $$;

-- {id} → whether there is more to do. The last step of a workspace's purge: all its rows, and of
-- its audit trail the values, in which names and texts of people stand. What remains says who did
-- what to which id, and when. 5,000 entries a call, for the Data API's 45 seconds.
CREATE FUNCTION app.purge_workspace(p jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    target uuid := (p ->> 'id')::uuid;
    emptied integer;
BEGIN
    PERFORM app.enter(NULL, target, p ->> 'request_id');
    PERFORM FROM app.workspaces WHERE id = target AND status = 'active';
    IF FOUND THEN
        PERFORM app.fail('CB409', 'The workspace is in use.');
    END IF;
    UPDATE app.audit_log SET changes = '{}' WHERE id IN (
        SELECT id FROM app.audit_log WHERE workspace_id = target AND changes <> '{}' LIMIT 5000);
    GET DIAGNOSTICS emptied = ROW_COUNT;
    IF emptied = 5000 THEN
        RETURN to_jsonb(true);
    END IF;
    DELETE FROM app.workspaces WHERE id = target;
    -- The deletion has left its own entries.
    UPDATE app.audit_log SET changes = '{}' WHERE workspace_id = target AND changes <> '{}';
    RETURN to_jsonb(false);
END $$;

GRANT EXECUTE ON FUNCTION app.due_purges(jsonb), app.workspace_ids(jsonb), app.purge_user(jsonb),
    app.purge_workspace(jsonb) TO chatbot_worker;

-- A family's first token is a sign-in, told to every workspace that the user is a member of; where
-- there is none, to nobody yet.
CREATE FUNCTION app.audit_sign_in() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO app.audit_log (workspace_id, actor_id, action, resource_type, resource_id)
    SELECT place.workspace_id, NEW.user_id, 'sign_in', 'session', NEW.family_id
    FROM (SELECT NULL) AS once
    LEFT JOIN app.memberships AS place ON place.user_id = NEW.user_id
    WHERE NOT EXISTS (SELECT FROM app.refresh_tokens
                      WHERE family_id = NEW.family_id AND token_hash <> NEW.token_hash);
    RETURN NULL;
END $$;
CREATE TRIGGER audit_sign_in AFTER INSERT ON app.refresh_tokens
    FOR EACH ROW EXECUTE FUNCTION app.audit_sign_in();

-- {email} → NULL. A refused sign-in, told to the workspaces of the address's user. An unknown
-- address leaves an entry of no workspace, so that both take as long. The address itself is not
-- kept, and nobody is the actor: who it was is not known.
CREATE FUNCTION app.sign_in_refused(p jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM app.enter(NULL, NULL, p ->> 'request_id');
    INSERT INTO app.audit_log (workspace_id, action, resource_type, resource_id)
    SELECT place.workspace_id, 'sign_in_refused', 'user', known.id
    FROM (SELECT NULL) AS once
    LEFT JOIN app.users AS known ON lower(known.email) = lower(p ->> 'email')
    LEFT JOIN app.memberships AS place ON place.user_id = known.id;
    RETURN NULL;
END $$;
GRANT EXECUTE ON FUNCTION app.sign_in_refused(jsonb) TO chatbot_app;
