DROP FUNCTION app.search(jsonb);
DROP FUNCTION app.remove_document(jsonb);
DROP FUNCTION app.replace_chunks(jsonb);
DROP TABLE app.chunks;
DROP TABLE app.document_versions;
REVOKE EXECUTE ON FUNCTION app.workspace_id() FROM chatbot_search;
REVOKE USAGE ON SCHEMA app FROM chatbot_search;
