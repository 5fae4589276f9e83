"""Workspaces: the tenants. Whoever makes one becomes its owner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chatbot import purging
from chatbot.api import Access, Api, Request
from chatbot.paging import Page
from chatbot.settings import settings

if TYPE_CHECKING:
    from functions.workspaces.bodies import NewWorkspace, WorkspacePatch

api = Api("workspaces")


@api.get("/workspaces", Access.ACCOUNT)
def index(request: Request, page: Page) -> dict[str, Any]:
    """List the workspaces that the caller is a member of."""
    return page.answer(request.call("app.list_workspaces", page.params))


@api.post("/workspaces", Access.ACCOUNT, status=201, idempotent=True)
def create(request: Request, body: NewWorkspace) -> Any:
    """Make a workspace."""
    quota = {
        "monthly_tokens": settings().monthly_tokens,
        "max_concurrent_turns": settings().max_concurrent_turns,
    }
    return request.call("app.create_workspace", {**body.changes(), "quota": quota})


@api.get("/workspaces/<workspace_id>", Access.MEMBER)
def read(request: Request) -> Any:
    """Read a workspace, as a member or a platform administrator."""
    return request.query(
        """
        SELECT app.json(own) || jsonb_build_object('permissions', app.permissions())
        FROM app.workspaces AS own WHERE id = app.workspace_id()
        """,
        administrator="allowed",
    )


@api.patch("/workspaces/<workspace_id>", Access.MEMBER)
def update(request: Request, body: WorkspacePatch) -> Any:
    """Change the name or slug (`workspace:update`), or the quota (platform administrators)."""
    changes = body.changes()
    names = changes.keys() - {"quota"}
    return request.query(
        """
        UPDATE app.workspaces AS own
        SET name = coalesce($1 ->> 'name', name),
            slug = coalesce($1 ->> 'slug', slug),
            quota = jsonb_strip_nulls(quota || coalesce($1 -> 'quota', '{}'))
        WHERE id = app.workspace_id()
        RETURNING app.json(own) || jsonb_build_object('permissions', app.permissions())
        """,
        changes,
        permission="workspace:update" if names or "quota" not in changes else None,
        administrator="required" if "quota" in changes else None,
    )


@api.delete("/workspaces/<workspace_id>", "workspace:delete", status=202)
def delete(request: Request) -> Any:
    """Close a workspace at once: from now on it is not found. What belongs to it is removed."""
    closed = request.query(
        """
        UPDATE app.workspaces AS own SET status = 'deleting' WHERE id = app.workspace_id()
        RETURNING app.json(own) || jsonb_build_object('permissions', app.permissions())
        """
    )
    purging.start("workspace", closed["id"])
    return closed


handler = api.handler
