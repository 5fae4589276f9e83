"""What each login sees and what it cannot reach, with two tenants, statement by statement."""

from typing import Any

import pytest

from chatbot import database
from chatbot.database import StatementFailed
from chatbot.errors import Conflict, NotFound
from tests.integration.database.conftest import Cluster, Tenant, register

TENANT_TABLES = ("roles", "memberships", "invitations", "chatbots", "audit_log")
INVITE = """
    INSERT INTO app.invitations AS i (email, role_id, expires_at)
    VALUES ('guest@example.com', ($1->>'role_id')::uuid, now() + interval '1 day')
    RETURNING app.json(i)
"""
NO_TENANT = "00000000-0000-0000-0000-000000000000"


def _run(tenant: Tenant, statement: str, params: dict[str, Any] | None = None) -> Any:
    """A statement in the tenant's workspace, as its owner. Tests only: it is no literal."""
    return database.query(tenant.owner, statement, params, workspace_id=tenant.workspace_id)


@pytest.fixture
def pair(tenants: tuple[Tenant, Tenant]) -> tuple[Tenant, Tenant]:
    """Two tenants with a row in every tenant table."""
    for tenant in tenants:
        _run(tenant, INVITE, {"role_id": tenant.roles["viewer"]})
    return tenants


@pytest.mark.parametrize("table", TENANT_TABLES)
def test_only_own_rows_are_seen_when_the_where_is_forgotten(
    cluster: Cluster, pair: tuple[Tenant, Tenant], table: str
) -> None:
    ours, theirs = pair
    rows = _run(ours, f"SELECT jsonb_agg(to_jsonb(t)) FROM app.{table} AS t")
    assert {row["workspace_id"] for row in rows} == {ours.workspace_id}
    own, other = (
        cluster.sql(f"SELECT count(*) FROM app.{table} WHERE workspace_id = '{workspace_id}'")
        for workspace_id in (ours.workspace_id, theirs.workspace_id)
    )
    assert own == [[str(len(rows))]]
    assert int(other[0][0]) > 0


def test_only_the_workspace_and_its_members_are_seen_when_the_where_is_forgotten(
    pair: tuple[Tenant, Tenant],
) -> None:
    ours, _ = pair
    assert _run(ours, "SELECT jsonb_agg(id) FROM app.workspaces") == [ours.workspace_id]
    people = _run(ours, "SELECT jsonb_agg(id) FROM app.users")
    assert set(people) == {ours.owner.user_id, ours.viewer.user_id}
    assert _run(ours, "SELECT jsonb_agg(k) FROM app.idempotency_keys k") is None


def test_other_tenants_rows_are_not_found_when_named_by_their_ids(
    pair: tuple[Tenant, Tenant],
) -> None:
    ours, theirs = pair
    for statement in (
        "SELECT app.json(c) FROM app.chatbots c WHERE id = ($1->>'chatbot')::uuid",
        "SELECT app.json(w) FROM app.workspaces w WHERE id = ($1->>'workspace')::uuid",
        "SELECT app.json(u) FROM app.users u WHERE id = ($1->>'user')::uuid",
        "SELECT app.json(m) FROM app.memberships m WHERE workspace_id = ($1->>'workspace')::uuid",
        "UPDATE app.chatbots SET name = '' WHERE id = ($1->>'chatbot')::uuid RETURNING to_jsonb(1)",
        "UPDATE app.workspaces SET name = 'x' WHERE id = ($1->>'workspace')::uuid"
        " RETURNING to_jsonb(id)",
        "UPDATE app.users SET username = 'x' WHERE id = ($1->>'user')::uuid RETURNING to_jsonb(id)",
        "DELETE FROM app.chatbots WHERE id = ($1->>'chatbot')::uuid RETURNING to_jsonb(id)",
        "DELETE FROM app.users WHERE id = ($1->>'user')::uuid RETURNING to_jsonb(id)",
        "DELETE FROM app.memberships WHERE user_id = ($1->>'user')::uuid RETURNING to_jsonb(1)",
    ):
        params = {
            "chatbot": theirs.chatbot_id,
            "workspace": theirs.workspace_id,
            "user": theirs.viewer.user_id,
        }
        assert _run(ours, statement, params) is None, statement


