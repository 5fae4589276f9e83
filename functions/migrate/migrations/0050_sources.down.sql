REVOKE SELECT (source_id) ON app.chunks FROM chatbot_app;
DROP TABLE app.sources;
