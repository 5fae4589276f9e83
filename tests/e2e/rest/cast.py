"""Who the tests call the API as: a workspace's members by role, and those who are none."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from chatbot import tables
from chatbot.identifiers import created_at, new_id, now_ms
from functions.sources.jobs import NO_COUNTS
from tests.e2e.client import Chat, Rest, Tenant, sign_up
from tests.e2e.conftest import Stack
from tests.e2e.sources import NEVER, until

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


def _running(stack: Stack, tenant: Tenant, source_id: str) -> str:
    """The id of a job that runs as long as the tests do."""
    job_id = new_id()
    at = created_at(job_id)
    common = {
        "workspace_id": tenant.workspace_id,
        "source_id": source_id,
        "lease_until": now_ms() + 10**9,
    }
    job = {
        "trigger": "manual",
        "status": "running",
        "created_at": at,
        "created_key": f"{at}#{job_id}",
        "updated_at": at,
        "started_at": at,
        "counts": json.dumps(NO_COUNTS),
    }
    for row in ({"job_id": job_id, **job}, {"job_id": "LOCK", "holder": job_id}):
        stack.client("dynamodb").put_item(
            TableName=stack.outputs["table_names"]["jobs"], Item=tables.pack(common | row)
        )
    return job_id


def _known(stack: Stack, tenant: Tenant) -> dict[str, str]:
    """A source with a job that runs, and a document."""
    source = tenant.rest.ok(
        "POST",
        f"{tenant.path}/sources",
        {
            "provider": "slack",
            "name": "Own",
            "config": {},
            "credentials": {"bot_token": "xoxb-unknown"},
            "schedule": NEVER,
        },
    )
    document = tenant.rest.ok(
        "POST", f"{tenant.path}/documents", {"title": "Own", "content": "Some text."}
    )
    path = f"{tenant.path}/documents/{document['id']}"
    until(lambda: tenant.rest.ok("GET", path)["status"] == "embedded", 30)
    return {
        "source_id": source["id"],
        "job_id": _running(stack, tenant, source["id"]),
        "document_id": document["id"],
    }


def _furnish(stack: Stack, tenant: Tenant, bystander: Tenant) -> dict[str, str]:
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
        **_known(stack, tenant),
        **{f"{name}_role_id": roles[name] for name in MEMBERS},
    }


def invite(tenant: Tenant, guest: Tenant, role_id: str) -> None:
    """Make a user a member; the address is verified, so no mail is needed."""
    made = tenant.rest.ok(
        "POST", f"{tenant.path}/invitations", {"email": guest.email, "role_id": role_id}
    )
    assert made["status"] == "accepted", made


def make_cast(stack: Stack) -> Cast:
    """Sign everybody up and in, through the front door."""
    outputs = stack.outputs
    names = ("owner", "admin", "editor", "viewer", "stranger", "deactivated", "ours", "others")
    with ThreadPoolExecutor(len(names)) as pool:
        made = pool.map(lambda _: sign_up(outputs["api_url"], outputs["websocket_url"]), names)
        tenants = dict(zip(names, made, strict=True))
    owner, stranger = tenants["owner"], tenants["stranger"]
    ids = _furnish(stack, owner, tenants["ours"])
    theirs = _furnish(stack, stranger, tenants["others"])
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