@pytest.mark.parametrize("table", [*TENANT_TABLES[:-1], "workspaces", "users"])
def test_other_tenants_rows_stay_as_they_are_when_a_write_forgets_its_where(
    cluster: Cluster, pair: tuple[Tenant, Tenant], table: str
) -> None:
    ours, theirs = pair
    column = {"memberships": "role_id", "users": "username", "invitations": "email"}.get(
        table, "name"
    )
    key = {"workspaces": "id", "users": "id"}.get(table, "workspace_id")
    value = theirs.viewer.user_id if table == "users" else theirs.workspace_id
    # Superusers see past row-level security: what is really there.
    stored = f"SELECT to_jsonb(t) FROM app.{table} t WHERE {key} = '{value}' ORDER BY 1"
    before = cluster.sql(stored)
    updated = _run(
        ours,
        f"""WITH done AS (UPDATE app.{table} SET {column} = {column} RETURNING 1)
            SELECT to_jsonb(count(*)) FROM done""",
    )
    assert updated > 0 or table == "roles"  # system roles are read-only
    if table in {"invitations", "chatbots"}:
        deleted = _run(
            ours,
            f"""WITH done AS (DELETE FROM app.{table} RETURNING 1)
                SELECT to_jsonb(count(*)) FROM done""",
        )
        assert deleted == 1
    assert cluster.sql(stored) == before
    assert before


@pytest.mark.parametrize("table", ["roles", "memberships", "invitations", "chatbots"])
def test_rows_cannot_be_put_into_another_tenant(pair: tuple[Tenant, Tenant], table: str) -> None:
    ours, theirs = pair
    move = f"UPDATE app.{table} SET workspace_id = ($1->>'workspace')::uuid RETURNING to_jsonb(1)"
    copies = {
        "roles": """INSERT INTO app.roles (workspace_id, name, permissions)
            VALUES (($1->>'workspace')::uuid, 'spy', '{}') RETURNING to_jsonb(id)""",
        "memberships": """INSERT INTO app.memberships (workspace_id, user_id, role_id)
            VALUES (($1->>'workspace')::uuid, app.user_id(), ($1->>'role')::uuid)
            RETURNING to_jsonb(user_id)""",
        "invitations": """INSERT INTO app.invitations (workspace_id, email, role_id, expires_at)
            VALUES (($1->>'workspace')::uuid, 'spy@example.com', ($1->>'role')::uuid, now())
            RETURNING to_jsonb(id)""",
        "chatbots": """INSERT INTO app.chatbots
            (workspace_id, name, model_id, temperature, max_tokens, max_tool_rounds, knowledge)
            VALUES (($1->>'workspace')::uuid, 'spy', 'm', 0, 1, 1, '{}') RETURNING to_jsonb(id)""",
    }
    params = {"workspace": theirs.workspace_id, "role": theirs.roles["owner"]}
    _run(
        ours,
        "INSERT INTO app.roles (name, permissions) VALUES ('own', '{}') RETURNING to_jsonb(id)",
    )
    for statement in (move, copies[table]):
        with pytest.raises(StatementFailed, match=r"^42501$"):
            _run(ours, statement, params)


