"""The audit trail of what is no row: denials, and acts in other stores.

Rows of PostgreSQL are audited by triggers, in the same transaction. What stands here is told after
the act, with one statement a request at most; its failure is logged and fails nothing.
"""

from collections.abc import Mapping
from typing import Any

from chatbot import database, log


def record(
    caller: database.Caller,
    workspace_id: str | None,
    action: str,
    resource_type: str,
    resource_id: str | None,
    changes: Mapping[str, Any] | None = None,
) -> None:
    """Tell what a user did, or was denied, in a workspace or (None) to no workspace's trail.

    `changes` hold no secret and nobody's words.
    """
    params = {
        "action": action,
        "resource_type": resource_type,
        "resource_id": resource_id,
        "changes": changes or {},
    }
    try:
        database.query(caller, RECORD, params, workspace_id=workspace_id)
    except Exception as error:  # noqa: BLE001  the request was answered before
        _lost(action, error)


def sign_in_refused(email: str) -> None:
    """Tell the workspaces of an address's user that a sign-in was refused."""
    try:
        database.call("app.sign_in_refused", {"email": email})
    except Exception as error:  # noqa: BLE001
        _lost("sign_in_refused", error)


def _lost(action: str, error: Exception) -> None:
    log.logger().error("not audited", code=log.Code.NOT_AUDITED, action=action, exc_info=error)


RECORD = """
INSERT INTO app.audit_log (action, resource_type, resource_id, changes)
VALUES ($1 ->> 'action', $1 ->> 'resource_type', ($1 ->> 'resource_id')::uuid, $1 -> 'changes')
RETURNING to_jsonb(id)
"""
