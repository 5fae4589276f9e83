-- Users, workspaces and what belongs to a workspace. Row-level security is enabled and forced on
-- every table: it holds for the owner too, who has a policy of its own.

CREATE TABLE app.users (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email text NOT NULL,
    username text NOT NULL,
    full_name text NOT NULL,
    is_active boolean NOT NULL DEFAULT true,
    is_admin boolean NOT NULL DEFAULT false,
    email_verified boolean NOT NULL DEFAULT false,
    token_version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version bigint NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX users_email ON app.users (lower(email));
CREATE INDEX users_newest ON app.users (created_at DESC, id DESC);

-- Apart from `users`, so that no statement of `app` can read a hash.
CREATE TABLE app.credentials (
    user_id uuid PRIMARY KEY REFERENCES app.users ON DELETE CASCADE,
    password_hash text NOT NULL
);

-- A family is one sign-in: the token of each refresh, the spent ones kept to recognise their reuse.
-- A revoked family has no rows.
CREATE TABLE app.refresh_tokens (
    token_hash text PRIMARY KEY,
    family_id uuid NOT NULL,
    user_id uuid NOT NULL REFERENCES app.users ON DELETE CASCADE,
    expires_at timestamptz NOT NULL,
    family_expires_at timestamptz NOT NULL,
    spent_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX refresh_tokens_family ON app.refresh_tokens (family_id);
CREATE INDEX refresh_tokens_user ON app.refresh_tokens (user_id);

CREATE TABLE app.one_time_tokens (
    token_hash text PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES app.users ON DELETE CASCADE,
    purpose text NOT NULL CHECK (purpose IN ('verify_email', 'reset_password')),
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX one_time_tokens_user ON app.one_time_tokens (user_id);

CREATE TABLE app.workspaces (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name text NOT NULL,
    slug text NOT NULL CONSTRAINT workspaces_slug UNIQUE,
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'deleting')),
    quota jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version bigint NOT NULL DEFAULT 1
);
CREATE INDEX workspaces_newest ON app.workspaces (created_at DESC, id DESC);

CREATE FUNCTION app.all_permissions() RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN '{workspace:update,workspace:delete,members:read,members:write,roles:read,roles:write,
    chatbots:read,chatbots:write,chat:use,conversations:read_all,feedback:read,
    sources:read,sources:write,documents:read,documents:write,usage:read,audit:read}'::text[];

-- Copied into each workspace when it is made.
CREATE FUNCTION app.system_roles() RETURNS TABLE (name text, permissions text[])
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    VALUES ('owner', app.all_permissions()),
        ('admin', array_remove(app.all_permissions(), 'workspace:delete')),
        ('editor', '{members:read,roles:read,chatbots:read,chatbots:write,chat:use,feedback:read,
            sources:read,sources:write,documents:read,documents:write,usage:read}'::text[]),
        ('viewer', '{members:read,chatbots:read,chat:use,documents:read}'::text[])
$$;
GRANT EXECUTE ON FUNCTION app.all_permissions() TO chatbot_app;

-- Keys between tables of a workspace hold the workspace too: a plain one would let a role of one
-- workspace be given to a member of another.
CREATE TABLE app.roles (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    workspace_id uuid NOT NULL DEFAULT app.workspace_id() REFERENCES app.workspaces ON DELETE CASCADE,
    name text NOT NULL,
    permissions text[] NOT NULL CHECK (permissions <@ app.all_permissions()),
    is_system boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (workspace_id, id),
    CONSTRAINT roles_name UNIQUE (workspace_id, name)
);

CREATE TABLE app.memberships (
    workspace_id uuid NOT NULL DEFAULT app.workspace_id() REFERENCES app.workspaces ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES app.users ON DELETE CASCADE,
    role_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (workspace_id, user_id),
    FOREIGN KEY (workspace_id, role_id) REFERENCES app.roles (workspace_id, id)
);
CREATE INDEX memberships_user ON app.memberships (user_id);
CREATE INDEX memberships_role ON app.memberships (workspace_id, role_id);

