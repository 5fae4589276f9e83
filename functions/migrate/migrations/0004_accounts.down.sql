DROP FUNCTION app.create_administrator(jsonb), app.delete_user(jsonb), app.update_user(jsonb),
    app.create_user(jsonb), app.administrating_caller(jsonb), app.list_workspaces(jsonb),
    app.create_workspace(jsonb), app.change_password(jsonb), app.password_hash(jsonb),
    app.end_session(jsonb), app.rotate_session(jsonb), app.start_session(jsonb),
    app.credentials(jsonb), app.register(jsonb), app.insert_user(jsonb), app.locked_caller(jsonb),
    app.caller(jsonb);
