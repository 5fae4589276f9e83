DROP FUNCTION app.confirm(jsonb);
DROP FUNCTION app.passages(jsonb);
