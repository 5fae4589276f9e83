DROP FUNCTION app.accept_invitation(jsonb), app.issue_invitation(jsonb), app.reset_password(jsonb),
    app.verify_email(jsonb), app.spend_token(jsonb, text), app.issue_token(jsonb);

CREATE OR REPLACE FUNCTION app.register(p jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    new_id uuid := gen_random_uuid();
BEGIN
    PERFORM app.enter(new_id, NULL, p ->> 'request_id');
    RETURN app.insert_user(p - 'is_admin' || jsonb_build_object('id', new_id));
END $$;

ALTER TABLE app.invitations ADD COLUMN token_hash text;
CREATE UNIQUE INDEX invitations_token ON app.invitations (workspace_id, token_hash);
DROP TABLE app.invitation_mails;
