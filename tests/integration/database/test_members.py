"""Members, invitations, roles, accounts by mail, on PostgreSQL: each with two tenants."""

import re
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from chatbot import aws, connections, database, mail, purging, rate_limit, tokens
from chatbot.errors import Problem
from chatbot.settings import settings
from functions.auth import handler as auth
from functions.members import handler as members
from functions.roles import handler as roles
from functions.send_mail import handler as send_mail
from functions.users import handler as users
from tests.integration.database.conftest import Cluster, Person, Tenant, register
from tests.integration.database.test_resources import PASSWORD, Keys, ask, registration
from tests.unit.conftest import ENVIRONMENT
from tests.unit.rest import Answer
from tests.unit.test_send_mail import Ses

HELD = ["members:read", "members:write", "roles:read", "roles:write", "chat:use"]


class Post:
    """The queue and SES in one: what is wished for is sent when it is asked for."""

    def __init__(self) -> None:
        self.wishes: list[dict[str, Any]] = []
        self.ses = Ses()

    def enqueue(self, kind: str, **about: Any) -> None:
        self.wishes.append({"kind": kind, **about})

    def deliver(self) -> list[tuple[str, str]]:
        """Addresses and texts of the mails that the waiting wishes make."""
        self.ses.sent.clear()
        for wish in self.wishes:
            send_mail._serve({**wish, "request_id": "r"}, uuid.uuid4().hex)
        self.wishes.clear()
        return [
            (sent["Destination"]["ToAddresses"][0], text)
            for sent, text in zip(self.ses.sent, self.ses.texts, strict=True)
        ]

    def token(self) -> str:
        """The token in the one mail that is waiting."""
        [(_, text)] = self.deliver()
        [found] = re.findall(r"\?token=(\S+)", text)
        return str(found)


@pytest.fixture
def post(monkeypatch: pytest.MonkeyPatch) -> Post:
    made = Post()
    monkeypatch.setattr(mail, "enqueue", made.enqueue)
    real = aws.client
    monkeypatch.setattr(aws, "client", lambda name: made.ses if name == "sesv2" else real(name))
    return made


