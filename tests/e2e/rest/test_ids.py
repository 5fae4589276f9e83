"""Ids of another workspace, of nothing, of another kind, and no ids: never a hint, never a 500."""

import re
from uuid import uuid4

import pytest

from tests.e2e.rest.cast import Cast
from tests.e2e.rest.conftest import Inside
from tests.e2e.rest.table import Row, rows
from tests.unit.rest import Answer

MALFORMED = [
    "x",
    "0",
    "null",
    "%00",
    "..",
    "*",
    "' OR 1=1 --",
    "{{7*7}}",
    "<id> ",
    " <id>",
    "<id>x",
    "<id><id>",
    "<id>\n",
    "{<id>}",
    "urn:uuid:<id>",
    "a" * 5000,
    "\N{ARABIC-INDIC DIGIT ONE}" * 8 + "-0000-4000-8000-000000000000",
    "\N{FULLWIDTH LATIN SMALL LETTER A}" * 8 + "-0000-4000-8000-000000000000",
]


def named(row: Row) -> list[str]:
    """The ids in the row's path."""
    return re.findall(r"{(\w+)}", row.path)


def detail(answer: Answer, what: str) -> str:
    """The refusal's text, having checked that it is one and tells nothing of the inside."""
    assert answer.status in (404, 422), f"{what}: {answer.status} {answer.text[:200]}"
    assert answer.json["status"] == answer.status
    assert not re.search(r"(?i)sqlstate|postgres|arn:|traceback|dynamodb", answer.text), what
    return str(answer.json["detail"])


@pytest.mark.parametrize("row", rows(lambda row: bool(named(row))), ids=lambda row: row.name)
def test_id_is_not_found_when_it_is_wrong(row: Row, cast: Cast, inside: Inside) -> None:
    # Administrators see every user.
    alone = row.path.startswith("/users/")
    person = cast.people["administrator" if alone else "owner"]
    ids = person.ids

    def asked(name: str, value: str) -> str:
        wrong = {**ids, name: value}
        answer = inside(row.method, row.url(wrong), person, row.body(ids), row.headers)
        return detail(answer, f"{name} = {value[:60]!r}")

    for name in named(row):
        unknown = asked(name, str(uuid4()))
        if not alone:
            assert asked(name, cast.theirs[name]) == unknown
        kind = name.split("_")[0]
        for other, value in ids.items():
            if other.endswith("_id") and kind not in other:
                asked(name, value)
        for value in MALFORMED:
            asked(name, value.replace("<id>", ids[name]))


def test_rows_of_another_workspace_stay_as_they_are(cast: Cast, inside: Inside) -> None:
    """Without the `If-Match` that no row meets, which would stop every change by itself."""
    owner, stranger, theirs = cast.people["owner"], cast.people["stranger"], cast.theirs
    within = rows(lambda row: "{workspace_id}" in row.path)

    def seen() -> list[str]:
        reads = [row for row in within if row.method == "GET" and "audit" not in row.path]
        answers = [inside("GET", row.url(theirs), stranger) for row in reads]
        assert {answer.status for answer in answers} == {200}
        return [answer.text for answer in answers]

    before = seen()
    for row in within:
        if row.method in ("PATCH", "DELETE", "PUT"):
            refused = inside(row.method, row.url(theirs), owner, row.body(theirs))
            assert detail(refused, row.name)
            if named(row) != ["workspace_id"]:
                mixed = theirs | {"workspace_id": owner.ids["workspace_id"]}
                refused = inside(row.method, row.url(mixed), owner, row.body(owner.ids))
                assert detail(refused, row.name)
    assert seen() == before


IN_BODIES = {
    "POST /workspaces/{workspace_id}/conversations": ("chatbot_id", "chatbot_id"),
    "POST /workspaces/{workspace_id}/invitations": ("role_id", "viewer_role_id"),
    "PATCH /workspaces/{workspace_id}/members/{user_id}": ("role_id", "viewer_role_id"),
}


@pytest.mark.parametrize("row", rows(lambda row: row.route in IN_BODIES), ids=lambda row: row.name)
def test_id_in_a_body_is_not_found_when_it_is_wrong(row: Row, cast: Cast, inside: Inside) -> None:
    owner = cast.people["owner"]
    field, name = IN_BODIES[row.route]

    def asked(value: str) -> str:
        body = row.body(owner.ids) | {field: value}
        answer = inside(row.method, row.url(owner.ids), owner, body)
        return detail(answer, f"{field} = {value[:60]!r}")

    assert asked(cast.theirs[name]) == asked(str(uuid4())) == asked(owner.ids["workspace_id"])
    for value in MALFORMED:
        asked(value.replace("<id>", owner.ids[name]))
