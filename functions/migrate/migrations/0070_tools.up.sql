-- A turn knows what its user may do, so that the model is offered no tool that they may not use.
CREATE OR REPLACE FUNCTION app.chat_context(p jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    caller app.users;
    place app.workspaces;
    bot app.chatbots;
    held text[];
BEGIN
    SELECT * INTO caller FROM app.users
    WHERE id = (p ->> 'user_id')::uuid AND is_active
        AND token_version = (p ->> 'token_version')::integer;
    IF NOT FOUND THEN
        PERFORM app.fail('CB401', 'Unauthorized');
    END IF;
    SELECT candidate.* INTO bot
    FROM app.memberships AS member
    JOIN app.chatbots AS candidate
        ON candidate.workspace_id = member.workspace_id AND candidate.id = (p ->> 'chatbot_id')::uuid
    WHERE member.user_id = caller.id;
    SELECT * INTO place FROM app.workspaces WHERE id = bot.workspace_id AND status = 'active';
    IF NOT FOUND THEN
        PERFORM app.fail('CB404', 'There is no such chatbot.');
    END IF;
    SELECT role.permissions INTO held
    FROM app.memberships AS member
    JOIN app.roles AS role ON (role.workspace_id, role.id) = (member.workspace_id, member.role_id)
    WHERE member.workspace_id = place.id AND member.user_id = caller.id;
    IF 'chat:use' <> ALL (held) THEN
        PERFORM app.fail('CB403', 'The permission chat:use is needed.');
    END IF;
    IF NOT bot.is_active THEN
        PERFORM app.fail('CB403', 'The chatbot is switched off.');
    END IF;
    RETURN jsonb_build_object(
        'user', jsonb_build_object(
            'id', caller.id, 'email', caller.email, 'username', caller.username,
            'full_name', caller.full_name),
        'workspace', jsonb_build_object(
            'id', place.id, 'name', place.name, 'slug', place.slug, 'quota', place.quota),
        'chatbot', app.json(bot),
        'permissions', to_jsonb(held));
END $$;