def test_a_role_of_another_tenant_cannot_be_given(
    cluster: Cluster, pair: tuple[Tenant, Tenant]
) -> None:
    ours, theirs = pair
    for statement in (
        """UPDATE app.memberships SET role_id = ($1->>'role')::uuid
           WHERE user_id = ($1->>'user')::uuid RETURNING to_jsonb(1)""",
        """INSERT INTO app.invitations (email, role_id, expires_at)
           VALUES ('x@example.com', ($1->>'role')::uuid, now()) RETURNING to_jsonb(1)""",
    ):
        with pytest.raises(Conflict):
            _run(ours, statement, {"role": theirs.roles["viewer"], "user": ours.viewer.user_id})
    # The keys themselves hold it, for whoever writes.
    loose = cluster.sql(
        """
        SELECT conrelid::regclass, conname FROM pg_constraint AS key
        WHERE contype = 'f' AND connamespace = 'app'::regnamespace
            AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = confrelid
                AND attname = 'workspace_id' AND NOT attisdropped)
            AND NOT EXISTS (SELECT FROM generate_subscripts(conkey, 1) AS n
                JOIN pg_attribute AS own ON own.attrelid = conrelid AND own.attnum = conkey[n]
                JOIN pg_attribute AS far ON far.attrelid = confrelid AND far.attnum = confkey[n]
                WHERE own.attname = 'workspace_id' AND far.attname = 'workspace_id')
        """
    )
    assert loose == []


def test_unique_keys_of_tenant_tables_include_the_tenant(cluster: Cluster) -> None:
    leaky = cluster.sql(
        """
        SELECT indrelid::regclass::text FROM pg_index
        JOIN pg_class AS held ON held.oid = indrelid
        WHERE indisunique AND relnamespace = 'app'::regnamespace
            AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = indrelid
                AND attname = 'workspace_id' AND NOT attisdropped)
            AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = indrelid
                AND attname = 'workspace_id' AND attnum = ANY (indkey::int2[]))
        ORDER BY 1
        """
    )
    # The audit log's ids are never chosen by `app`; the keys' user is known, their route has the
    # workspace in it; a mail's token is random.
    assert leaky == [["app.audit_log"], ["app.idempotency_keys"], ["app.invitation_mails"]]


def test_a_member_of_two_tenants_sees_one_at_a_time(pair: tuple[Tenant, Tenant]) -> None:
    ours, theirs = pair
    _run(
        theirs,
        """INSERT INTO app.memberships (user_id, role_id)
           VALUES (($1->>'user')::uuid, ($1->>'role')::uuid) RETURNING to_jsonb(1)""",
        {"user": ours.owner.user_id, "role": theirs.roles["viewer"]},
    )
    for tenant in (ours, theirs):
        rows = database.query(
            ours.owner,
            "SELECT jsonb_agg(DISTINCT workspace_id) FROM app.memberships",
            workspace_id=tenant.workspace_id,
        )
        assert rows == [tenant.workspace_id]
    outside = database.query(ours.owner, "SELECT jsonb_agg(to_jsonb(m)) FROM app.memberships m")
    assert {row["user_id"] for row in outside} == {ours.owner.user_id}
    assert {row["workspace_id"] for row in outside} == {ours.workspace_id, theirs.workspace_id}
    assert database.query(ours.owner, "SELECT jsonb_agg(id) FROM app.chatbots") is None


def test_row_level_security_is_enabled_and_forced_on_every_table(cluster: Cluster) -> None:
    open_tables = cluster.sql(
        """SELECT relname FROM pg_class WHERE relnamespace = 'app'::regnamespace
           AND relkind IN ('r', 'p') AND NOT (relrowsecurity AND relforcerowsecurity)"""
    )
    assert open_tables == [["schema_migrations"]]  # no tenant's, and only the migrator's
    owners_views = cluster.sql(  # a view's owner is the migrator, whom no policy holds back
        """SELECT relname FROM pg_class
           WHERE relnamespace = 'app'::regnamespace AND relkind IN ('v', 'm')
               AND reloptions IS DISTINCT FROM '{security_invoker=true}'"""
    )
    assert owners_views == []


@pytest.mark.parametrize("login", ["migrator", "app", "worker"])
def test_no_login_is_privileged_or_belongs_to_another(cluster: Cluster, login: str) -> None:
    role = f"chatbot_{login}"
    attributes = cluster.sql(
        f"""SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication
            FROM pg_roles WHERE rolname = '{role}'"""
    )
    assert attributes == [["f"] * 5]
    belongs = cluster.sql(
        f"""SELECT roleid::regrole::text FROM pg_auth_members WHERE member = '{role}'::regrole"""
    )
    # To hand over to it what searches: nothing is inherited, and it may read chunks only.
    assert belongs == ([["chatbot_search"]] if login == "migrator" else [])
    others = {"migrator", "app", "worker"} - {login}
    for other in ("rdsadmin", "chatbot_master", *(f"chatbot_{name}" for name in others)):
        with pytest.raises(Exception, match="permission denied"):
            cluster.sql(f"SET ROLE {other}", user=role)


