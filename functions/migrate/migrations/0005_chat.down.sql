DROP FUNCTION app.chat_context(jsonb);
