"""A thousand rows by their pages, while others come and go: none twice, none skipped."""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import batched
from typing import Any
from uuid import UUID

import pytest

from chatbot import conversations, tables
from chatbot.aws import client
from chatbot.identifiers import created_at, now_ms
from chatbot.paging import Page
from chatbot.settings import settings
from tests.e2e.client import Tenant
from tests.e2e.conftest import Stack
from tests.e2e.rest.cast import Cast, Person
from tests.e2e.rest.conftest import Inside
from tests.e2e.rest.table import Row, route_of, rows

ROWS = 1000
LIMIT = 90
# Of all rows of PostgreSQL: their random ids decide, so what comes later gets in between.
AT = "2026-01-02T03:04:05.678901+00:00"
SPREAD_MS = 10**9  # over which the ids of DynamoDB's rows are spread, in random order

W = "/workspaces/{workspace_id}"
IDS = "SELECT coalesce(jsonb_agg(id), '[]') FROM made"


@dataclass(frozen=True, slots=True)
class Place:
    """Where rows are made and deleted, behind the API's back."""

    stack: Stack
    person: Person

    @property
    def workspace_id(self) -> str:
        return self.person.ids["workspace_id"]

    def sql(self, statement: str, **params: str) -> list[str]:
        [ids] = self.stack.sql(f"WITH {statement} {IDS}", **params)
        found: list[str] = ids
        return found


@dataclass(frozen=True, slots=True)
class Kind:
    """How many rows of a list are made, which returns their ids, and deleted by id."""

    make: Callable[[Place, int], list[str]]
    delete: Callable[[Place, Sequence[str]], None]


def stored(table: str, columns: str, values: str) -> Kind:
    """Rows of a workspace in PostgreSQL."""

    def make(place: Place, number: int) -> list[str]:
        return place.sql(
            f"made AS (INSERT INTO app.{table} (workspace_id, created_at, {columns})"
            f" SELECT :workspace::uuid, :at::timestamptz, {values}"
            f" FROM generate_series(1, {number}) RETURNING id)",
            workspace=place.workspace_id,
            at=AT,
        )

    return Kind(make, deleted(table))


def deleted(table: str) -> Callable[[Place, Sequence[str]], None]:
    def delete(place: Place, ids: Sequence[str]) -> None:
        place.sql(
            f"made AS (DELETE FROM app.{table} WHERE id IN"
            " (SELECT value::uuid FROM jsonb_array_elements_text(:ids::jsonb)) RETURNING id)",
            ids=json.dumps(ids),
        )

    return delete


def insert_users(name: str, number: int) -> str:
    return (
        f"{name} AS (INSERT INTO app.users (email, username, full_name, created_at)"
        " SELECT gen_random_uuid() || '@example.com', 'n', 'n', :at::timestamptz"
        f" FROM generate_series(1, {number}) RETURNING id)"
    )


def users(place: Place, number: int) -> list[str]:
    return place.sql(insert_users("made", number), at=AT)


def members(place: Place, number: int) -> list[str]:
    return place.sql(
        insert_users("person", number)
        + ", made AS (INSERT INTO app.memberships (workspace_id, user_id, role_id, created_at)"
        " SELECT :workspace::uuid, person.id, role.id, :at::timestamptz"
        " FROM person, app.roles AS role"
        " WHERE role.workspace_id = :workspace::uuid AND role.name = 'viewer'"
        " RETURNING user_id AS id)",
        at=AT,
        workspace=place.workspace_id,
    )


def workspaces(place: Place, number: int) -> list[str]:
    return place.sql(
        "place AS (INSERT INTO app.workspaces (name, slug, created_at)"
        " SELECT 'n', gen_random_uuid(), :at::timestamptz"
        f" FROM generate_series(1, {number}) RETURNING id),"
        " role AS (INSERT INTO app.roles (workspace_id, name, permissions)"
        " SELECT id, 'n', '{}' FROM place RETURNING workspace_id, id),"
        " made AS (INSERT INTO app.memberships (workspace_id, user_id, role_id)"
        " SELECT workspace_id, :user::uuid, id FROM role RETURNING workspace_id AS id)",
        at=AT,
        user=place.person.user_id,
    )


def any_id() -> str:
    """A UUID of version 7 of a time at random: its row gets in between the others."""
    at = now_ms() - random.randrange(SPREAD_MS)
    return str(UUID(int=at << 80 | 0x7 << 76 | 0b10 << 62 | random.getrandbits(62)))


