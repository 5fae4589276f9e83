"""Members, invitations, roles, administrators and mails, on the running stack."""

import re
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
import requests

from tests.e2e.client import PASSWORD, ConnectionClosed, Rest, Tenant
from tests.e2e.conftest import Stack

NEW_PASSWORD = "another battery staple"


@pytest.fixture
def open_rest(stack: Stack) -> Rest:
    return Rest(stack.outputs["api_url"])


@pytest.fixture
def administrator(stack: Stack, open_rest: Rest) -> Rest:
    login = {
        "email": stack.outputs["admin_email"],
        "password": stack.outputs["admin_password"],
    }
    return Rest(
        stack.outputs["api_url"], open_rest.ok("POST", "/auth/login", login)["access_token"]
    )


def mails(stack: Stack, address: str) -> list[dict[str, Any]]:
    """All mails to an address so far, oldest first."""
    answer = requests.get(f"{stack.outputs['gateway_url']}/_ministack/ses/messages", timeout=10)
    sent = [mail for mails in answer.json()["messages"].values() for mail in mails]
    return [mail for mail in sent if mail["To"] == [address]]


def wait_for_mail(stack: Stack, address: str, number: int = 1) -> str:
    """The text of the mail of that number to an address."""
    deadline = time.monotonic() + 60
    while len(found := mails(stack, address)) < number:
        assert time.monotonic() < deadline, f"no mail {number} came to {address}"
        time.sleep(0.2)
    return str(found[number - 1]["BodyText"])


def token_in(text: str) -> str:
    [token] = re.findall(r"\?token=(\S+)", text)
    return str(token)


def an_address() -> str:
    return f"guest-{uuid4().hex[:12]}@example.com"


def role_ids(tenant: Tenant) -> dict[str, str]:
    roles = tenant.rest.ok("GET", f"{tenant.path}/roles")["items"]
    return {role["name"]: role["id"] for role in roles}


def join(tenant: Tenant, guest: Tenant, role: str) -> None:
    """Make a registered user a member."""
    body = {"email": guest.email, "role_id": role_ids(tenant)[role]}
    assert tenant.rest.ok("POST", f"{tenant.path}/invitations", body)["status"] == "accepted"


def test_invited_address_joins_with_the_mailed_token_once(
    stack: Stack, tenant: Tenant, other_tenant: Tenant, open_rest: Rest
) -> None:
    address = an_address()
    invitations = f"{tenant.path}/invitations"
    roles = role_ids(tenant)
    first = tenant.rest.ok("POST", invitations, {"email": address, "role_id": roles["viewer"]})
    assert (first["status"], first["email"]) == ("pending", address)
    old = token_in(wait_for_mail(stack, address))

    again = tenant.rest.ok("POST", invitations, {"email": address, "role_id": roles["editor"]})
    assert again["id"] == first["id"]
    token = token_in(wait_for_mail(stack, address, 2))
    assert (
        other_tenant.rest("POST", "/auth/invitations/accept", {"token": token}).status_code == 404
    )

    account = {"email": address, "username": "g", "full_name": "G", "password": PASSWORD}
    open_rest.ok("POST", "/auth/register", account)
    pair = open_rest.ok("POST", "/auth/login", {"email": address, "password": PASSWORD})
    guest = Rest(stack.outputs["api_url"], pair["access_token"])
    assert guest("GET", tenant.path).status_code == 404
    assert guest("POST", "/auth/invitations/accept", {"token": old}).status_code == 404
    joined = guest.ok("POST", "/auth/invitations/accept", {"token": token})
    assert joined["id"] == tenant.workspace_id
    assert "chatbots:write" in joined["permissions"]
    assert guest("POST", "/auth/invitations/accept", {"token": token}).status_code == 404
    [listed] = tenant.rest.ok("GET", invitations)["items"]
    assert (listed["id"], listed["status"]) == (first["id"], "accepted")
    members = guest.ok("GET", f"{tenant.path}/members")["items"]
    assert {member["user"]["email"] for member in members} == {tenant.email, address}


