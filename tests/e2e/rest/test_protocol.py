"""What every answer has: ids, limits, versions, methods and problems, as HTTP has them."""

import re
from typing import Any
from uuid import uuid4

import pytest

from chatbot.api import Access
from tests.e2e.client import Tenant
from tests.e2e.conftest import Stack
from tests.e2e.rest.cast import Cast
from tests.e2e.rest.conftest import Inside
from tests.e2e.rest.table import Row, declared, route_of, rows
from tests.e2e.rest.test_idempotency import CREATING, caller

pytestmark = pytest.mark.usefixtures("cheap_hashes")

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE")
PATHS = sorted({row.path for row in rows()})


@pytest.mark.parametrize("path", PATHS)
def test_other_methods_are_refused_with_those_allowed(
    path: str, cast: Cast, inside: Inside
) -> None:
    here = {name.split(" ")[0] for name in declared() if name.split(" ")[1] == path}
    # One path fits two patterns: the ids of users and "me".
    if path == "/users/me":
        here |= {"GET", "PATCH", "DELETE"}
    owner = cast.people["owner"]
    for method in set(METHODS) - here:
        answer = inside(method, path.format(**owner.ids), owner)
        assert answer.status == 405, method
        assert answer.headers["Allow"] == ", ".join(sorted(here))
        assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
def test_answer_carries_the_request_id_and_the_limits(row: Row, cast: Cast, inside: Inside) -> None:
    person = cast.people["owner"]
    mark = f"test-{uuid4()}"
    headers = {**row.headers, "X-Request-Id": mark}
    answer = inside(row.method, row.url(person.ids), person, row.body(person.ids), headers)
    assert answer.headers["X-Request-Id"] == mark
    if answer.status >= 400:
        assert answer.json["request_id"] == mark
    if route_of(row).access is not Access.OPEN or row.path == "/auth/login":
        for name in ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"):
            assert answer.headers[name].isdecimal()


CHANGED = [
    row
    for row in rows(lambda row: row.method == "PATCH")
    if f"GET {row.path}" in declared() and not row.route.endswith(" quota")
]


@pytest.mark.parametrize("row", CHANGED, ids=lambda row: row.name)
def test_change_is_refused_when_the_resource_has_changed_since(
    row: Row, cast: Cast, inside: Inside
) -> None:
    person = cast.people["owner" if row.expected("owner") == row.status else "administrator"]
    url, body = row.url(person.ids), row.body(person.ids)

    def version() -> str:
        tag: str = inside("GET", url, person).headers["ETag"]
        assert re.fullmatch(r'"[0-9]+"', tag)
        return tag

    def patch(if_match: str | None, sent: Any = body) -> int:
        headers = {} if if_match is None else {"If-Match": if_match}
        answer = inside("PATCH", url, person, sent, headers)
        if answer.status == 200:
            assert answer.headers["ETag"] == version()
        return answer.status

    first = version()
    assert patch(first) == 200
    second = version()
    assert second != first
    for stale in (first, f"W/{second}", second.strip('"'), '""', "x", "", f"{first}, W/{second}"):
        assert patch(stale) == 412, stale
    assert version() == second
    assert patch(f"{first}, {second}") == 200
    assert patch("*") == 200
    assert patch(None) == 200
    before = inside("GET", url, person).json
    assert patch(None, {}) == 200
    after = inside("GET", url, person).json
    assert after | {"updated_at": ""} == before | {"updated_at": ""}
    assert patch(None, "[]") == 422


@pytest.mark.parametrize(
    "row",
    [row for row in CREATING if any(n.startswith(f"DELETE {row.path}/{{") for n in declared())],
    ids=lambda row: row.name,
)
def test_resource_is_deleted_once_and_only_as_it_was_read(
    row: Row, cast: Cast, inside: Inside
) -> None:
    person = cast.people[caller(row)]
    made = inside("POST", row.url(person.ids), person, row.body(person.ids))
    assert made.status == 201
    url, tag = f"{row.url(person.ids)}/{made.json['id']}", made.headers["ETag"]
    assert inside("DELETE", url, person, headers={"If-Match": '"0"'}).status == 412
    assert inside("DELETE", url, person, headers={"If-Match": tag}).status in (202, 204)
    assert inside("GET", url, person).status in (404, 405)  # 405: it is read in the list only
    # A conversation whose purge has not ended is deleted again, in case its start was lost.
    again = inside("DELETE", url, person).status
    assert again == 404 or (again == 204 and row.path.endswith("/conversations"))