def put(table: str, items: Sequence[dict[str, Any]]) -> None:
    for batch in batched(items, 25):
        requests = [{"PutRequest": {"Item": tables.pack(item)}} for item in batch]
        client("dynamodb").batch_write_item(RequestItems={table: requests})


def started(place: Place, number: int) -> list[str]:
    ids = [any_id() for _ in range(number)]
    where = (place.workspace_id, place.person.user_id, place.person.ids["chatbot_id"], "n")
    put(settings().conversations_table, [conversations.new_head(id_, *where) for id_ in ids])
    return ids


def forgotten(_: Place, ids: Sequence[str]) -> None:
    keys = [conversations.head_key(id_) for id_ in ids]
    tables.delete_all(settings().conversations_table, keys)


def said(place: Place, number: int) -> list[str]:
    ids = [any_id() for _ in range(number)]
    within = place.person.ids["conversation_id"]
    put(
        settings().conversations_table,
        [conversations.new_message(within, id_, 1, "user", "n") for id_ in ids],
    )
    return ids


def unsaid(place: Place, ids: Sequence[str]) -> None:
    within = place.person.ids["conversation_id"]
    keys = [conversations.message_key(within, id_) for id_ in ids]
    tables.delete_all(settings().conversations_table, keys)


def feedback_key(place: Place, id_: str) -> dict[str, str]:
    return {"workspace_id": place.workspace_id, "item": f"FEEDBACK#{id_}#{id_}#{id_}"}


def rated(place: Place, number: int) -> list[str]:
    ids = [any_id() for _ in range(number)]
    chatbot_id = place.person.ids["chatbot_id"]
    put(
        settings().feedback_table,
        [
            feedback_key(place, id_)
            | dict.fromkeys(("id", "conversation_id", "message_id", "user_id"), id_)
            | dict.fromkeys(("created_at", "updated_at"), created_at(id_))
            | {"chatbot_id": chatbot_id, "chatbot": f"{place.workspace_id}#{chatbot_id}"}
            | {"created_key": f"{created_at(id_)}#{id_}"}
            | {"rating": 3, "comment": None, "version": 1}
            for id_ in ids
        ],
    )
    return ids


def unrated(place: Place, ids: Sequence[str]) -> None:
    keys = [feedback_key(place, id_) for id_ in ids]
    tables.delete_all(settings().feedback_table, keys)


def written(place: Place, number: int) -> list[str]:
    ids = [any_id() for _ in range(number)]
    put(
        settings().documents_table,
        [
            {
                "document_id": id_,
                "workspace_id": place.workspace_id,
                "created_key": f"{created_at(id_)}#{id_}",
                "created_at": created_at(id_),
                "updated_at": created_at(id_),
                "title": "n",
                "status": "embedded",
                "version": 1,
                "chunk_count": 1,
            }
            for id_ in ids
        ],
    )
    return ids


def unwritten(_: Place, ids: Sequence[str]) -> None:
    tables.delete_all(settings().documents_table, [{"document_id": id_} for id_ in ids])


def job_key(place: Place, id_: str) -> dict[str, str]:
    return {"source_id": place.workspace_id, "job_id": id_}


def run(place: Place, number: int) -> list[str]:
    ids = [any_id() for _ in range(number)]
    put(
        settings().jobs_table,
        [
            job_key(place, id_)
            | dict.fromkeys(("created_at", "updated_at", "started_at"), created_at(id_))
            | {"workspace_id": place.workspace_id, "created_key": f"{created_at(id_)}#{id_}"}
            | {"trigger": "manual", "status": "succeeded", "counts": "{}", "lease_until": 0}
            for id_ in ids
        ],
    )
    return ids


def not_run(place: Place, ids: Sequence[str]) -> None:
    tables.delete_all(settings().jobs_table, [job_key(place, id_) for id_ in ids])


