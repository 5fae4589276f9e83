"""The same `Idempotency-Key` makes one resource, however often, at once, or after a crash."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from tests.e2e.client import Tenant
from tests.e2e.rest.cast import Cast, Person
from tests.e2e.rest.conftest import Inside
from tests.e2e.rest.table import Row, route_of, rows
from tests.unit.rest import Answer

pytestmark = pytest.mark.usefixtures("cheap_hashes")

CREATING = rows(lambda row: route_of(row).idempotent and row.status == 201)
AT_ONCE = 20
KEY = f"key-{uuid4()}"  # one for all routes: each has its own


class WorkerKilled(BaseException):
    """Nothing catches it: what the function would have done next does not happen."""


def caller(row: Row) -> str:
    return "owner" if row.expected("owner") == row.status else "administrator"


def alike(items: list[dict[str, Any]], body: dict[str, Any]) -> list[str]:
    """The ids of the items that a body made: it has a name of its own."""
    return [
        item["id"]
        for item in items
        if all(item[name] == value for name, value in body.items() if name in item)
    ]


def create(inside: Inside, row: Row, person: Person, body: Any, key: str) -> Answer:
    return inside(row.method, row.url(person.ids), person, body, {"Idempotency-Key": key})


def newest(inside: Inside, row: Row, person: Person) -> list[dict[str, Any]]:
    answer = inside("GET", row.url(person.ids), person, query={"limit": "100"})
    assert answer.status == 200
    items: list[dict[str, Any]] = answer.json["items"]
    return items


@pytest.mark.parametrize("row", CREATING, ids=lambda row: row.name)
def test_one_resource_and_equal_answers_when_20_ask_at_once(row: Row, cast: Cast) -> None:
    actor = caller(row)
    ids = cast.people[actor].ids
    body = row.body(ids)

    def ask(_: int) -> Any:
        return cast.rest(actor)("POST", row.url(ids), body, headers={"Idempotency-Key": KEY})

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(ask, range(AT_ONCE)))
    answers.append(ask(AT_ONCE))
    for answer in answers:
        if answer.status_code == 409:
            assert "Retry-After" in answer.headers
    made = [(a.status_code, a.headers.get("ETag"), a.json()) for a in answers if a.ok]
    assert len(made) + [a.status_code for a in answers].count(409) == AT_ONCE + 1
    assert answers[-1].ok
    assert made == [made[0]] * len(made)
    assert made[0][0] == 201
    items = cast.rest(actor).ok("GET", row.url(ids), params={"limit": "100"})["items"]
    assert alike(items, body) == [made[0][2]["id"]]


@pytest.mark.parametrize("row", CREATING, ids=lambda row: row.name)
def test_one_resource_when_the_worker_dies_after_any_of_its_calls(
    row: Row, cast: Cast, inside: Inside
) -> None:
    person = cast.people[caller(row)]
    survived = False
    deaths = 0
    while not survived:
        body, key = row.body(person.ids), str(uuid4())
        answered: list[str] = []

        def kill(call: str, answered: list[str] = answered, after: int = deaths) -> None:
            answered.append(call)
            if len(answered) > after:
                raise WorkerKilled

        inside.on_answer = kill
        try:
            create(inside, row, person, body, key)
            survived = True
        except WorkerKilled:
            deaths += 1
        inside.on_answer = lambda _: None
        again = create(inside, row, person, body, key)
        assert again.status == 201, (answered, again.text)
        assert alike(newest(inside, row, person), body) == [again.json["id"]], answered
    assert deaths >= 2  # at least after the counter and after the write


@pytest.mark.parametrize("row", CREATING, ids=lambda row: row.name)
def test_key_is_refused_when_it_comes_with_another_body(
    row: Row, cast: Cast, inside: Inside
) -> None:
    person = cast.people[caller(row)]
    body, key = row.body(person.ids), str(uuid4())
    first = create(inside, row, person, body, key)
    assert first.status == 201
    other = create(inside, row, person, row.body(person.ids), key)
    assert (other.status, "id" in other.json) == (422, False)
    again = create(inside, row, person, dict(reversed(body.items())), key)
    assert (again.status, again.json) == (201, first.json)


@pytest.mark.parametrize("row", CREATING, ids=lambda row: row.name)
def test_key_is_free_again_when_the_first_request_failed(
    row: Row, cast: Cast, inside: Inside
) -> None:
    person = cast.people[caller(row)]
    key = str(uuid4())
    wrong = create(inside, row, person, {**row.body(person.ids), "unknown": 1}, key)
    assert wrong.status == 422
    assert create(inside, row, person, row.body(person.ids), key).status == 201


def test_key_is_free_again_when_the_database_refused(cast: Cast, inside: Inside) -> None:
    owner, key = cast.people["owner"], str(uuid4())
    headers = {"Idempotency-Key": key}
    body = {"name": "Mine", "slug": f"s-{uuid4().hex}"}
    assert inside("POST", "/workspaces", owner, body).status == 201
    assert inside("POST", "/workspaces", owner, body, headers).status == 409
    body["slug"] += "-2"
    assert inside("POST", "/workspaces", owner, body, headers).status == 201


@pytest.mark.parametrize("row", CREATING, ids=lambda row: row.name)
def test_key_is_each_users_own(row: Row, cast: Cast, inside: Inside) -> None:
    first = cast.people[caller(row)]
    body, key = row.body(first.ids), str(uuid4())
    made = create(inside, row, first, body, key)
    for name in ("admin", "editor", "viewer", "stranger", "deactivated"):
        other = create(inside, row, cast.people[name], body, key)
        # An address has one pending invitation, which the next one renews.
        assert other.json.get("id") != made.json["id"] or row.path.endswith("/invitations")
        assert other.status in (row.expected(name), 409)  # 409: an address or name is taken


def test_key_is_each_workspaces_own(new_tenant: Callable[[], Tenant], inside: Inside) -> None:
    tenant = new_tenant()
    person = Person(tenant.tokens["access_token"], tenant.user["id"])
    second = inside("POST", "/workspaces", person, {"name": "Second"}).json["id"]
    headers = {"Idempotency-Key": str(uuid4())}
    answers = [
        inside("POST", f"/workspaces/{workspace}/chatbots", person, {"name": "One"}, headers)
        for workspace in (tenant.workspace_id, second)
    ]
    assert [answer.status for answer in answers] == [201, 201]
    assert answers[0].json["id"] != answers[1].json["id"]