def test_withdrawn_invitation_lets_nobody_in(stack: Stack, tenant: Tenant, open_rest: Rest) -> None:
    address = an_address()
    body = {"email": address, "role_id": role_ids(tenant)["viewer"]}
    invitation = tenant.rest.ok("POST", f"{tenant.path}/invitations", body)
    token = token_in(wait_for_mail(stack, address))
    tenant.rest.ok("DELETE", f"{tenant.path}/invitations/{invitation['id']}")
    account = {"email": address, "username": "g", "full_name": "G", "password": PASSWORD}
    open_rest.ok("POST", "/auth/register", account)
    pair = open_rest.ok("POST", "/auth/login", {"email": address, "password": PASSWORD})
    guest = Rest(stack.outputs["api_url"], pair["access_token"])
    assert guest("POST", "/auth/invitations/accept", {"token": token}).status_code == 404


def test_one_mail_is_sent_when_the_same_invitation_is_sent_20_times_at_once(
    stack: Stack, tenant: Tenant
) -> None:
    address = an_address()
    body = {"email": address, "role_id": role_ids(tenant)["viewer"]}
    headers = {"Idempotency-Key": uuid4().hex}

    def invite(_: int) -> requests.Response:
        return tenant.rest("POST", f"{tenant.path}/invitations", body, headers=headers)

    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(invite, range(20)))
    made = {answer.text for answer in answers if answer.status_code == 201}
    assert len(made) == 1
    assert {answer.status_code for answer in answers} <= {201, 409}
    wait_for_mail(stack, address)
    marker = an_address()
    tenant.rest.ok("POST", f"{tenant.path}/invitations", body | {"email": marker})
    wait_for_mail(stack, marker)  # the queue has gone past all of them
    assert len(mails(stack, address)) == 1


def test_forgotten_password_is_set_with_the_mailed_token_once(
    stack: Stack, tenant: Tenant, open_rest: Rest
) -> None:
    assert open_rest("POST", "/auth/password/forgot", {"email": tenant.email}).status_code == 202
    token = token_in(wait_for_mail(stack, tenant.email))
    body = {"token": token, "password": NEW_PASSWORD}
    with tenant.chat() as chat:
        assert open_rest("POST", "/auth/password/reset", body).status_code == 204
        with pytest.raises(ConnectionClosed):
            chat.receive()
    assert open_rest("POST", "/auth/password/reset", body).status_code == 422
    assert tenant.rest("GET", "/users/me").status_code == 401
    spent = {"refresh_token": tenant.tokens["refresh_token"]}
    assert open_rest("POST", "/auth/refresh", spent).status_code == 401
    for password, status in ((PASSWORD, 401), (NEW_PASSWORD, 200)):
        login = {"email": tenant.email, "password": password}
        assert open_rest("POST", "/auth/login", login).status_code == status


def test_forgotten_password_is_answered_alike_and_as_fast_for_unknown_addresses(
    stack: Stack, tenant: Tenant, open_rest: Rest
) -> None:
    unknown = an_address()
    times: dict[str, list[float]] = {tenant.email: [], unknown: []}
    answers = []
    for _ in range(8):
        for email, taken in times.items():
            started = time.monotonic()
            answers.append(open_rest("POST", "/auth/password/forgot", {"email": email}))
            taken.append(time.monotonic() - started)
    assert {(answer.status_code, answer.text) for answer in answers} == {(202, "")}
    known_time, unknown_time = (statistics.median(taken) for taken in times.values())
    assert abs(known_time - unknown_time) < max(known_time, unknown_time) * 0.5
    wait_for_mail(stack, tenant.email, 8)
    assert mails(stack, unknown) == []


