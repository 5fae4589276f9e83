"""Who the tests call the API as: a workspace's members by role, and those who are none."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.client import Chat, Rest, Tenant, sign_up

ACTORS = (
    "owner",
    "admin",
    "editor",
    "viewer",
    "stranger",
    "deactivated",
    "administrator",
    "nobody",
)
MEMBERS = ("owner", "admin", "editor", "viewer")


@dataclass(slots=True)
class Person:
    """`ids` are those of the rows that the person's requests name; `token` is a bearer token."""

    token: str | None
    user_id: str
    ids: dict[str, str] = field(default_factory=dict)
    email: str = ""


@dataclass(slots=True)
class Cast:
    """The owner's workspace and everybody of `ACTORS`; the stranger has a workspace of their own.

    `theirs` holds the ids of the stranger's rows, of the same kinds as the owner's.
    """

    api_url: str
    people: dict[str, Person]
    theirs: dict[str, str]

    def rest(self, actor: str) -> Rest:
        return Rest(self.api_url, self.people[actor].token)


def _answered(tenant: Tenant, chatbot_id: str, token: str) -> dict[str, str]:
    """The ids of a conversation of the token's user, and of an assistant message in it."""
    with Chat(tenant.websocket_url, token=token) as chat:
        turn = chat.ask(chatbot_id, "[[words 3]]")
    return {"conversation_id": turn.ack["conversation_id"], "message_id": turn.message_id}


def _furnish(tenant: Tenant, bystander: Tenant) -> dict[str, str]:
    """Rows of every kind in a tenant's workspace; the bystander becomes a viewer of it."""
    rest = tenant.rest
    roles = {r["name"]: r["id"] for r in rest.ok("GET", f"{tenant.path}/roles")["items"]}
    role = rest.ok("POST", f"{tenant.path}/roles", {"name": "Own", "permissions": ["chat:use"]})
    invite(tenant, bystander, roles["viewer"])
    invitation = rest.ok(
        "POST",
        f"{tenant.path}/invitations",
        {"email": "later-" + bystander.email, "role_id": roles["viewer"]},
    )
    return {
        "workspace_id": tenant.workspace_id,
        "chatbot_id": tenant.chatbot_id,
        "user_id": bystander.user["id"],
        "role_id": role["id"],
        "invitation_id": invitation["id"],
        **{f"{name}_role_id": roles[name] for name in MEMBERS},
    }


def invite(tenant: Tenant, guest: Tenant, role_id: str) -> None:
    """Make a user a member; the address is verified, so no mail is needed."""
    made = tenant.rest.ok(
        "POST", f"{tenant.path}/invitations", {"email": guest.email, "role_id": role_id}
    )
    assert made["status"] == "accepted", made


def make_cast(outputs: dict[str, Any]) -> Cast:
    """Sign everybody up and in, through the front door."""
    names = ("owner", "admin", "editor", "viewer", "stranger", "deactivated", "ours", "others")
    with ThreadPoolExecutor(len(names)) as pool:
        made = pool.map(lambda _: sign_up(outputs["api_url"], outputs["websocket_url"]), names)
        tenants = dict(zip(names, made, strict=True))
    owner, stranger = tenants["owner"], tenants["stranger"]
    ids = _furnish(owner, tenants["ours"])
    theirs = _furnish(stranger, tenants["others"])
    for name in ("admin", "editor", "viewer"):
        invite(owner, tenants[name], ids[f"{name}_role_id"])
    invite(owner, tenants["deactivated"], ids["owner_role_id"])

    administrator = Rest(outputs["api_url"])
    tokens = administrator.ok(
        "POST",
        "/auth/login",
        {"email": outputs["admin_email"], "password": outputs["admin_password"]},
    )
    administrator = Rest(outputs["api_url"], tokens["access_token"])
    administrator.ok("PATCH", f"/users/{tenants['deactivated'].user['id']}", {"is_active": False})

    def answered(name: str) -> dict[str, str]:
        person = tenants[name]
        place = theirs if name == "stranger" else ids
        token = person.tokens["access_token"]
        return _answered(owner, place["chatbot_id"], token)

    with ThreadPoolExecutor(5) as pool:
        own = dict(
            zip((*MEMBERS, "stranger"), pool.map(answered, (*MEMBERS, "stranger")), strict=True)
        )
    theirs |= own["stranger"]
    email = {"email": owner.email}
    people = {
        name: Person(
            tenants[name].tokens["access_token"],
            tenants[name].user["id"],
            ids | email | own[name if name in MEMBERS else "owner"],
            tenants[name].email,
        )
        for name in ("owner", "admin", "editor", "viewer", "stranger", "deactivated")
    }
    me = administrator.ok("GET", "/users/me")["id"]
    people["administrator"] = Person(tokens["access_token"], me, ids | email | own["owner"])
    people["nobody"] = Person(None, "", ids | email | own["owner"])
    return Cast(outputs["api_url"], people, theirs)