KINDS = {
    "/users": Kind(users, deleted("users")),
    "/workspaces": Kind(workspaces, deleted("workspaces")),
    f"{W}/members": Kind(members, deleted("users")),
    f"{W}/invitations": stored(
        "invitations",
        "email, role_id, expires_at",
        "gen_random_uuid() || '@example.com', (SELECT id FROM app.roles"
        " WHERE workspace_id = :workspace::uuid AND name = 'viewer'), now()",
    ),
    f"{W}/roles": stored("roles", "name, permissions", "gen_random_uuid(), '{}'"),
    f"{W}/chatbots": stored(
        "chatbots",
        "name, model_id, temperature, max_tokens, max_tool_rounds, knowledge",
        "'n', 'm', 0, 1, 1, '{}'",
    ),
    f"{W}/conversations": Kind(started, forgotten),
    f"{W}/conversations/{{conversation_id}}/messages": Kind(said, unsaid),
    f"{W}/feedback": Kind(rated, unrated),
    f"{W}/sources": stored(
        "sources",
        "provider, name, config, schedule, is_enabled",
        "'slack', 'n', '{}', 'rate(1 hour)', true",
    ),
    f"{W}/jobs": Kind(run, not_run),
    f"{W}/documents": Kind(written, unwritten),
    f"{W}/audit": stored("audit_log", "action, resource_type", "'create', 'test'"),
}
OF_THE_ENVIRONMENT = {f"{W}/permissions", f"{W}/models", f"{W}/tools"}  # nothing comes or goes
LISTS = [row for row in rows() if "page" in route_of(row).parameters]


@pytest.fixture(scope="module")
def reader(new_tenant: Callable[[], Tenant]) -> Person:
    """The owner of a workspace in which nobody else is at work."""
    tenant = new_tenant()
    conversation = tenant.rest.ok(
        "POST", f"{tenant.path}/conversations", {"chatbot_id": tenant.chatbot_id}
    )
    ids = {
        "workspace_id": tenant.workspace_id,
        "chatbot_id": tenant.chatbot_id,
        "conversation_id": conversation["id"],
    }
    return Person(tenant.tokens["access_token"], tenant.user["id"], ids)


def test_every_list_has_its_rows_here() -> None:
    assert {row.path for row in LISTS} == KINDS.keys() | OF_THE_ENVIRONMENT


@pytest.mark.parametrize(
    ("row", "all_"),
    [
        pytest.param(row, all_, id=f"{row.name}{'?all' if all_ else ''}")
        for row in LISTS
        if row.path in KINDS
        for all_ in ((False, True) if row.path.endswith("/conversations") else (False,))
    ],
)
def test_every_row_is_shown_once_when_others_come_and_go(
    row: Row, all_: bool, reader: Person, cast: Cast, stack: Stack, inside: Inside
) -> None:
    kind, place = KINDS[row.path], Place(stack, reader)
    person = cast.people["administrator"] if row.path == "/users" else reader
    chance = random.Random(3)
    lasting = kind.make(place, ROWS)
    seen: list[tuple[datetime, str]] = []
    query = {"limit": str(LIMIT)} | ({"all": "true"} if all_ else {})
    while True:
        answer = inside("GET", row.url(reader.ids), person, query=query)
        assert answer.status == 200, answer.text
        for item in answer.json["items"]:
            identifier = item["user"]["id"] if "user" in item else item["id"]
            seen.append((datetime.fromisoformat(item["created_at"]), identifier))
        if answer.json["next_cursor"] is None:
            break
        query["cursor"] = answer.json["next_cursor"]
        kind.make(place, 3)
        kind.delete(place, [lasting.pop(chance.randrange(len(lasting))) for _ in range(2)])
    shown = [identifier for _, identifier in seen]
    assert len(shown) == len(set(shown))
    assert set(lasting) <= set(shown)
    assert seen == sorted(seen, reverse=not row.path.endswith("/messages"))


@pytest.mark.parametrize("row", LISTS, ids=lambda row: row.name)
def test_cursor_is_refused_or_harmless_when_it_was_made_up(
    row: Row, reader: Person, cast: Cast, inside: Inside
) -> None:
    person = cast.people["administrator"] if row.path == "/users" else reader
    path = row.url(reader.ids)
    page = Page.from_query({}, person.user_id, f"/api/v1{path}")
    for at in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", AT):
        for digit in "0f":
            last = {"created_at": at, "id": "-".join(digit * n for n in (8, 4, 4, 4, 12))}
            cursor = page.answer({"items": [last], "more": True})["next_cursor"]
            answer = inside("GET", path, person, query={"cursor": cursor})
            assert answer.status == 200, answer.text
            other = inside("GET", path, person, query={"cursor": cursor, "filter": "other"})
            assert other.status == 400
    for damaged in ("", "x", "e30", "W10", "%00", "a" * 9000, cursor[:-1], f"{cursor} "):
        assert inside("GET", path, person, query={"cursor": damaged}).status == 400, damaged
