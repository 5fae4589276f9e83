-- Who may give which role, once for every way to give one, and who may administer. These rules hold
-- for users at work in a workspace: where one is being made or purged, or an invitation is accepted,
-- the call is about no workspace or by no user.

-- The user of a verified address, in any workspace or none.
CREATE FUNCTION app.verified_user(p_email text) RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
RETURN (SELECT id FROM app.users WHERE lower(email) = lower(p_email) AND email_verified);

CREATE FUNCTION app.acts_in_workspace() RETURNS boolean
LANGUAGE sql STABLE
RETURN app.user_id() IS NOT NULL AND app.workspace_id() IS NOT NULL;

CREATE FUNCTION app.is_owner_role(p_role_id uuid) RETURNS boolean
LANGUAGE sql STABLE
RETURN EXISTS (SELECT FROM app.roles
    WHERE workspace_id = app.workspace_id() AND id = p_role_id AND is_system AND name = 'owner');

-- Whether the caller is an owner of the workspace of the call.
CREATE FUNCTION app.owns() RETURNS boolean
LANGUAGE sql STABLE
RETURN EXISTS (SELECT FROM app.memberships
    WHERE workspace_id = app.workspace_id() AND user_id = app.user_id()
        AND app.is_owner_role(role_id));

-- Changes of members go one after the other, and each by a caller who still may: the call's check
-- may be older than the change that it waited for.
CREATE FUNCTION app.take_turns() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF app.acts_in_workspace() THEN
        PERFORM FROM app.workspaces WHERE id = app.workspace_id() FOR NO KEY UPDATE;
        IF NOT app.permissions() ? 'members:write' THEN
            PERFORM app.fail('CB409', 'Your own membership has changed meanwhile.');
        END IF;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER take_turns BEFORE INSERT OR UPDATE OR DELETE ON app.memberships
    FOR EACH STATEMENT EXECUTE FUNCTION app.take_turns();

-- Nobody gives a role that holds what they lack, to themselves neither, and only owners make owners.
CREATE FUNCTION app.guard_grant() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    wanted text[];
BEGIN
    IF app.acts_in_workspace() THEN
        SELECT permissions INTO wanted FROM app.roles
        WHERE workspace_id = NEW.workspace_id AND id = NEW.role_id;
        IF NOT to_jsonb(wanted) <@ app.permissions() THEN
            PERFORM app.fail('CB403', 'The role holds permissions that you lack.');
        END IF;
        IF app.is_owner_role(NEW.role_id) AND NOT app.owns() THEN
            PERFORM app.fail('CB403', 'Only owners make owners.');
        END IF;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard_grant BEFORE INSERT OR UPDATE ON app.memberships
    FOR EACH ROW EXECUTE FUNCTION app.guard_grant();
CREATE TRIGGER guard_grant BEFORE INSERT OR UPDATE ON app.invitations
    FOR EACH ROW EXECUTE FUNCTION app.guard_grant();

-- An owner's role is taken by owners, or left. Of the last one `keep_owner` tells, whoever asks.
CREATE FUNCTION app.guard_owner() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF app.acts_in_workspace() AND app.is_owner_role(OLD.role_id) AND NOT app.owns()
        AND EXISTS (SELECT FROM app.memberships
            WHERE workspace_id = OLD.workspace_id AND role_id = OLD.role_id
                AND user_id <> OLD.user_id) THEN
        PERFORM app.fail('CB403', 'Only owners change or remove owners.');
    END IF;
    RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END $$;
CREATE TRIGGER guard_owner BEFORE UPDATE OR DELETE ON app.memberships
    FOR EACH ROW EXECUTE FUNCTION app.guard_owner();

-- A role gains only what the caller holds. (What is no permission fails the table's check.)
CREATE FUNCTION app.guard_permissions() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    held jsonb := CASE WHEN TG_OP = 'UPDATE' THEN to_jsonb(OLD.permissions) ELSE '[]' END;
BEGIN
    IF app.acts_in_workspace() AND NEW.permissions <@ app.all_permissions()
        AND NOT to_jsonb(NEW.permissions) <@ (held || app.permissions()) THEN
        PERFORM app.fail('CB403', 'The role would hold permissions that you lack.');
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard_permissions BEFORE INSERT OR UPDATE ON app.roles
    FOR EACH ROW EXECUTE FUNCTION app.guard_permissions();

-- The platform keeps an administrator who can sign in. The lock makes two who take each other's
-- place away at the same moment go one after the other.
CREATE FUNCTION app.keep_administrator() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock('app.users'::regclass::oid::bigint);
    IF NOT EXISTS (SELECT FROM app.users WHERE is_admin AND is_active) THEN
        PERFORM app.fail('CB409', 'The platform keeps at least one active administrator.');
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER keep_administrator AFTER UPDATE OF is_admin, is_active ON app.users
    FOR EACH ROW
    WHEN (OLD.is_admin AND OLD.is_active AND NOT (NEW.is_admin AND NEW.is_active))
    EXECUTE FUNCTION app.keep_administrator();
CREATE TRIGGER keep_administrator_when_deleted AFTER DELETE ON app.users
    FOR EACH ROW WHEN (OLD.is_admin AND OLD.is_active)
    EXECUTE FUNCTION app.keep_administrator();

GRANT EXECUTE ON FUNCTION app.verified_user(text), app.acts_in_workspace(), app.is_owner_role(uuid),
    app.owns() TO chatbot_app;
