"""Members of a workspace, and invitations to become one.

Who may give which role, and that an owner stays, is held by triggers of the database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chatbot import connections, mail
from chatbot.api import Api, Request
from chatbot.paging import Page

if TYPE_CHECKING:
    from functions.members.bodies import MemberPatch, NewInvitation

api = Api("members")

MEMBERS = "/workspaces/<workspace_id>/members"
INVITATIONS = "/workspaces/<workspace_id>/invitations"
INVITATION_SECONDS = 7 * 24 * 3600


@api.get(MEMBERS, "members:read")
def index(request: Request, page: Page) -> Any:
    """List the members of a workspace."""
    answer = page.answer(request.query(LIST, page.params))
    for member in answer["items"]:
        del member["id"]  # the user's, for the cursor
    return answer


@api.patch(f"{MEMBERS}/<user_id>", "members:write")
def update(request: Request, user_id: str, body: MemberPatch) -> Any:
    """Give a member another role. The last owner stays one: 409."""
    return request.query(UPDATE, {"user_id": user_id, "role_id": body.role_id})


@api.delete(f"{MEMBERS}/<user_id>", "members:write", status=204)
def delete(request: Request, user_id: str) -> None:
    """Remove a member. The last owner stays: 409."""
    request.query(DELETE, {"user_id": user_id})
    connections.end_user(user_id, request.workspace_id)


@api.get(INVITATIONS, "members:write")
def invitations(request: Request, page: Page) -> Any:
    """List the invitations of a workspace."""
    return page.answer(request.query(LIST_INVITATIONS, page.params))


@api.post(INVITATIONS, "members:write", status=201, idempotent=True)
def invite(request: Request, body: NewInvitation) -> Any:
    """Invite an address. A verified user of it is a member at once, others get a mail. Inviting an
    address again renews its invitation."""
    invitation = request.query(INVITE, {**body.changes(), "expires_in": INVITATION_SECONDS})
    if invitation["status"] == "pending":
        # Of a repeated request too: `send_mail` sends one mail for each version.
        mail.enqueue(
            "invitation",
            workspace_id=request.workspace_id,
            invitation_id=invitation["id"],
            version=invitation["version"],
        )
    return invitation


@api.delete(f"{INVITATIONS}/<invitation_id>", "members:write", status=204)
def withdraw(request: Request, invitation_id: str) -> None:
    """Withdraw an invitation. Whoever has accepted it stays a member."""
    request.query(WITHDRAW, {"id": invitation_id})


LIST = """
SELECT app.page(array_agg(item ORDER BY created_at DESC, id DESC), ($1 ->> 'limit')::int)
FROM (
    SELECT member.created_at, person.id, jsonb_build_object(
        'id', person.id,
        'user', jsonb_build_object('id', person.id, 'email', person.email,
            'username', person.username, 'full_name', person.full_name),
        'role', jsonb_build_object('id', role.id, 'name', role.name),
        'created_at', member.created_at) AS item
    FROM app.memberships AS member
    JOIN app.users AS person ON person.id = member.user_id
    JOIN app.roles AS role ON (role.workspace_id, role.id) = (member.workspace_id, member.role_id)
    WHERE member.workspace_id = app.workspace_id()
        AND ($1 -> 'after' IS NULL OR (member.created_at, person.id)
            < (($1 #>> '{after,created_at}')::timestamptz, ($1 #>> '{after,id}')::uuid))
    ORDER BY member.created_at DESC, person.id DESC
    LIMIT ($1 ->> 'limit')::int + 1
) AS listed
"""
UPDATE = """
UPDATE app.memberships AS member
SET role_id = role.id
FROM app.users AS person, app.roles AS role
WHERE member.workspace_id = app.workspace_id() AND member.user_id = ($1 ->> 'user_id')::uuid
    AND role.workspace_id = app.workspace_id() AND role.id = ($1 ->> 'role_id')::uuid
    AND person.id = member.user_id
RETURNING jsonb_build_object(
    'user', jsonb_build_object('id', person.id, 'email', person.email,
        'username', person.username, 'full_name', person.full_name),
    'role', jsonb_build_object('id', role.id, 'name', role.name),
    'created_at', member.created_at, 'version', member.version)
"""
DELETE = """
DELETE FROM app.memberships
WHERE workspace_id = app.workspace_id() AND user_id = ($1 ->> 'user_id')::uuid
RETURNING to_jsonb(user_id)
"""
LIST_INVITATIONS = """
SELECT app.page(array_agg(item ORDER BY created_at DESC, id DESC), ($1 ->> 'limit')::int)
FROM (
    SELECT created_at, id, app.json(invitation) AS item
    FROM app.invitations AS invitation
    WHERE workspace_id = app.workspace_id() AND ($1 -> 'after' IS NULL OR (created_at, id)
        < (($1 #>> '{after,created_at}')::timestamptz, ($1 #>> '{after,id}')::uuid))
    ORDER BY created_at DESC, id DESC
    LIMIT ($1 ->> 'limit')::int + 1
) AS listed
"""
# An address has one pending invitation, which this renews or, where the address is a verified
# user's by now, replaces. Without a row for the role there is nothing to insert.
INVITE = """
WITH guest AS (
    SELECT $1 ->> 'email' AS email, app.verified_user($1 ->> 'email') AS user_id, id AS role_id
    FROM app.roles WHERE workspace_id = app.workspace_id() AND id = ($1 ->> 'role_id')::uuid
), joined AS (
    INSERT INTO app.memberships (user_id, role_id)
    SELECT user_id, role_id FROM guest WHERE user_id IS NOT NULL
), replaced AS (
    DELETE FROM app.invitations AS pending USING guest
    WHERE workspace_id = app.workspace_id() AND lower(pending.email) = lower(guest.email)
        AND status = 'pending' AND user_id IS NOT NULL
)
INSERT INTO app.invitations AS invitation (email, role_id, status, expires_at)
SELECT email, role_id, CASE WHEN user_id IS NULL THEN 'pending' ELSE 'accepted' END,
    now() + make_interval(secs => ($1 ->> 'expires_in')::float)
FROM guest
ON CONFLICT (workspace_id, lower(email)) WHERE status = 'pending' DO UPDATE
SET email = excluded.email, role_id = excluded.role_id, expires_at = excluded.expires_at
RETURNING app.json(invitation)
"""
WITHDRAW = """
DELETE FROM app.invitations
WHERE workspace_id = app.workspace_id() AND id = ($1 ->> 'id')::uuid
RETURNING to_jsonb(id)
"""

handler = api.handler