@pytest.fixture(autouse=True)
def deployed(app: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    window = rate_limit.Window("guard", 100, 99, 60)
    monkeypatch.setattr(rate_limit, "count", lambda *_: window)
    monkeypatch.setattr(rate_limit, "refund", lambda _: None)
    monkeypatch.setattr(connections, "end_user", lambda *_: None)
    monkeypatch.setattr(purging, "start", lambda *_: None)
    monkeypatch.setattr(tokens, "_keys", Keys())
    yield
    settings.cache_clear()


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses have to be verified here."""
    monkeypatch.setenv("EMAIL_VERIFICATION_REQUIRED", "true")
    settings.cache_clear()


@pytest.fixture
def ours(tenants: tuple[Tenant, Tenant]) -> Tenant:
    return tenants[0]


@pytest.fixture
def theirs(tenants: tuple[Tenant, Tenant]) -> Tenant:
    return tenants[1]


def place(tenant: Tenant, rest: str = "") -> str:
    return f"/workspaces/{tenant.workspace_id}{rest}"


def invite(tenant: Tenant, email: str, role: str, *, caller: Person | None = None) -> Answer:
    body = {"email": email, "role_id": tenant.roles.get(role, role)}
    caller = caller or tenant.owner
    return ask(members, "POST", place(tenant, "/invitations"), body, caller=caller)


def give(tenant: Tenant, person: Person, role: str, *, caller: Person | None = None) -> Answer:
    body = {"role_id": tenant.roles.get(role, role)}
    path = place(tenant, f"/members/{person.user_id}")
    return ask(members, "PATCH", path, body, caller=caller or tenant.owner)


def remove(tenant: Tenant, person: Person, caller: Person | None = None) -> Answer:
    path = place(tenant, f"/members/{person.user_id}")
    return ask(members, "DELETE", path, caller=caller or tenant.owner)


def member(tenant: Tenant, role: str) -> Person:
    """A new member with a role."""
    person = register(role)
    assert invite(tenant, person.email, role).json["status"] == "accepted"
    return person


def new_role(tenant: Tenant, permissions: list[str], *, caller: Person | None = None) -> Answer:
    body = {"name": f"role {uuid.uuid4().hex[:8]}", "permissions": permissions}
    return ask(roles, "POST", place(tenant, "/roles"), body, caller=caller or tenant.owner)


def listed(tenant: Tenant, what: str) -> list[dict[str, Any]]:
    answer = ask(members, "GET", place(tenant, f"/{what}"), caller=tenant.owner)
    items: list[dict[str, Any]] = answer.json["items"]
    return items


# --- Members


def test_members_are_those_of_the_workspace(ours: Tenant, theirs: Tenant) -> None:
    both = member(ours, "editor")
    assert invite(theirs, both.email, "viewer").json["status"] == "accepted"
    people = {item["user"]["id"]: item["role"]["name"] for item in listed(ours, "members")}
    assert people == {
        ours.owner.user_id: "owner",
        ours.viewer.user_id: "viewer",
        both.user_id: "editor",
    }
    [item] = [item for item in listed(ours, "members") if item["user"]["id"] == both.user_id]
    assert item.keys() == {"user", "role", "created_at"}
    assert item["user"].keys() == {"id", "email", "username", "full_name"}
    assert item["role"] == {"id": ours.roles["editor"], "name": "editor"}


def test_pages_have_every_member_once_while_others_come_and_go(ours: Tenant) -> None:
    there = {ours.owner.user_id, ours.viewer.user_id}
    there |= {member(ours, "viewer").user_id for _ in range(7)}
    passing = member(ours, "viewer")
    seen: list[str] = []
    query = {"limit": "3"}
    while True:
        path = place(ours, "/members")
        answer = ask(members, "GET", path, caller=ours.viewer, query=query).json
        seen += [item["user"]["id"] for item in answer["items"]]
        if answer["next_cursor"] is None:
            break
        remove(ours, passing)
        passing = member(ours, "viewer")
        query = {"limit": "3", "cursor": answer["next_cursor"]}
    assert len(seen) == len(set(seen))
    assert there <= set(seen)


def test_members_change_for_whom_the_workspace_is_theirs(ours: Tenant, theirs: Tenant) -> None:
    for caller, status in ((ours.viewer, 403), (theirs.owner, 404)):
        assert give(ours, ours.viewer, "editor", caller=caller).status == status
        assert remove(ours, ours.viewer, caller).status == status
        assert invite(ours, "x@example.com", "viewer", caller=caller).status == status
    # Nor by naming the other's member in one's own workspace.
    path = place(theirs, f"/members/{ours.viewer.user_id}")
    body = {"role_id": theirs.roles["viewer"]}
    assert ask(members, "PATCH", path, body, caller=theirs.owner).status == 404
    assert ask(members, "DELETE", path, caller=theirs.owner).status == 404
    assert len(listed(ours, "members")) == 2


def test_role_changes_when_the_version_is_the_current_one(ours: Tenant) -> None:
    changed = give(ours, ours.viewer, "editor")
    assert changed.json["role"]["name"] == "editor"
    path, body = place(ours, f"/members/{ours.viewer.user_id}"), {"role_id": ours.roles["viewer"]}
    for tag, status in (('"999"', 412), (changed.headers["ETag"], 200)):
        headers = {"if-match": tag}
        answer = ask(members, "PATCH", path, body, caller=ours.owner, headers=headers)
        assert answer.status == status
    stale = {"if-match": changed.headers["ETag"]}
    assert ask(members, "DELETE", path, caller=ours.owner, headers=stale).status == 412


def test_role_of_another_workspace_or_of_nobody_is_not_found(
    ours: Tenant, theirs: Tenant, post: Post
) -> None:
    for role in (theirs.roles["viewer"], str(uuid.uuid4())):
        assert give(ours, ours.viewer, role).status == 404
        assert invite(ours, "x@example.com", role).status == 404
        assert invite(ours, theirs.viewer.email, role).status == 404
    assert (listed(ours, "invitations"), post.wishes) == ([], [])
    assert {item["user"]["id"] for item in listed(ours, "members")} == {
        ours.owner.user_id,
        ours.viewer.user_id,
    }


def test_nobody_gives_what_they_lack(ours: Tenant, post: Post) -> None:
    custom = new_role(ours, HELD).json["id"]
    clerk = register("clerk")
    assert invite(ours, clerk.email, custom).status == 201
    for role in ("owner", "admin", "editor", "viewer"):
        # `viewer` reads documents, which the clerk does not.
        assert give(ours, ours.viewer, role, caller=clerk).status == 403
        assert give(ours, clerk, role, caller=clerk).status == 403
        assert invite(ours, "x@example.com", role, caller=clerk).status == 403
        assert invite(ours, register().email, role, caller=clerk).status == 403
    assert new_role(ours, [*HELD, "audit:read"], caller=clerk).status == 403
    path = place(ours, f"/roles/{custom}")
    more = {"permissions": [*HELD, "audit:read"]}
    assert ask(roles, "PATCH", path, more, caller=clerk).status == 403
    assert ask(roles, "PATCH", path, {"permissions": HELD[:3]}, caller=clerk).status == 200
    assert post.wishes == []


def test_owners_are_made_and_taken_away_by_owners_only(ours: Tenant) -> None:
    everything = ask(roles, "GET", place(ours, "/permissions"), caller=ours.owner).json["items"]
    almost = new_role(ours, everything).json["id"]
    admin, second = member(ours, "admin"), member(ours, "owner")
    deputy = register("deputy")
    assert invite(ours, deputy.email, almost).status == 201
    for caller in (admin, deputy):
        assert give(ours, ours.viewer, "owner", caller=caller).status == 403
        assert give(ours, caller, "owner", caller=caller).status == 403
        assert invite(ours, "x@example.com", "owner", caller=caller).status == 403
        assert give(ours, second, "viewer", caller=caller).status == 403
        assert remove(ours, second, caller).status == 403
    assert give(ours, ours.viewer, "owner", caller=second).status == 200
    assert remove(ours, ours.viewer, second).status == 204
    assert give(ours, second, "viewer", caller=second).status == 200
    # Of the only one the reason is another, whoever asks.
    for caller in (ours.owner, admin):
        assert remove(ours, ours.owner, caller).status == 409
        assert give(ours, ours.owner, "viewer", caller=caller).status == 409


def test_one_owner_stays_when_two_remove_each_other_at_once(ours: Tenant) -> None:
    # The handlers' answers are made one at a time; the statements run side by side.
    def taking(person: Person, caller: Person) -> Callable[[], int]:
        def take() -> int:
            try:
                database.query(
                    caller,
                    members.DELETE,
                    {"user_id": person.user_id},
                    workspace_id=ours.workspace_id,
                    permission="members:write",
                )
            except Problem as problem:
                return problem.status
            return 204

        return take

    for _ in range(5):
        second = member(ours, "owner")
        start = threading.Barrier(2)
        pair = (taking(ours.owner, second), taking(second, ours.owner))

        def run(take: Callable[[], int], start: threading.Barrier = start) -> int:
            start.wait()
            return take()

        with ThreadPoolExecutor(2) as threads:
            statuses = sorted(threads.map(run, pair))
        assert statuses in ([204, 409], [204, 404])
        items = ask(members, "GET", place(ours, "/members"), caller=ours.viewer).json["items"]
        owners = {item["user"]["id"] for item in items if item["role"]["name"] == "owner"}
        assert len(owners) == 1
        if owners != {ours.owner.user_id}:
            ours.owner = second


# --- Roles


def test_role_is_made_read_changed_and_deleted(ours: Tenant, theirs: Tenant) -> None:
    made = new_role(ours, ["chat:use", "audit:read"])
    assert made.status == 201
    assert made.json["permissions"] == ["chat:use", "audit:read"]
    assert made.json["is_system"] is False
    path = place(ours, f"/roles/{made.json['id']}")
    assert ask(roles, "GET", path, caller=ours.owner).json == made.json
    listing = ask(roles, "GET", place(ours, "/roles"), caller=ours.owner).json["items"]
    assert listing[0] == made.json
    assert {role["name"] for role in listing[1:]} == {"owner", "admin", "editor", "viewer"}
    changed = ask(roles, "PATCH", path, {"permissions": []}, caller=ours.owner)
    assert (changed.json["name"], changed.json["permissions"]) == (made.json["name"], [])
    stale = {"if-match": made.headers["ETag"]}
    for method, body in (("PATCH", {"name": "x"}), ("DELETE", None)):
        assert ask(roles, method, path, body, caller=ours.owner, headers=stale).status == 412
        assert ask(roles, method, path, body, caller=theirs.owner).status == 404
        mine = place(theirs, f"/roles/{made.json['id']}")
        assert ask(roles, method, mine, body, caller=theirs.owner).status == 404
    assert ask(roles, "DELETE", path, caller=ours.owner).status == 204
    assert ask(roles, "GET", path, caller=ours.owner).status == 404


def test_name_of_a_role_is_taken_once_in_a_workspace(ours: Tenant, theirs: Tenant) -> None:
    body = {"name": "Support", "permissions": ["chat:use"]}
    for tenant in (ours, theirs):
        path = place(tenant, "/roles")
        assert ask(roles, "POST", path, body, caller=tenant.owner).status == 201
        assert ask(roles, "POST", path, body, caller=tenant.owner).status == 409
        again = body | {"name": "owner"}
        assert ask(roles, "POST", path, again, caller=tenant.owner).status == 409


@pytest.mark.parametrize("name", ["owner", "admin", "editor", "viewer"])
def test_system_role_is_read_only(name: str, ours: Tenant) -> None:
    path = place(ours, f"/roles/{ours.roles[name]}")
    before = ask(roles, "GET", path, caller=ours.owner)
    assert before.json["is_system"] is True
    changes: list[dict[str, Any]] = [{"name": "x"}, {"permissions": []}, {}]
    for body in changes:
        assert ask(roles, "PATCH", path, body, caller=ours.owner).status == 403
    assert ask(roles, "DELETE", path, caller=ours.owner).status == 403
    assert ask(roles, "GET", path, caller=ours.owner).json == before.json


def test_role_in_use_stays(ours: Tenant, post: Post) -> None:
    role = new_role(ours, ["chat:use"]).json["id"]
    path = place(ours, f"/roles/{role}")
    give(ours, ours.viewer, role)
    assert ask(roles, "DELETE", path, caller=ours.owner).status == 409
    give(ours, ours.viewer, "viewer")
    invitation = invite(ours, "guest@example.com", role).json["id"]
    assert ask(roles, "DELETE", path, caller=ours.owner).status == 409
    withdrawn = place(ours, f"/invitations/{invitation}")
    assert ask(members, "DELETE", withdrawn, caller=ours.owner).status == 204
    assert ask(roles, "DELETE", path, caller=ours.owner).status == 204


# --- Invitations


def guest() -> str:
    return f"Guest-{uuid.uuid4().hex[:12]}@example.com"


def sign_up(email: str) -> Person:
    """Register by the front door."""
    body = registration() | {"email": email}
    assert ask(auth, "POST", "/auth/register", body, caller=None).status == 201
    return Person(database.call("app.credentials", {"email": email})["user_id"], 1, email)


def accept(token: str, caller: Person) -> Answer:
    return ask(auth, "POST", "/auth/invitations/accept", {"token": token}, caller=caller)


def test_verified_user_is_a_member_at_once_and_gets_no_mail(
    ours: Tenant, theirs: Tenant, post: Post
) -> None:
    answer = invite(ours, theirs.viewer.email.upper(), "editor")
    assert (answer.status, answer.json["status"]) == (201, "accepted")
    assert answer.json["role_id"] == ours.roles["editor"]
    assert "mail_id" not in answer.json
    assert theirs.viewer.user_id in {item["user"]["id"] for item in listed(ours, "members")}
    assert post.wishes == []
    assert invite(ours, theirs.viewer.email, "viewer").status == 409


def test_guest_joins_with_the_token_once(ours: Tenant, theirs: Tenant, post: Post) -> None:
    email = guest()
    answer = invite(ours, email, "editor")
    assert (answer.json["status"], answer.json["email"]) == ("pending", email)
    [(address, text)] = post.deliver()
    assert (address, ours.workspace_id in text, '"ours"' in text) == (email, False, True)
    token = re.findall(r"token=(\S+)", text)[0]
    person = sign_up(email.lower())
    for other in (theirs.owner, ours.viewer):
        assert accept(token, other).status == 404
    joined = accept(token, person)
    assert joined.json["id"] == ours.workspace_id
    assert "chatbots:write" in joined.json["permissions"]
    assert accept(token, person).status == 404
    assert remove(ours, person).status == 204
    assert accept(token, person).status == 404
    [invitation] = listed(ours, "invitations")
    assert (invitation["id"], invitation["status"]) == (answer.json["id"], "accepted")
    assert listed(theirs, "invitations") == []


def test_address_that_nobody_has_verified_gets_a_mail_and_accepts_after_that(
    ours: Tenant, post: Post, verified: None
) -> None:
    email = guest()
    person = sign_up(email)
    assert invite(ours, email, "viewer").json["status"] == "pending"
    (_, verification), (_, invitation) = post.deliver()
    token = re.findall(r"invitation\?token=(\S+)", invitation)[0]
    assert accept(token, person).status == 404
    body = {"token": re.findall(r"token=(\S+)", verification)[0]}
    assert ask(auth, "POST", "/auth/verify-email", body, caller=None).status == 204
    assert accept(token, person).status == 200


def test_invitation_is_renewed_when_the_address_is_invited_again(
    ours: Tenant, theirs: Tenant, post: Post
) -> None:
    email = guest()
    invite(ours, email, "viewer")
    old = post.token()
    person = sign_up(email.lower())
    # Meanwhile a user: a member at once, and nothing is pending any more.
    assert invite(ours, email.upper(), "editor").json["status"] == "accepted"
    assert [one["status"] for one in listed(ours, "invitations")] == ["accepted"]
    assert accept(old, person).status == 404

    email = guest()
    invite(theirs, email, "viewer")
    foreign = post.token()
    first, second = invite(ours, email, "viewer"), invite(ours, email, "editor")
    assert first.json["id"] == second.json["id"]
    mails = post.deliver()  # of the first version nothing is due any more
    assert [address for address, _ in mails] == [email]
    [token] = re.findall(r"token=(\S+)", mails[0][1])
    person = sign_up(email)
    assert "chatbots:write" in accept(token, person).json["permissions"]
    assert accept(foreign, person).json["id"] == theirs.workspace_id


def test_invitation_ends_with_its_time_its_withdrawal_and_its_workspace(
    app: Cluster, ours: Tenant, theirs: Tenant, post: Post
) -> None:
    close = f"UPDATE app.workspaces SET status = 'deleting' WHERE id = '{ours.workspace_id}'"
    expire = "UPDATE app.invitations SET expires_at = now() WHERE id = '{}'"
    ends: list[Callable[[str], object]] = [
        lambda one: app.sql(expire.format(one)),
        lambda one: ask(members, "DELETE", place(ours, f"/invitations/{one}"), caller=ours.owner),
        lambda _: app.sql(close),
    ]
    for end in ends:
        email = guest()
        invitation = invite(ours, email, "viewer").json["id"]
        foreign = place(theirs, f"/invitations/{invitation}")
        assert ask(members, "DELETE", foreign, caller=theirs.owner).status == 404
        token = post.token()
        person = sign_up(email)
        end(invitation)
        assert accept(token, person).status == 404


def test_one_mail_is_sent_for_repetitions_and_for_its_own_message_again(
    ours: Tenant, post: Post
) -> None:
    email, headers = guest(), {"idempotency-key": "key"}
    body = {"email": email, "role_id": ours.roles["viewer"]}
    path = place(ours, "/invitations")
    answers = [
        ask(members, "POST", path, body, caller=ours.owner, headers=headers) for _ in range(3)
    ]
    assert len({answer.text for answer in answers}) == 1
    wishes = [{**wish, "request_id": "r"} for wish in post.wishes]
    assert len(wishes) == 3
    send_mail._serve(wishes[0], "first")
    send_mail._serve(wishes[1], "second")
    assert len(post.ses.sent) == 1
    send_mail._serve(wishes[0], "first")  # SQS delivers at least once
    token = re.findall(r"token=(\S+)", post.ses.texts[1])[0]
    assert accept(token, sign_up(email)).status == 200


# --- Accounts by mail


def log_in(email: str, password: str = PASSWORD) -> Answer:
    body = {"email": email, "password": password}
    return ask(auth, "POST", "/auth/login", body, caller=None)


def test_registered_user_signs_in_once_the_address_is_verified(post: Post, verified: None) -> None:
    body = registration()
    answer = ask(auth, "POST", "/auth/register", body, caller=None)
    refused = log_in(body["email"])
    assert refused.status == 401
    assert refused.json["detail"] == log_in(body["email"], PASSWORD + "!").json["detail"]
    token = post.token()
    for status in (204, 422):
        verify = ask(auth, "POST", "/auth/verify-email", {"token": token}, caller=None)
        assert verify.status == status
    assert log_in(body["email"]).status == 200
    person = Person(answer.json["id"], 1, body["email"])
    me = ask(users, "GET", "/users/me", caller=person).json
    assert {**me, "updated_at": ""} == {**answer.json, "updated_at": ""}


def test_known_address_gets_the_same_answer_as_a_new_one_and_a_mail_that_says_so(
    post: Post, verified: None
) -> None:
    body = registration()
    new = ask(auth, "POST", "/auth/register", body, caller=None)
    ask(auth, "POST", "/auth/verify-email", {"token": post.token()}, caller=None)
    other = body | {"email": body["email"].upper(), "password": "another password"}
    known = ask(auth, "POST", "/auth/register", other, caller=None)
    assert (known.status, known.headers) == (
        new.status,
        {**new.headers, "X-Request-Id": known.headers["X-Request-Id"]},
    )
    varying = {"id": "", "created_at": "", "updated_at": ""}
    assert known.json | varying == new.json | varying | {"email": other["email"]}
    assert known.json["id"] != new.json["id"]
    [(address, text)] = post.deliver()
    assert address == body["email"]
    assert "account already" in text
    assert log_in(body["email"]).status == 200
    assert log_in(body["email"], "another password").status == 401


def test_registration_that_nobody_confirmed_gives_way_to_the_next(
    post: Post, verified: None
) -> None:
    body = registration()
    ask(auth, "POST", "/auth/register", body | {"password": "the squatter's"}, caller=None)
    early = post.token()
    ask(auth, "POST", "/auth/register", body, caller=None)
    verify = ask(auth, "POST", "/auth/verify-email", {"token": early}, caller=None)
    assert verify.status == 422
    verify = ask(auth, "POST", "/auth/verify-email", {"token": post.token()}, caller=None)
    assert verify.status == 204
    assert log_in(body["email"], "the squatter's").status == 401
    assert log_in(body["email"]).status == 200


def forget(email: str) -> Answer:
    return ask(auth, "POST", "/auth/password/forgot", {"email": email}, caller=None)


def reset(token: str, password: str = "a new password") -> Answer:  # noqa: S107
    body = {"token": token, "password": password}
    return ask(auth, "POST", "/auth/password/reset", body, caller=None)


def test_password_is_set_once_with_the_token_and_all_sessions_end(post: Post) -> None:
    person, bystander = sign_up(guest()), sign_up(guest())
    pair = log_in(person.email).json
    forget(person.email.upper())
    first = post.token()
    forget(person.email)
    second = post.token()
    assert reset(second).status == 204
    assert [reset(first).status, reset(second).status] == [422, 422]
    assert ask(users, "GET", "/users/me", caller=person).status == 401
    body = {"refresh_token": pair["refresh_token"]}
    assert ask(auth, "POST", "/auth/refresh", body, caller=None).status == 401
    assert log_in(person.email).status == 401
    assert log_in(person.email, "a new password").status == 200
    assert log_in(bystander.email).status == 200


def test_no_mail_is_due_for_unknown_and_inactive_users(app: Cluster, post: Post) -> None:
    person = sign_up(guest())
    app.sql(f"UPDATE app.users SET is_active = false WHERE id = '{person.user_id}'")
    assert [forget(email).status for email in (person.email, guest())] == [202, 202]
    assert post.deliver() == []


def test_token_is_for_its_purpose_and_its_time_only(
    app: Cluster, post: Post, verified: None
) -> None:
    person = sign_up(guest())
    verification = post.token()
    assert reset(verification).status == 422
    forget(person.email)
    resetting = post.token()
    body = {"token": resetting}
    assert ask(auth, "POST", "/auth/verify-email", body, caller=None).status == 422
    assert accept(resetting, person).status == 404
    app.sql(f"UPDATE app.one_time_tokens SET expires_at = now() WHERE user_id = '{person.user_id}'")
    assert reset(resetting).status == 422
    body = {"token": verification}
    assert ask(auth, "POST", "/auth/verify-email", body, caller=None).status == 422


def test_tokens_stand_nowhere_in_the_database(app: Cluster, ours: Tenant, post: Post) -> None:
    person = sign_up(guest())
    forget(person.email)
    mailed = [post.token()]
    invite(ours, guest(), "viewer")
    mailed.append(post.token())
    for table in ("one_time_tokens", "invitations", "invitation_mails", "audit_log"):
        text = str(app.sql(f"SELECT to_jsonb(t) FROM app.{table} AS t"))
        assert not [token for token in mailed if token in text]


# --- Administrators


@pytest.fixture
def administrator(app: Cluster) -> Person:
    person = register("administrator")
    app.sql(f"UPDATE app.users SET is_admin = true WHERE id = '{person.user_id}'")
    return person


def test_administrator_makes_changes_and_removes_users(administrator: Person) -> None:
    body = registration()
    new = {**body, "is_admin": True}
    made = ask(users, "POST", "/users", new, caller=administrator)
    assert (made.status, made.json["is_admin"]) == (201, True)
    assert log_in(body["email"]).status == 200
    path = f"/users/{made.json['id']}"
    assert ask(users, "GET", path, caller=administrator).json == made.json
    stale = {"if-match": '"99"'}
    change = {"full_name": "F", "is_admin": False}
    assert ask(users, "PATCH", path, change, caller=administrator, headers=stale).status == 412
    changed = ask(users, "PATCH", path, change, caller=administrator).json
    assert (changed["full_name"], changed["is_admin"]) == ("F", False)
    assert changed["username"] == made.json["username"]
    ask(users, "PATCH", path, {"is_active": False}, caller=administrator)
    assert log_in(body["email"]).status == 401
    assert ask(users, "DELETE", path, caller=administrator, headers=stale).status == 412
    assert ask(users, "DELETE", path, caller=administrator).status == 204
    for method, sent in (("GET", None), ("PATCH", change), ("DELETE", None)):
        assert ask(users, method, path, sent, caller=administrator).status == 404


def test_pages_of_users_have_each_once(administrator: Person) -> None:
    made = [register().user_id for _ in range(5)]
    seen: list[str] = []
    query = {"limit": "2"}
    while not set(made) <= set(seen):
        answer = ask(users, "GET", "/users", caller=administrator, query=query).json
        seen += [item["id"] for item in answer["items"]]
        query = {"limit": "2", "cursor": answer["next_cursor"]}
        register()  # newer than all that was seen: on no later page
    assert len(seen) == len(set(seen))
    assert [one for one in seen if one in made] == made[::-1]


def test_users_are_hidden_from_others_than_administrators(ours: Tenant, theirs: Tenant) -> None:
    path = f"/users/{theirs.viewer.user_id}"
    for caller in (ours.owner, theirs.owner):
        for method, target, body in (
            ("GET", "/users", None),
            ("POST", "/users", registration()),
            ("GET", path, None),
            ("GET", f"/users/{caller.user_id}", None),
            ("PATCH", path, {"is_active": False}),
            ("DELETE", path, None),
        ):
            assert ask(users, method, target, body, caller=caller).status == 403


def test_platform_keeps_an_administrator(new_cluster: Callable[..., Cluster]) -> None:
    cluster = new_cluster()
    cluster.migrate("up")
    with cluster.as_login("app"):
        first, second = register("first"), register("second")
        cluster.sql("UPDATE app.users SET is_admin = true")
        path, other = f"/users/{first.user_id}", f"/users/{second.user_id}"
        assert ask(users, "PATCH", other, {"is_active": False}, caller=first).status == 200
        for change in ({"is_active": False}, {"is_admin": False}):
            assert ask(users, "PATCH", path, change, caller=first).status == 409
        assert ask(users, "DELETE", path, caller=first).status == 409
        assert ask(users, "DELETE", "/users/me", caller=first).status == 409
        assert ask(users, "PATCH", path, {"full_name": "F"}, caller=first).status == 200
        assert ask(users, "PATCH", other, {"is_active": True}, caller=first).status == 200
        assert ask(users, "PATCH", path, {"is_admin": False}, caller=first).status == 200
        assert ask(users, "GET", "/users", caller=first).status == 403


def test_one_administrator_stays_when_two_switch_each_other_off_at_once(
    new_cluster: Callable[..., Cluster],
) -> None:
    cluster = new_cluster()
    cluster.migrate("up")
    with cluster.as_login("app"):
        pair = [register("first"), register("second")]
        cluster.sql("UPDATE app.users SET is_admin = true")

        def switch_off(turn: int) -> int:
            caller, target = pair[turn], pair[1 - turn]
            asked = {
                "user_id": caller.user_id,
                "token_version": 1,
                "target_id": target.user_id,
                "changes": {"is_active": False},
            }
            try:
                database.call("app.update_user", asked)
            except Problem as problem:
                return problem.status
            return 200

        with ThreadPoolExecutor(2) as threads:
            statuses = sorted(threads.map(switch_off, range(2)))
    assert statuses in ([200, 409], [200, 401])  # at once, or one after the other
    left = cluster.sql("SELECT count(*) FROM app.users WHERE is_admin AND is_active")
    assert left == [["1"]]