@pytest.mark.parametrize("login", ["app", "worker"])
def test_app_and_worker_own_nothing(cluster: Cluster, login: str) -> None:
    owned = cluster.sql(
        f"""SELECT classid::regclass, objid FROM pg_shdepend
            WHERE refobjid = 'chatbot_{login}'::regrole AND deptype = 'o'"""
    )
    assert owned == []


# Each is refused to `app` and to `worker`, whatever the variables say.
FORBIDDEN = (
    "ALTER TABLE app.chatbots DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE app.chatbots NO FORCE ROW LEVEL SECURITY",
    "ALTER TABLE app.chatbots DISABLE TRIGGER ALL",
    "ALTER TABLE app.chatbots OWNER TO CURRENT_USER",
    "DROP POLICY workspace ON app.chatbots",
    "CREATE POLICY mine ON app.chatbots USING (true)",
    "DROP TABLE app.chatbots",
    "DROP SCHEMA app CASCADE",
    "TRUNCATE app.chatbots",
    "CREATE TABLE app.mine AS SELECT 1",
    "CREATE VIEW app.mine AS SELECT * FROM app.chatbots",
    "CREATE TABLE public.mine AS SELECT 1",
    "CREATE TEMPORARY TABLE mine (id int)",
    "CREATE SCHEMA mine",
    "CREATE FUNCTION app.mine() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
    "CREATE OR REPLACE FUNCTION app.user_id() RETURNS uuid LANGUAGE sql AS 'SELECT NULL::uuid'",
    "CREATE TRIGGER mine BEFORE UPDATE ON app.chatbots FOR EACH ROW EXECUTE FUNCTION app.touch()",
    "CREATE ROLE mine SUPERUSER",
    "ALTER ROLE CURRENT_USER BYPASSRLS",
    "ALTER ROLE chatbot_migrator PASSWORD 'mine'",
    "GRANT chatbot_migrator TO CURRENT_USER",
    "SET SESSION AUTHORIZATION chatbot_migrator",
    "SET session_replication_role = replica",
    # An error instead of rows: PostgreSQL's answer to whom row-level security holds for.
    "DO $$ BEGIN SET LOCAL row_security = off; PERFORM FROM app.workspaces; END $$",
    "COPY app.users TO PROGRAM 'cat'",
    "COPY app.users TO '/tmp/users'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT rolpassword FROM pg_authid",
    "SELECT * FROM app.credentials",
    "SELECT * FROM app.refresh_tokens",
    "SELECT * FROM app.one_time_tokens",
    "SELECT * FROM app.schema_migrations",
    "SELECT app.create_administrator('{}')",
    "SELECT app.insert_user('{}')",
    "SELECT app.apply_migration('{}')",
    "SELECT app.revert_migration('{}')",
    "SELECT app.caller('{}')",
    "SELECT app.locked_caller('{}')",
    "UPDATE app.credentials SET password_hash = 'mine'",
    "UPDATE app.users SET is_admin = true",
    "UPDATE app.users SET is_active = true",
    "UPDATE app.users SET token_version = 9",
    "UPDATE app.users SET email = 'mine@example.com'",
    "UPDATE app.users SET version = 1",
    "INSERT INTO app.users (email, username, full_name) VALUES ('x', 'x', 'x')",
    "INSERT INTO app.workspaces (name, slug) VALUES ('x', 'x')",
    "DELETE FROM app.workspaces",
    "UPDATE app.audit_log SET action = 'nothing'",
    "DELETE FROM app.audit_log",
    "TRUNCATE app.audit_log",
    "INSERT INTO app.audit_log (actor_id, action, resource_type)"
    " VALUES (gen_random_uuid(), 'x', 'x')",
    "INSERT INTO app.audit_log (workspace_id, action, resource_type)"
    " VALUES (gen_random_uuid(), 'x', 'x')",
    "INSERT INTO app.audit_log (id, action, resource_type) VALUES (gen_random_uuid(), 'x', 'x')",
)
# Besides, to `app`.
FORBIDDEN_TO_APP = (
    "SELECT content FROM app.chunks",
    "SELECT embedding FROM app.chunks",
    "INSERT INTO app.chunks (document_id) VALUES (gen_random_uuid())",
    "UPDATE app.chunks SET content = 'mine'",
    "DELETE FROM app.document_versions",
    "SET ROLE chatbot_search",
)
# Besides, to `worker`.
FORBIDDEN_TO_WORKER = (
    "SELECT * FROM app.users",
    "SELECT * FROM app.memberships",
    "SELECT * FROM app.roles",
    "SELECT * FROM app.invitations",
    "SELECT * FROM app.chatbots",
    "SELECT * FROM app.idempotency_keys",
    "SELECT * FROM app.audit_log",
    "UPDATE app.workspaces SET name = 'x'",
    "SELECT app.query(NULL, NULL, NULL, NULL, 'SELECT 1', NULL, NULL)",
    "SELECT app.register('{}')",
    "SELECT app.credentials('{}')",
    "SELECT app.rotate_session('{}')",
)


