"""What schemathesis loads beside its configuration: whose token a request carries, and what it must
leave alone, since the stack has others' users on it."""

import json
import os
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import schemathesis
from schemathesis import AuthContext, Case, HookContext, Response

# What ends a user's sessions, or more, is done to another one, so that the run goes on.
LOSE = {"users_delete", "users_change_password", "workspaces_delete"}
# A platform administrator may do these to everybody.
POWERS = {"users_update_user", "users_delete_user"}

_made: set[str] = set()


@schemathesis.auth(cache_by_key=lambda case, _: str(_loses(case)))
class Bearer:
    """The bearer token of one of two users."""

    def get(self, case: Case[Any], _: AuthContext) -> str:
        return os.environ["OTHER_ACCESS_TOKEN" if _loses(case) else "ACCESS_TOKEN"]

    def set(self, case: Case[Any], data: str, _: AuthContext) -> None:
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, object]) -> None:
    """Have the administrator change only users that this run has made."""
    del context, kwargs
    user_id = str((case.path_parameters or {}).get("user_id"))
    if _name(case) in POWERS and user_id not in _made:
        with suppress(ValueError):
            UUID(user_id)
            case.path_parameters["user_id"] = str(uuid4())


@schemathesis.hook
def after_call(context: HookContext, case: Case[Any], response: Response) -> None:
    """Remember the users that were made."""
    del context
    if _name(case) == "users_create_user" and response.status_code == 201:
        _made.add(json.loads(response.content)["id"])


def _name(case: Case[Any]) -> str:
    return str(case.operation.definition.raw.get("operationId"))


def _loses(case: Case[Any]) -> bool:
    workspace = (case.path_parameters or {}).get("workspace_id")
    own = _name(case) == "workspaces_delete" and workspace != os.environ["OTHER_WORKSPACE_ID"]
    return _name(case) in LOSE and not own