def test_role_of_ones_own_grants_what_it_holds_and_no_more(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    roles = role_ids(tenant)
    held = ["members:read", "members:write", "roles:read", "roles:write", "chat:use"]
    custom = tenant.rest.ok("POST", f"{tenant.path}/roles", {"name": "HR", "permissions": held})
    join(tenant, other_tenant, "viewer")
    me = f"{tenant.path}/members/{other_tenant.user['id']}"
    given = tenant.rest.ok("PATCH", me, {"role_id": custom["id"]})
    assert given["role"] == {"id": custom["id"], "name": "HR"}
    assert tenant.rest("DELETE", f"{tenant.path}/roles/{custom['id']}").status_code == 409

    member = other_tenant.rest
    for name in ("owner", "admin", "editor", "viewer"):
        assert member("PATCH", me, {"role_id": roles[name]}).status_code == 403, name
        invited = {"email": an_address(), "role_id": roles[name]}
        assert member("POST", f"{tenant.path}/invitations", invited).status_code == 403, name
    for body in (
        {"permissions": [*held, "audit:read"]},
        {"permissions": ["workspace:delete"]},
    ):
        own = member("PATCH", f"{tenant.path}/roles/{custom['id']}", body)
        new = member("POST", f"{tenant.path}/roles", {"name": "x"} | body)
        assert (own.status_code, new.status_code) == (403, 403), body
    for method, change in (("PATCH", {"name": "mine"}), ("DELETE", None)):
        system = tenant.rest(method, f"{tenant.path}/roles/{roles['viewer']}", change)
        assert system.status_code == 403
    foreign = role_ids(other_tenant)["owner"]
    assert tenant.rest("PATCH", me, {"role_id": foreign}).status_code == 404
    invited = {"email": an_address(), "role_id": foreign}
    assert tenant.rest("POST", f"{tenant.path}/invitations", invited).status_code == 404
    assert member.ok("GET", tenant.path)["permissions"] == held


def test_one_owner_stays_when_two_remove_each_other_at_once(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    join(tenant, other_tenant, "owner")
    pair = (tenant, other_tenant)

    def remove(turn: int) -> int:
        path = f"{tenant.path}/members/{pair[1 - turn].user['id']}"
        return pair[turn].rest("DELETE", path).status_code

    with ThreadPoolExecutor(2) as threads:
        statuses = sorted(threads.map(remove, range(2)))
    assert statuses in ([204, 409], [204, 404])  # at once, or one after the other
    [left] = [one for one in pair if one.rest("GET", tenant.path).status_code == 200]
    assert left.rest("DELETE", f"{tenant.path}/members/{left.user['id']}").status_code == 409
    demoted = {"role_id": role_ids_of(left, tenant.path)["viewer"]}
    own = f"{tenant.path}/members/{left.user['id']}"
    assert left.rest("PATCH", own, demoted).status_code == 409


def role_ids_of(member: Tenant, path: str) -> dict[str, str]:
    return {role["name"]: role["id"] for role in member.rest.ok("GET", f"{path}/roles")["items"]}


def test_removed_member_gets_nothing_more_and_their_turn_ends(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    join(tenant, other_tenant, "viewer")
    with other_tenant.chat() as chat:
        turn = chat.start(tenant.chatbot_id, "[[words 2000]] [[pace 50]]")
        chat.follow(turn, frames=2)
        path = f"{tenant.path}/members/{other_tenant.user['id']}"
        tenant.rest.ok("DELETE", path)
        assert other_tenant.rest("GET", tenant.path).status_code == 404
        conversation = turn.ack["conversation_id"]

        def ended() -> bool:
            messages = tenant.messages(conversation)
            return bool(messages[-1]["status"] == "cancelled")

        deadline = time.monotonic() + 30
        while not ended():
            assert time.monotonic() < deadline
            time.sleep(0.2)
        # The connection stays, for the member's other workspaces; of this one it gets no end.
        own = chat.ask(other_tenant.chatbot_id, "Still here?")
        assert own.check()["status"] == "completed"
        finals = [frame for frame in chat.unread if frame.get("message_id") == turn.message_id]
        assert all(frame["status"] == "streaming" for frame in finals)
        chat.send({"type": "chat", "chatbot_id": tenant.chatbot_id, "content": "x"})
        refused = chat.until(lambda frame: frame["type"] == "error")
        assert refused["code"] == "not_found"


def test_deactivated_user_is_out_at_once_and_comes_back_by_signing_in(
    administrator: Rest, tenant: Tenant, open_rest: Rest
) -> None:
    path = f"/users/{tenant.user['id']}"
    seen = administrator("GET", path)
    with tenant.chat() as chat:
        stale = {"If-Match": '"0"'}
        refused = administrator("PATCH", path, {"is_active": False}, headers=stale)
        assert refused.status_code == 412
        fresh = {"If-Match": seen.headers["ETag"]}
        changed = administrator.ok("PATCH", path, {"is_active": False}, headers=fresh)
        assert changed["is_active"] is False
        with pytest.raises(ConnectionClosed):
            chat.receive()
    assert tenant.rest("GET", "/users/me").status_code == 401
    login = {"email": tenant.email, "password": PASSWORD}
    refused = open_rest("POST", "/auth/login", login)
    assert refused.status_code == 401
    wrong = open_rest("POST", "/auth/login", login | {"password": NEW_PASSWORD})
    assert refused.json()["detail"] == wrong.json()["detail"]
    administrator.ok("PATCH", path, {"is_active": True})
    assert tenant.rest("GET", "/users/me").status_code == 401
    assert open_rest("POST", "/auth/login", login).status_code == 200


def test_users_are_administrators_business(
    administrator: Rest, tenant: Tenant, open_rest: Rest, stack: Stack
) -> None:
    email = an_address()
    new = {"email": email, "username": "n", "full_name": "N", "password": PASSWORD}
    headers = {"Idempotency-Key": uuid4().hex}
    made = administrator.ok("POST", "/users", new, headers=headers)
    assert administrator.ok("POST", "/users", new, headers=headers) == made
    assert administrator("POST", "/users", new).status_code == 409
    assert administrator.ok("GET", f"/users/{made['id']}") == made
    newest = administrator.ok("GET", "/users", params={"limit": "100"})["items"]
    assert made in newest
    pair = open_rest.ok("POST", "/auth/login", {"email": email, "password": PASSWORD})
    for member in (tenant.rest, Rest(stack.outputs["api_url"], pair["access_token"])):
        for method, path, body in (
            ("GET", "/users", None),
            ("POST", "/users", new),
            ("GET", f"/users/{made['id']}", None),
            ("PATCH", f"/users/{made['id']}", {"is_admin": True}),
            ("DELETE", f"/users/{made['id']}", None),
        ):
            assert member(method, path, body).status_code == 403
    # Deleting the only owner of a workspace would leave it to nobody.
    assert administrator("DELETE", f"/users/{tenant.user['id']}").status_code == 409
    administrator.ok("DELETE", f"/users/{made['id']}")
    assert administrator("GET", f"/users/{made['id']}").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "", {"name": "x"}),
        ("DELETE", "", None),
        ("GET", "/members", None),
        ("GET", "/invitations", None),
        ("POST", "/invitations", {"email": "a@example.com", "role_id": str(uuid4())}),
        ("GET", "/permissions", None),
        ("GET", "/roles", None),
        ("POST", "/roles", {"name": "x", "permissions": []}),
        ("GET", "/chatbots", None),
        ("GET", "/conversations", None),
        ("GET", "/audit", None),
        ("GET", "/usage", None),
        ("GET", "/feedback", None),
    ],
)
def test_administrator_who_is_no_member_sees_the_name_and_quota_only(
    method: str, path: str, body: Any, administrator: Rest, shared_tenant: Tenant
) -> None:
    assert administrator(method, shared_tenant.path + path, body).status_code == 404
    assert administrator.ok("GET", shared_tenant.path)["permissions"] == []