CREATE TABLE app.invitations (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    workspace_id uuid NOT NULL DEFAULT app.workspace_id() REFERENCES app.workspaces ON DELETE CASCADE,
    email text NOT NULL,
    role_id uuid NOT NULL,
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'accepted')),
    token_hash text,
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (workspace_id, id),
    FOREIGN KEY (workspace_id, role_id) REFERENCES app.roles (workspace_id, id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX invitations_email ON app.invitations (workspace_id, lower(email))
    WHERE status = 'pending';
CREATE UNIQUE INDEX invitations_token ON app.invitations (workspace_id, token_hash);

CREATE TABLE app.chatbots (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    workspace_id uuid NOT NULL DEFAULT app.workspace_id() REFERENCES app.workspaces ON DELETE CASCADE,
    name text NOT NULL,
    description text NOT NULL DEFAULT '',
    system_prompt text NOT NULL DEFAULT '',
    model_id text NOT NULL,
    temperature double precision NOT NULL CHECK (temperature BETWEEN 0 AND 1),
    top_p double precision CHECK (top_p BETWEEN 0 AND 1),
    max_tokens integer NOT NULL CHECK (max_tokens > 0),
    tools text[] NOT NULL DEFAULT '{}',
    max_tool_rounds integer NOT NULL CHECK (max_tool_rounds BETWEEN 1 AND 10),
    knowledge jsonb NOT NULL,
    guardrail_enabled boolean NOT NULL DEFAULT false,
    is_active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (workspace_id, id)
);
CREATE INDEX chatbots_newest ON app.chatbots (workspace_id, created_at DESC, id DESC);

-- The answers of creating calls, for 24 hours.
CREATE TABLE app.idempotency_keys (
    user_id uuid NOT NULL DEFAULT app.user_id() REFERENCES app.users ON DELETE CASCADE,
    route text NOT NULL,
    key text NOT NULL,
    workspace_id uuid DEFAULT app.workspace_id() REFERENCES app.workspaces ON DELETE CASCADE,
    body_hash text NOT NULL,
    answer jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, route, key)
);
CREATE INDEX idempotency_keys_workspace ON app.idempotency_keys (workspace_id);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY '{users,credentials,refresh_tokens,one_time_tokens,workspaces,roles,
        memberships,invitations,chatbots,idempotency_keys}'::text[] LOOP
        EXECUTE format('ALTER TABLE app.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY migrator ON app.%I TO chatbot_migrator
            USING (true) WITH CHECK (true)', name);
    END LOOP;
    FOREACH name IN ARRAY '{users,workspaces,roles,memberships,invitations,chatbots}'::text[] LOOP
        EXECUTE format('CREATE TRIGGER touch BEFORE UPDATE OR DELETE ON app.%I
            FOR EACH ROW EXECUTE FUNCTION app.touch()', name);
    END LOOP;
    FOREACH name IN ARRAY '{invitations,chatbots}'::text[] LOOP
        EXECUTE format('CREATE POLICY workspace ON app.%I TO chatbot_app
            USING (workspace_id = (SELECT app.workspace_id()))', name);
    END LOOP;
END $$;

-- Within a workspace its members; outside of any, the caller's own.
CREATE POLICY reads ON app.memberships FOR SELECT TO chatbot_app
    USING (workspace_id = (SELECT app.workspace_id())
        OR (SELECT app.workspace_id()) IS NULL AND user_id = (SELECT app.user_id()));
CREATE POLICY inserts ON app.memberships FOR INSERT TO chatbot_app
    WITH CHECK (workspace_id = (SELECT app.workspace_id()));
CREATE POLICY updates ON app.memberships FOR UPDATE TO chatbot_app
    USING (workspace_id = (SELECT app.workspace_id()));
CREATE POLICY deletes ON app.memberships FOR DELETE TO chatbot_app
    USING (workspace_id = (SELECT app.workspace_id()));

-- The caller, and the members of the workspace; nobody changes or removes another this way.
CREATE POLICY reads ON app.users FOR SELECT TO chatbot_app
    USING (id = (SELECT app.user_id()) OR (SELECT app.administrator())
        OR id IN (SELECT user_id FROM app.memberships
                  WHERE workspace_id = (SELECT app.workspace_id())));
CREATE POLICY updates ON app.users FOR UPDATE TO chatbot_app
    USING (id = (SELECT app.user_id()));
CREATE POLICY deletes ON app.users FOR DELETE TO chatbot_app
    USING (id = (SELECT app.user_id()));

CREATE POLICY reads ON app.workspaces FOR SELECT TO chatbot_app
    USING (id = (SELECT app.workspace_id()) OR (SELECT app.administrator()));
CREATE POLICY updates ON app.workspaces FOR UPDATE TO chatbot_app
    USING (id = (SELECT app.workspace_id()));
CREATE POLICY worker ON app.workspaces FOR SELECT TO chatbot_worker
    USING (id = (SELECT app.workspace_id()));

-- System roles are read-only.
CREATE POLICY reads ON app.roles FOR SELECT TO chatbot_app
    USING (workspace_id = (SELECT app.workspace_id()));
CREATE POLICY inserts ON app.roles FOR INSERT TO chatbot_app
    WITH CHECK (workspace_id = (SELECT app.workspace_id()) AND NOT is_system);
CREATE POLICY updates ON app.roles FOR UPDATE TO chatbot_app
    USING (workspace_id = (SELECT app.workspace_id()) AND NOT is_system);
CREATE POLICY deletes ON app.roles FOR DELETE TO chatbot_app
    USING (workspace_id = (SELECT app.workspace_id()) AND NOT is_system);

CREATE POLICY own ON app.idempotency_keys TO chatbot_app USING (user_id = (SELECT app.user_id()));

GRANT SELECT, DELETE, UPDATE (username, full_name) ON app.users TO chatbot_app;
GRANT SELECT, UPDATE (name, slug, status, quota) ON app.workspaces TO chatbot_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON app.roles, app.memberships, app.invitations, app.chatbots,
    app.idempotency_keys TO chatbot_app;
GRANT SELECT ON app.workspaces TO chatbot_worker;

-- The permissions of the caller in the workspace of the call.
CREATE FUNCTION app.permissions() RETURNS jsonb
LANGUAGE sql STABLE
RETURN coalesce((
    SELECT to_jsonb(role.permissions)
    FROM app.memberships AS member
    JOIN app.roles AS role ON (role.workspace_id, role.id) = (member.workspace_id, member.role_id)
    WHERE member.workspace_id = app.workspace_id() AND member.user_id = app.user_id()), '[]');
GRANT EXECUTE ON FUNCTION app.permissions() TO chatbot_app;

CREATE FUNCTION app.guard_quota() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT app.administrator() THEN
        PERFORM app.fail('CB403', 'Quotas are changed by platform administrators.');
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard_quota BEFORE UPDATE OF quota ON app.workspaces
    FOR EACH ROW WHEN (OLD.quota IS DISTINCT FROM NEW.quota) EXECUTE FUNCTION app.guard_quota();

-- Whoever is deactivated is signed out: reactivating brings no token back to life.
CREATE FUNCTION app.end_sessions() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.token_version := OLD.token_version + 1;
    DELETE FROM app.refresh_tokens WHERE user_id = OLD.id;
    RETURN NEW;
END $$;
CREATE TRIGGER end_sessions BEFORE UPDATE OF is_active ON app.users
    FOR EACH ROW WHEN (OLD.is_active AND NOT NEW.is_active) EXECUTE FUNCTION app.end_sessions();

-- An active workspace keeps an owner. The lock on the workspace makes two owners who leave at the
-- same moment go one after the other.
CREATE FUNCTION app.keep_owner() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    owner_id uuid;
BEGIN
    SELECT id INTO owner_id FROM app.roles
    WHERE workspace_id = OLD.workspace_id AND is_system AND name = 'owner';
    IF OLD.role_id = owner_id THEN
        PERFORM FROM app.workspaces
        WHERE id = OLD.workspace_id AND status = 'active' FOR NO KEY UPDATE;
        IF FOUND AND NOT EXISTS (SELECT FROM app.memberships
            WHERE workspace_id = OLD.workspace_id AND role_id = owner_id) THEN
            PERFORM app.fail('CB409', 'A workspace keeps at least one owner.');
        END IF;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER keep_owner AFTER UPDATE OF role_id OR DELETE ON app.memberships
    FOR EACH ROW EXECUTE FUNCTION app.keep_owner();

CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON app.users
    FOR EACH ROW EXECUTE FUNCTION app.audit('user', 'email,username,full_name');
CREATE TRIGGER audit AFTER INSERT OR UPDATE ON app.credentials
    FOR EACH ROW EXECUTE FUNCTION app.audit('credentials', 'password_hash');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON app.workspaces
    FOR EACH ROW EXECUTE FUNCTION app.audit('workspace', '');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON app.roles
    FOR EACH ROW EXECUTE FUNCTION app.audit('role', '');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON app.memberships
    FOR EACH ROW EXECUTE FUNCTION app.audit('member', '');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON app.invitations
    FOR EACH ROW EXECUTE FUNCTION app.audit('invitation', 'email,token_hash');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON app.chatbots
    FOR EACH ROW EXECUTE FUNCTION app.audit('chatbot', 'system_prompt');
