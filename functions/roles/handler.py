"""Roles: sets of permissions that members hold. System roles are read-only: 403.

What a caller lacks they cannot put into a role either; triggers of the database see to that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chatbot.api import Api, Request
from chatbot.paging import Page

if TYPE_CHECKING:
    from functions.roles.bodies import NewRole, RolePatch

api = Api("roles")

PATH = "/workspaces/<workspace_id>/roles"


@api.get("/workspaces/<workspace_id>/permissions", "roles:read")
def permissions(request: Request, page: Page) -> Any:
    """List the permissions that there are."""
    return page.part(request.query("SELECT to_jsonb(app.all_permissions())"))


@api.get(PATH, "roles:read")
def index(request: Request, page: Page) -> Any:
    """List the roles of a workspace."""
    return page.answer(request.query(LIST, page.params))


@api.post(PATH, "roles:write", status=201, idempotent=True)
def create(request: Request, body: NewRole) -> Any:
    """Make a role of permissions that the caller holds."""
    return request.query(INSERT, body.changes())


@api.get(f"{PATH}/<role_id>", "roles:read")
def read(request: Request, role_id: str) -> Any:
    """Read a role."""
    return request.query(SELECT, {"id": role_id})


@api.patch(f"{PATH}/<role_id>", "roles:write")
def update(request: Request, role_id: str, body: RolePatch) -> Any:
    """Change a role; added permissions must be the caller's own. System roles: 403."""
    return request.query(UPDATE, {"id": role_id, "changes": body.changes()})


@api.delete(f"{PATH}/<role_id>", "roles:write", status=204)
def delete(request: Request, role_id: str) -> None:
    """Delete a role that no member or pending invitation has. System roles: 403."""
    request.query(DELETE, {"id": role_id})


LIST = """
SELECT app.page(array_agg(item ORDER BY created_at DESC, id DESC), ($1 ->> 'limit')::int)
FROM (
    SELECT created_at, id, app.json(role) AS item
    FROM app.roles AS role
    WHERE workspace_id = app.workspace_id() AND ($1 -> 'after' IS NULL OR (created_at, id)
        < (($1 #>> '{after,created_at}')::timestamptz, ($1 #>> '{after,id}')::uuid))
    ORDER BY created_at DESC, id DESC
    LIMIT ($1 ->> 'limit')::int + 1
) AS listed
"""
SELECT = """
SELECT app.json(role) FROM app.roles AS role
WHERE workspace_id = app.workspace_id() AND id = ($1 ->> 'id')::uuid
"""
INSERT = """
INSERT INTO app.roles AS role (name, permissions)
SELECT name, permissions FROM jsonb_populate_record(NULL::app.roles, $1)
RETURNING app.json(role)
"""
# No policy lets a system role be written: where one was asked for, nothing is changed.
UPDATE = """
WITH changed AS (
    UPDATE app.roles AS role
    SET (name, permissions) = (
        SELECT name, permissions FROM jsonb_populate_record(role, $1 -> 'changes'))
    WHERE workspace_id = app.workspace_id() AND id = ($1 ->> 'id')::uuid
    RETURNING app.json(role) AS answer
)
SELECT coalesce((SELECT answer FROM changed), (
    SELECT app.fail('CB403', 'System roles are read-only.') FROM app.roles
    WHERE workspace_id = app.workspace_id() AND id = ($1 ->> 'id')::uuid AND is_system))
"""
DELETE = """
WITH deleted AS (
    DELETE FROM app.roles AS role
    WHERE workspace_id = app.workspace_id() AND id = ($1 ->> 'id')::uuid AND (
        NOT EXISTS (SELECT FROM app.invitations AS invitation
            WHERE (invitation.workspace_id, invitation.role_id) = (role.workspace_id, role.id)
                AND status = 'pending')
        OR app.fail('CB409', 'The role is in use.') IS NULL)
    RETURNING to_jsonb(id) AS answer
)
SELECT coalesce((SELECT answer FROM deleted), (
    SELECT app.fail('CB403', 'System roles are read-only.') FROM app.roles
    WHERE workspace_id = app.workspace_id() AND id = ($1 ->> 'id')::uuid AND is_system))
"""

handler = api.handler
