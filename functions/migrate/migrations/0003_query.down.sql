DROP FUNCTION app.system(uuid, text, jsonb, text);
DROP FUNCTION app.query(uuid, integer, uuid, text, text, jsonb, jsonb);
DROP FUNCTION app.keep(jsonb, jsonb);
DROP FUNCTION app.claim(jsonb);