@pytest.mark.parametrize(
    ("login", "statements"),
    [("app", (*FORBIDDEN, *FORBIDDEN_TO_APP)), ("worker", (*FORBIDDEN, *FORBIDDEN_TO_WORKER))],
)
def test_every_statement_tried_is_refused(
    cluster: Cluster, login: str, statements: tuple[str, ...]
) -> None:
    states = {}
    with cluster.as_login(login):
        for statement in statements:
            with pytest.raises(StatementFailed) as refusal:
                database.execute(statement)
            states[statement] = refusal.value.code
    assert {code for code in states.values() if code != "42501"} == set(), states


def test_app_may_not_act_as_the_worker(tenants: tuple[Tenant, Tenant]) -> None:
    with pytest.raises(StatementFailed, match=r"^42501$"):
        database.system(tenants[1].workspace_id, "SELECT jsonb_agg(id) FROM app.workspaces")


@pytest.mark.parametrize("user", ["chatbot_app", "chatbot_worker"])
def test_nothing_is_seen_when_the_variables_are_unset_or_left_over(
    cluster: Cluster, pair: tuple[Tenant, Tenant], user: str
) -> None:
    ours, _ = pair
    tables = (
        ("workspaces",) if user == "chatbot_worker" else (*TENANT_TABLES, "workspaces", "users")
    )
    for table in tables:
        assert cluster.sql(f"SELECT * FROM app.{table}", user=user) == []
    # The pool lends out the newest session again: the variables are now empty strings in it.
    set_one = f"SELECT set_config('app.workspace_id', '{ours.workspace_id}', true)"
    assert cluster.sql(set_one, user=user) == [[ours.workspace_id]]
    for table in tables:
        assert cluster.sql(f"SELECT * FROM app.{table}", user=user) == []


def test_statistics_tell_nothing_of_other_tenants(
    cluster: Cluster, tenants: tuple[Tenant, Tenant]
) -> None:
    cluster.sql("ANALYZE")
    assert cluster.sql("SELECT count(*) > 0 FROM pg_stats WHERE schemaname = 'app'") == [["t"]]
    for user in ("chatbot_app", "chatbot_worker"):
        seen = cluster.sql("SELECT tablename FROM pg_stats WHERE schemaname = 'app'", user=user)
        assert seen == []


