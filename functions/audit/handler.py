"""The audit trail of a workspace, as triggers and `chatbot.audit` write it."""

from typing import Any

from chatbot.api import Api, Request
from chatbot.paging import Page

api = Api("audit")


@api.get("/workspaces/<workspace_id>/audit", "audit:read")
def index(request: Request, page: Page) -> Any:
    """List who did what, or was denied what, newest first."""
    return page.answer(request.query(LIST, page.params))


LIST = """
SELECT app.page(array_agg(item ORDER BY created_at DESC, id DESC), ($1 ->> 'limit')::int)
FROM (
    SELECT created_at, id, app.json(entry) AS item
    FROM app.audit_log AS entry
    WHERE workspace_id = app.workspace_id() AND ($1 -> 'after' IS NULL OR (created_at, id)
        < (($1 #>> '{after,created_at}')::timestamptz, ($1 #>> '{after,id}')::uuid))
    ORDER BY created_at DESC, id DESC
    LIMIT ($1 ->> 'limit')::int + 1
) AS listed
"""

handler = api.handler
