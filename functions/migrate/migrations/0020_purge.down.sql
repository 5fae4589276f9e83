DROP FUNCTION app.sign_in_refused(jsonb);
DROP TRIGGER audit_sign_in ON app.refresh_tokens;
DROP FUNCTION app.audit_sign_in();
DROP FUNCTION app.purge_workspace(jsonb), app.purge_user(jsonb), app.workspace_ids(jsonb),
    app.due_purges(jsonb);
DROP INDEX app.workspaces_deleting, app.invitations_address;
DROP TRIGGER forget_user ON app.users;
DROP FUNCTION app.forget_user();
DROP TABLE app.purges;