@pytest.fixture(scope="module")
def shared_tenant(new_tenant: Callable[[], Tenant]) -> Tenant:
    return new_tenant()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/members/{user_id}", {"role_id": "{role_id}"}),
        ("DELETE", "/members/{user_id}", None),
        ("DELETE", "/invitations/{invitation_id}", None),
        ("GET", "/roles/{role_id}", None),
        ("PATCH", "/roles/{role_id}", {"name": "x"}),
        ("DELETE", "/roles/{role_id}", None),
    ],
)
def test_rest_answers_404_when_the_row_is_another_workspaces(
    method: str, path: str, body: dict[str, str] | None, tenant: Tenant, shared_tenant: Tenant
) -> None:
    theirs = shared_tenant.path
    roles = shared_tenant.rest.ok("GET", f"{theirs}/roles")["items"]
    invited = {"email": an_address(), "role_id": roles[0]["id"]}
    invitation = shared_tenant.rest.ok("POST", f"{theirs}/invitations", invited)
    ids = {
        "user_id": shared_tenant.user["id"],
        "role_id": roles[0]["id"],
        "invitation_id": invitation["id"],
    }
    body = body and {name: text.format(**ids) for name, text in body.items()}
    for workspace in (theirs, tenant.path):
        answer = tenant.rest(method, workspace + path.format(**ids), body)
        assert answer.status_code == 404
    assert shared_tenant.rest.ok("GET", f"{theirs}/roles")["items"] == roles
    listed = shared_tenant.rest.ok("GET", f"{theirs}/invitations")["items"]
    assert invitation in listed
