"""One call to PostgreSQL a request."""

from collections.abc import Callable

import pytest

from functions.authorizer import handler as authorizer
from tests.e2e.client import PASSWORD, Tenant
from tests.e2e.rest.cast import Cast, Person
from tests.e2e.rest.conftest import Inside
from tests.e2e.rest.table import Row, rows

pytestmark = pytest.mark.usefixtures("cheap_hashes")

STATEMENT = "rds-data.ExecuteStatement"

CALLS = {
    "POST /auth/login": 2,  # bcrypt compares in between, in the function
    "POST /auth/password/forgot": 0,  # the queue's consumer asks
}


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
def test_request_takes_one_call_to_the_database(row: Row, cast: Cast, inside: Inside) -> None:
    person = cast.people["administrator" if row.expected("owner") == 403 else "owner"]
    ids = person.ids
    answer = inside(row.method, row.url(ids), person, row.body(ids), row.headers)
    assert answer.status == row.status, answer.text
    calls = [call for call in inside.calls if call.startswith("rds-data")]
    assert calls == [STATEMENT] * CALLS.get(row.route, 1)


def test_change_takes_one_call_to_the_database(
    new_tenant: Callable[[], Tenant], inside: Inside
) -> None:
    tenant = new_tenant()
    person = Person(tenant.tokens["access_token"], tenant.user["id"])
    role = {"name": "Some", "permissions": ["chat:use"]}
    role_id = inside("POST", f"{tenant.path}/roles", person, role).json["id"]
    invited = {"email": "other@example.com", "role_id": role_id}
    invitation_id = inside("POST", f"{tenant.path}/invitations", person, invited).json["id"]
    chat = {"chatbot_id": tenant.chatbot_id}
    chat_id = inside("POST", f"{tenant.path}/conversations", person, chat).json["id"]
    source = next(row for row in rows() if row.route.endswith("/sources") and row.status == 201)
    source_id = inside("POST", f"{tenant.path}/sources", person, source.body({})).json["id"]
    text = {"title": "One", "content": "Some text."}
    document_id = inside("POST", f"{tenant.path}/documents", person, text).json["id"]
    for method, path, body, calls in [
        ("PATCH", "/users/me", {"full_name": "Other"}, 1),
        ("PATCH", tenant.path, {"name": "Other"}, 1),
        ("PATCH", f"{tenant.path}/chatbots/{tenant.chatbot_id}", {"name": "Other"}, 1),
        ("PATCH", f"{tenant.path}/conversations/{chat_id}", {"title": "Other"}, 1),
        ("PATCH", f"{tenant.path}/roles/{role_id}", {"name": "Other"}, 1),
        ("DELETE", f"{tenant.path}/invitations/{invitation_id}", None, 1),
        ("DELETE", f"{tenant.path}/roles/{role_id}", None, 1),
        # Deleted in DynamoDB once PostgreSQL has let the caller; then the audit trail is told.
        ("DELETE", f"{tenant.path}/conversations/{chat_id}", None, 2),
        ("DELETE", f"{tenant.path}/chatbots/{tenant.chatbot_id}", None, 1),
        ("PATCH", f"{tenant.path}/sources/{source_id}", {"name": "Other"}, 1),
        # The machine that removes what it has is started first, by whoever may.
        ("DELETE", f"{tenant.path}/sources/{source_id}", None, 2),
        # Taken out of DynamoDB first, by whoever may, then out of the search.
        ("DELETE", f"{tenant.path}/documents/{document_id}", None, 2),
        ("DELETE", tenant.path, None, 1),
        # bcrypt compares in between.
        (
            "POST",
            "/users/me/password",
            {"current_password": PASSWORD, "new_password": PASSWORD + "!"},
            2,
        ),
    ]:
        answer = inside(method, path, person, body)
        assert answer.status < 300, (method, path, answer.text)
        assert inside.calls.count(STATEMENT) == calls, (method, path)


def test_authorizer_asks_no_database(cast: Cast, inside: Inside) -> None:
    inside.calls.clear()
    request = {
        "version": "2.0",
        "headers": {"authorization": f"Bearer {cast.people['owner'].token}"},
        "requestContext": {"requestId": "test"},
    }
    context = authorizer.handler(request, None)["context"]
    assert context["user_id"] == cast.people["owner"].user_id
    assert not [call for call in inside.calls if call.startswith("rds-data")]