def test_merge_patch_takes_away_what_is_null_and_keeps_what_is_absent(
    cast: Cast, inside: Inside
) -> None:
    owner = cast.people["owner"]
    url = f"/workspaces/{owner.ids['workspace_id']}/chatbots"
    source = str(uuid4())
    knowledge = {"enabled": True, "top_k": 7, "source_ids": [source]}
    body = {"name": "Merged", "top_p": 0.5, "knowledge": knowledge}
    made = inside("POST", url, owner, body).json
    assert made["knowledge"] == knowledge
    url += f"/{made['id']}"
    patch = {"top_p": None, "knowledge": {"source_ids": None}}
    headers = {"Content-Type": "application/merge-patch+json"}
    changed = inside("PATCH", url, owner, patch, headers).json
    assert "top_p" not in changed
    assert changed["knowledge"] == {"enabled": True, "top_k": 7}
    for wrong in ({"name": None}, {"knowledge": None}, {"knowledge": {"top_k": None}}, None):
        sent = "null" if wrong is None else wrong
        assert inside("PATCH", url, owner, sent).status == 422, wrong
    assert inside("GET", url, owner).json == changed


def test_gateway_passes_on_what_the_functions_say(cast: Cast) -> None:
    rest, ids = cast.rest("owner"), cast.people["owner"].ids
    chatbot = f"/workspaces/{ids['workspace_id']}/chatbots/{ids['chatbot_id']}"
    for mark, echoed in (("my-id_1", True), ("a b", False), ("x" * 200, False), ("é", False)):
        answer = rest("GET", chatbot, headers={"X-Request-Id": mark.encode()})
        assert answer.ok
        assert (answer.headers["X-Request-Id"] == mark) is echoed
    head = rest.session.head(f"{rest.api_url}/api/v1{chatbot}")
    assert (head.status_code, head.content) == (405, b"")
    assert head.headers["Allow"] == "DELETE, GET, PATCH"
    for path in (f"{chatbot}/", f"{chatbot}//", f"{chatbot}/x", "/workspaces/", "/users/", "/auth"):
        answer = rest("GET", path)
        assert answer.status_code == 404, path
        assert answer.headers["Content-Type"] == "application/problem+json"
    for token in ("", "Basic x", "Bearer", "Bearer x", "bearer  x"):
        answer = rest("GET", chatbot, headers={"Authorization": token})
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_browsers_of_other_origins_may_call(cast: Cast) -> None:
    rest = cast.rest("nobody")
    origin = {"Origin": "https://app.example"}
    asked = {
        **origin,
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "authorization,if-match,idempotency-key",
    }
    preflight = rest.session.options(f"{rest.api_url}/api/v1/users/me", headers=asked)
    assert preflight.status_code == 204
    assert preflight.headers["Access-Control-Allow-Origin"] in ("*", origin["Origin"])
    assert "PATCH" in preflight.headers["Access-Control-Allow-Methods"]
    allowed = preflight.headers["Access-Control-Allow-Headers"].lower()
    assert {"authorization", "if-match", "idempotency-key"} <= set(re.findall(r"[\w-]+", allowed))
    refused = rest("GET", "/users/me", headers=origin)
    assert refused.status_code == 401
    assert refused.headers["Access-Control-Allow-Origin"] in ("*", origin["Origin"])
    exposed = refused.headers["Access-Control-Expose-Headers"].lower()
    assert {"etag", "x-request-id", "retry-after"} <= set(re.findall(r"[\w-]+", exposed))


def test_request_id_is_in_the_audit_trail_and_the_execution_that_it_caused(
    tenant: Tenant, stack: Stack
) -> None:
    mark = f"trace-{uuid4()}"
    headers = {"X-Request-Id": mark}
    made = tenant.rest.ok("POST", f"{tenant.path}/chatbots", {"name": "Traced"}, headers=headers)
    entries = tenant.rest.ok("GET", f"{tenant.path}/audit")["items"]
    assert [e["resource_id"] for e in entries if e["request_id"] == mark] == [made["id"]]
    tenant.rest.ok("DELETE", tenant.path, headers=headers)
    machines = stack.outputs["state_machine_arns"]
    execution = f"{machines['purge']}:workspace-{tenant.workspace_id}"
    execution = execution.replace(":stateMachine:", ":execution:")
    described = stack.client("stepfunctions").describe_execution(executionArn=execution)
    assert mark in described["input"]
