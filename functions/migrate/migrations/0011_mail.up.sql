-- What is done with the tokens that mails carry. `send_mail` makes a token when it sends it, so that
-- it stands in no queue; of it the database has the digest. Times are seconds.

-- Apart from the invitation, whose version and trail a mail does not change. `mail_id` is the
-- queue's message: it may come again and then gets its mail, another for the same version does not.
CREATE TABLE app.invitation_mails (
    workspace_id uuid NOT NULL,
    invitation_id uuid NOT NULL,
    version bigint NOT NULL,
    mail_id text NOT NULL,
    token_hash text NOT NULL CONSTRAINT invitation_mails_token UNIQUE,
    PRIMARY KEY (workspace_id, invitation_id),
    FOREIGN KEY (workspace_id, invitation_id)
        REFERENCES app.invitations (workspace_id, id) ON DELETE CASCADE
);
ALTER TABLE app.invitation_mails ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY migrator ON app.invitation_mails TO chatbot_migrator USING (true) WITH CHECK (true);
ALTER TABLE app.invitations DROP COLUMN token_hash;

-- {email, username, full_name, password_hash, verified} → User. Where addresses count as verified,
-- a known one raises CB409. Where they do not, it gets the same answer as a new one: a User with an
-- id of its own. A registration that nobody has confirmed gives way to the next: whoever takes a
-- foreign address first must not know its password once its owner has confirmed it.
CREATE OR REPLACE FUNCTION app.register(p jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    new_id uuid := gen_random_uuid();
    made app.users;
BEGIN
    IF (p ->> 'verified')::boolean THEN
        PERFORM app.enter(new_id, NULL, p ->> 'request_id');
        RETURN app.insert_user(p - 'is_admin' || jsonb_build_object('id', new_id));
    END IF;
    PERFORM app.enter(coalesce((SELECT id FROM app.users WHERE lower(email) = lower(p ->> 'email')),
        new_id), NULL, p ->> 'request_id');
    INSERT INTO app.users (id, email, username, full_name)
    VALUES (new_id, p ->> 'email', p ->> 'username', p ->> 'full_name')
    ON CONFLICT (lower(email)) DO UPDATE
        SET username = excluded.username, full_name = excluded.full_name
        WHERE NOT users.email_verified
    RETURNING * INTO made;
    IF FOUND THEN
        INSERT INTO app.credentials VALUES (made.id, p ->> 'password_hash')
        ON CONFLICT (user_id) DO UPDATE SET password_hash = excluded.password_hash;
        DELETE FROM app.one_time_tokens WHERE user_id = made.id;
    END IF;
    RETURN jsonb_build_object('id', new_id, 'email', p -> 'email', 'username', p -> 'username',
        'full_name', p -> 'full_name', 'is_active', true, 'is_admin', false,
        'created_at', now(), 'updated_at', now(), 'version', 1);
END $$;

-- {email, purpose, token_hash, expires_in} → {email, token}, or NULL where no mail is due: unknown
-- and inactive users. `token` is false where an address to be verified is already.
CREATE FUNCTION app.issue_token(p jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known app.users;
    due boolean;
BEGIN
    SELECT * INTO known FROM app.users WHERE lower(email) = lower(p ->> 'email') AND is_active;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    due := p ->> 'purpose' <> 'verify_email' OR NOT known.email_verified;
    IF due THEN
        DELETE FROM app.one_time_tokens WHERE user_id = known.id AND expires_at < now();
        INSERT INTO app.one_time_tokens (token_hash, user_id, purpose, expires_at)
        VALUES (p ->> 'token_hash', known.id, p ->> 'purpose',
            now() + make_interval(secs => (p ->> 'expires_in')::float));
    END IF;
    RETURN jsonb_build_object('email', known.email, 'token', due);
END $$;

-- The active user of a token, which is spent by this; NULL for a spent, expired or unknown one.
CREATE FUNCTION app.spend_token(p jsonb, p_purpose text) RETURNS uuid
LANGUAGE plpgsql AS $$
DECLARE
    holder uuid;
BEGIN
    DELETE FROM app.one_time_tokens AS token USING app.users AS person
    WHERE token.token_hash = p ->> 'token_hash' AND token.purpose = p_purpose
        AND token.expires_at > now() AND person.id = token.user_id AND person.is_active
    RETURNING person.id INTO holder;
    PERFORM app.enter(holder, NULL, p ->> 'request_id');
    RETURN holder;
END $$;

-- {token_hash} → {user_id}, or NULL where the token is not valid.
CREATE FUNCTION app.verify_email(p jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    holder uuid := app.spend_token(p, 'verify_email');
BEGIN
    UPDATE app.users SET email_verified = true WHERE id = holder;
    DELETE FROM app.one_time_tokens WHERE user_id = holder AND purpose = 'verify_email';
    RETURN CASE WHEN holder IS NOT NULL THEN jsonb_build_object('user_id', holder) END;
END $$;

-- {token_hash, password_hash} → {user_id}, or NULL where the token is not valid. All sessions and
-- tokens end. Whoever got the mail has proved the address, too.
CREATE FUNCTION app.reset_password(p jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    holder uuid := app.spend_token(p, 'reset_password');
BEGIN
    UPDATE app.users SET token_version = token_version + 1, email_verified = true
    WHERE id = holder;
    UPDATE app.credentials SET password_hash = p ->> 'password_hash' WHERE user_id = holder;
    DELETE FROM app.refresh_tokens WHERE user_id = holder;
    DELETE FROM app.one_time_tokens WHERE user_id = holder;
    RETURN CASE WHEN holder IS NOT NULL THEN jsonb_build_object('user_id', holder) END;
END $$;

-- {workspace_id, invitation_id, version, mail_id, token_hash} → {email, workspace: name}, or NULL
-- where no mail is due: the invitation is not pending in this version, or has its mail.
CREATE FUNCTION app.issue_invitation(p jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    due jsonb;
BEGIN
    SELECT jsonb_build_object('email', invited.email, 'workspace', place.name) INTO due
    FROM app.invitations AS invited
    JOIN app.workspaces AS place ON place.id = invited.workspace_id AND place.status = 'active'
    WHERE invited.workspace_id = (p ->> 'workspace_id')::uuid
        AND invited.id = (p ->> 'invitation_id')::uuid
        AND invited.version = (p ->> 'version')::bigint AND invited.status = 'pending';
    IF FOUND THEN
        INSERT INTO app.invitation_mails AS mail
            (workspace_id, invitation_id, version, mail_id, token_hash)
        VALUES ((p ->> 'workspace_id')::uuid, (p ->> 'invitation_id')::uuid,
            (p ->> 'version')::bigint, p ->> 'mail_id', p ->> 'token_hash')
        ON CONFLICT (workspace_id, invitation_id) DO UPDATE
            SET version = excluded.version, mail_id = excluded.mail_id,
                token_hash = excluded.token_hash
            WHERE mail.version < excluded.version OR mail.mail_id = excluded.mail_id;
    END IF;
    RETURN CASE WHEN FOUND THEN due END;
END $$;

-- {user_id, token_version, token_hash} → Workspace with the caller's permissions. Raises CB404 where
-- the token is not valid, or was mailed to another address than the caller's own verified one.
CREATE FUNCTION app.accept_invitation(p jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    caller app.users := app.caller(p);
    invited app.invitations;
    place app.workspaces;
BEGIN
    SELECT invitation.* INTO invited
    FROM app.invitation_mails AS mail
    JOIN app.invitations AS invitation
        ON (invitation.workspace_id, invitation.id) = (mail.workspace_id, mail.invitation_id)
    WHERE mail.token_hash = p ->> 'token_hash' AND mail.version = invitation.version
        AND invitation.status = 'pending' AND invitation.expires_at > now()
        AND lower(invitation.email) = lower(caller.email) AND caller.email_verified
    FOR UPDATE OF invitation;
    SELECT * INTO place FROM app.workspaces WHERE id = invited.workspace_id AND status = 'active';
    IF NOT FOUND THEN
        PERFORM app.fail('CB404', 'There is no such invitation to your address.');
    END IF;
    UPDATE app.invitations SET status = 'accepted'
    WHERE workspace_id = invited.workspace_id AND id = invited.id;
    INSERT INTO app.memberships (workspace_id, user_id, role_id)
    VALUES (place.id, caller.id, invited.role_id)
    ON CONFLICT DO NOTHING;
    RETURN app.json(place) || jsonb_build_object('permissions', (
        SELECT role.permissions
        FROM app.memberships AS member
        JOIN app.roles AS role
            ON (role.workspace_id, role.id) = (member.workspace_id, member.role_id)
        WHERE member.workspace_id = place.id AND member.user_id = caller.id));
END $$;

GRANT EXECUTE ON FUNCTION app.issue_token(jsonb), app.verify_email(jsonb),
    app.reset_password(jsonb), app.issue_invitation(jsonb), app.accept_invitation(jsonb)
TO chatbot_app;
