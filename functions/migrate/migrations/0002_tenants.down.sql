DROP TABLE app.idempotency_keys, app.chatbots, app.invitations;
DROP FUNCTION app.permissions();
-- The policy reads memberships, which depend on users.
DROP POLICY reads ON app.users;
DROP TABLE app.memberships, app.roles, app.workspaces;
DROP TABLE app.one_time_tokens, app.refresh_tokens, app.credentials, app.users;
DROP FUNCTION app.keep_owner();
DROP FUNCTION app.end_sessions();
DROP FUNCTION app.guard_quota();
DROP FUNCTION app.system_roles();
DROP FUNCTION app.all_permissions();
