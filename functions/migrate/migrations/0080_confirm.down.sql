DROP FUNCTION app.confirm(jsonb);
REVOKE SELECT (number, content, embedding) ON app.chunks FROM chatbot_app;
