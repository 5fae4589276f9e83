-- What workspaces draw knowledge from. Credentials are in Secrets Manager, one secret a source, and
-- runs in DynamoDB. A workspace goes after its sources, whose schedules and secrets it would orphan.
CREATE TABLE app.sources (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    workspace_id uuid NOT NULL DEFAULT app.workspace_id() REFERENCES app.workspaces,
    provider text NOT NULL,
    name text NOT NULL,
    config jsonb NOT NULL,
    schedule text NOT NULL,
    is_enabled boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (workspace_id, id)
);
CREATE INDEX sources_newest ON app.sources (workspace_id, created_at DESC, id DESC);

ALTER TABLE app.sources ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY migrator ON app.sources TO chatbot_migrator USING (true) WITH CHECK (true);
CREATE POLICY workspace ON app.sources TO chatbot_app, chatbot_worker
    USING (workspace_id = (SELECT app.workspace_id()));
CREATE TRIGGER touch BEFORE UPDATE OR DELETE ON app.sources
    FOR EACH ROW EXECUTE FUNCTION app.touch();
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON app.sources
    FOR EACH ROW EXECUTE FUNCTION app.audit('source', '');

GRANT SELECT, INSERT, UPDATE, DELETE ON app.sources TO chatbot_app;
GRANT SELECT, DELETE ON app.sources TO chatbot_worker;
-- A source goes with what is searched of it.
GRANT SELECT (source_id) ON app.chunks TO chatbot_app;