def test_app_and_worker_run_no_functions_but_theirs(cluster: Cluster) -> None:
    def granted(role: str) -> set[str]:
        rows = cluster.sql(
            f"""SELECT proname FROM pg_proc WHERE pronamespace = 'app'::regnamespace
                AND has_function_privilege('{role}', oid, 'EXECUTE')"""
        )
        return {row[0] for row in rows}

    inside = {"user_id", "workspace_id", "administrator", "enter", "fail", "json", "page", "pieces"}
    inside |= {"find", "search", "confirm", "passages", "remove_document"}
    assert granted("chatbot_worker") == inside | {
        "system", "due_purges", "purge_user", "purge_workspace", "replace_chunks", "workspace_ids",
        "located", "key_of", "keys_of",
    }  # fmt: skip
    assert granted("chatbot_app") == inside | {
        "all_permissions", "permissions", "claim", "keep", "query", "register", "credentials",
        "start_session", "rotate_session", "end_session", "password_hash", "change_password",
        "create_workspace", "list_workspaces", "create_user", "update_user", "delete_user",
        "chat_context", "verified_user", "acts_in_workspace", "is_owner_role", "owns",
        "issue_token", "verify_email", "reset_password", "issue_invitation", "accept_invitation",
        "sign_in_refused",
    }  # fmt: skip
    loose = cluster.sql(
        """SELECT proname FROM pg_proc WHERE pronamespace = 'app'::regnamespace AND prosecdef
           AND coalesce(array_to_string(proconfig, ' '), '') NOT LIKE
               'search_path=pg_catalog, pg_temp%'"""
    )
    assert loose == []


def test_worker_sees_only_the_workspace_it_is_pinned_to(
    cluster: Cluster, tenants: tuple[Tenant, Tenant]
) -> None:
    ours, theirs = tenants
    everything = "SELECT jsonb_agg(id) FROM app.workspaces"
    with cluster.as_login("worker"):
        assert database.system(ours.workspace_id, everything) == [ours.workspace_id]
        assert database.system(theirs.workspace_id, everything) == [theirs.workspace_id]
        assert database.system(NO_TENANT, everything) is None
        database.system(
            ours.workspace_id,
            """WITH done AS (
                   INSERT INTO app.audit_log (action, resource_type) VALUES ('purge', 'workspace'))
               SELECT to_jsonb(true)""",
        )
    trail = cluster.sql(
        f"""SELECT actor_id FROM app.audit_log
            WHERE workspace_id = '{ours.workspace_id}' AND action = 'purge'"""
    )
    assert trail == [[None]]


def test_migrator_sees_all_tenants_by_its_policies_and_is_refused_the_rest(
    cluster: Cluster, tenants: tuple[Tenant, Tenant]
) -> None:
    ours, theirs = tenants
    seen = {row[0] for row in cluster.sql("SELECT id FROM app.workspaces", user="chatbot_migrator")}
    assert {ours.workspace_id, theirs.workspace_id} <= seen
    # A back-fill touches every row, though row-level security is forced.
    filled = cluster.sql(
        "UPDATE app.chatbots SET name = name RETURNING workspace_id", user="chatbot_migrator"
    )
    assert {ours.workspace_id, theirs.workspace_id} <= {row[0] for row in filled}
    with cluster.as_login("migrator"):
        for statement in (
            "CREATE ROLE mine",
            "ALTER ROLE chatbot_app SUPERUSER",
            "ALTER ROLE chatbot_app BYPASSRLS",
            "ALTER ROLE chatbot_worker PASSWORD 'mine'",
            "SELECT rolpassword FROM pg_authid",
            "CREATE DATABASE mine",
            "SELECT pg_read_file('/etc/passwd')",
        ):
            with pytest.raises(StatementFailed, match=r"^42501$"):
                database.execute(statement)


def test_a_stranger_finds_no_workspace(tenants: tuple[Tenant, Tenant]) -> None:
    ours, theirs = tenants
    everything = "SELECT jsonb_agg(id) FROM app.chatbots"
    for caller in (register("stranger"), ours.owner):
        for workspace_id in (theirs.workspace_id, NO_TENANT):
            with pytest.raises(NotFound):
                database.query(caller, everything, workspace_id=workspace_id)
