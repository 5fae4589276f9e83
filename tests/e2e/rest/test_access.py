"""Every route as everybody: what each gets follows from the contract's permission table."""

import pytest

from tests.e2e.rest.cast import ACTORS, Cast
from tests.e2e.rest.table import MEMBER, ROWS, Row, declared, route_of, rows


def test_every_route_has_a_row_and_every_row_a_route() -> None:
    assert {f"{row.method} {row.path}" for row in ROWS} == declared().keys()


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
def test_route_declares_what_the_contract_says(row: Row) -> None:
    route = route_of(row)
    if row.path == "/workspaces/{workspace_id}" and row.method == "PATCH":
        assert route.access is MEMBER  # which of the two permissions is needed, its body says
    else:
        assert route.access == row.who
    creates = (row.status == 201 and not row.path.startswith("/auth")) or row.path.endswith("/sync")
    assert route.idempotent == (creates or row.path.endswith("/sync"))
    assert ("page" in route.parameters) == (
        row.method == "GET" and row.path.rsplit("/", 1)[1] in LISTS
    )


LISTS = {
    "audit",
    "chatbots",
    "conversations",
    "documents",
    "feedback",
    "invitations",
    "jobs",
    "members",
    "messages",
    "models",
    "permissions",
    "roles",
    "sources",
    "tools",
    "users",
    "workspaces",
}


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
def test_everybody_gets_what_the_table_says(row: Row, cast: Cast) -> None:
    got = {}
    for actor in ACTORS:
        ids = cast.people[actor].ids
        answer = cast.rest(actor)(row.method, row.url(ids), row.body(ids), headers=row.headers)
        got[actor] = answer.status_code
        if not answer.ok:
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.json()["request_id"] == answer.headers["X-Request-Id"]
        if answer.status_code == 401:
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert got == {actor: row.expected(actor) for actor in ACTORS}
