"""Whatever is sent is refused clearly, or stored and given back as the text it is."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.e2e.rest.cast import Cast, Person
from tests.e2e.rest.conftest import Inside
from tests.e2e.rest.table import Row, declared, route_of, rows
from tests.unit.rest import Answer

type Path = tuple[str | int, ...]

# Of at most 64 characters: most fields take them.
TEXTS = [
    " outer white space, '; DROP TABLE app.users; --\" OR ''='' /*\\ \t",
    "{{7*7}}{% raw %}{# #}{% endraw %}${7*7} $(id) `id` <%= 7*7 %>",
    "%s %n {0} {x.__class__} <script>alert(1)</script>&amp; null",
    "\u202ertl e\u0301 \U0001f469\u200d\U0001f467 \u65e5\u672c \ufeff\ufffd\uffff\U0010ffff",
    "\x01\x1b[31m\x7f\u0085\u2028\r\nSet-Cookie: a=b",
    "../../etc/passwd%00",
]
NO_TEXTS = [
    '"\\u0000"',
    '"a\\u0000b"',
    '"\\ud800"',
    '"\\udc00\\ud800"',
    "1",
    "1.5",
    "true",
    "[]",
    "{}",
]
NO_NUMBERS = ["1e400", "-1e400", str(10**30), str(-(10**30)), '"1"', "true", "[]", "{}", "NaN"]
MARK = "\ue000"  # stands for a piece of raw JSON

WITH_BODY = rows(lambda row: "body" in route_of(row).parameters)


def leaves(
    schema: Mapping[str, Any], root: Mapping[str, Any], path: Path = ()
) -> Iterator[tuple[Path, str]]:
    """The places of texts and numbers in what a schema describes, with their type."""
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    for choice in schema.get("anyOf", ()):
        yield from leaves(choice, root, path)
    match schema.get("type"):
        case "object":
            for name, part in schema.get("properties", {}).items():
                yield from leaves(part, root, (*path, name))
        case "array":
            yield from leaves(schema["items"], root, (*path, 0))
        case "string" | "number" | "integer" as kind:
            yield path, "number" if kind == "integer" else kind


def fields(row: Row, kind: str) -> list[Path]:
    model = route_of(row).body_model()
    schema = model.model_json_schema()
    return [path for path, found in dict(leaves(schema, schema)).items() if found == kind]


def placed(body: Any, path: Path, value: Any) -> Any:
    """The body with a value at a path, which is made where it is not there."""
    if not path:
        return value
    step, *rest = path
    if step == 0:
        return [placed(None, tuple(rest), value)]
    return {**(body or {}), step: placed((body or {}).get(step), tuple(rest), value)}


def found(body: Any, path: Path) -> Any:
    for step in path:
        body = body[step]
    return body


def refused(answer: Answer, what: Any) -> None:
    assert 400 <= answer.status < 500, f"{what!r}: {answer.status} {answer.text[:200]}"
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["status"] == answer.status
    assert not re.search(r"(?i)sqlstate|postgres|arn:|traceback|dynamodb", answer.text)


def registered(inside: Inside) -> Person:
    """Somebody whose password's hash is as cheap."""
    body = next(row for row in WITH_BODY if row.path == "/auth/register").body({})
    made = inside("POST", "/auth/register", None, body)
    return Person("signed in", made.json["id"], {"email": body["email"]})


def caller(row: Row, cast: Cast) -> Person:
    return cast.people["administrator" if row.expected("owner") == 403 else "owner"]


@pytest.mark.parametrize("row", WITH_BODY, ids=lambda row: row.name)
def test_text_is_refused_or_stored_as_it_is(
    row: Row, cast: Cast, inside: Inside, cheap_hashes: None
) -> None:
    person = caller(row, cast)
    if row.path in ("/auth/login", "/users/me/password"):
        person = registered(inside)
    for path in fields(row, "string"):
        for text in TEXTS:
            body = placed(row.body(person.ids), path, text)
            answer = inside(row.method, row.url(person.ids), person, body)
            if answer.status >= 300:
                refused(answer, (path, text))
                continue
            again = read_again(inside, row, person, answer)
            for shown in (answer.json, again):
                if shown and path[0] in shown:
                    assert found(shown, path) == text, path


def read_again(inside: Inside, row: Row, person: Person, answer: Answer) -> Any:
    """The resource that was made or changed, where a route reads it alone."""
    path = row.url(person.ids)
    route = row.path
    if row.method == "POST" and answer.json and "id" in answer.json:
        path += f"/{answer.json['id']}"
        route = next(
            (r.split(" ")[1] for r in declared() if r.startswith(f"GET {row.path}/{{")), ""
        )
        if route.count("/") != path.count("/"):
            return None
    if f"GET {route}" not in declared():
        return None
    read = inside("GET", path, person)
    assert read.status == 200, read.text
    return read.json


@pytest.mark.parametrize("row", WITH_BODY, ids=lambda row: row.name)
def test_value_is_refused_when_it_has_the_wrong_type(row: Row, cast: Cast, inside: Inside) -> None:
    person = caller(row, cast)
    long = [] if row.path.endswith("/documents") else ['"' + "x" * 100_000 + '"']
    raw = [(path, [*NO_TEXTS, *long]) for path in fields(row, "string")]
    raw += [(path, NO_NUMBERS) for path in fields(row, "number")]
    assert raw or row.path.endswith("/roles")
    for path, values in raw:
        for value in values:
            body = json.dumps(placed(row.body(person.ids), path, MARK))
            text = body.replace(json.dumps(MARK), value)
            answer = inside(row.method, row.url(person.ids), person, text)
            refused(answer, (path, value[:40]))
            assert "rds-data.ExecuteStatement" not in inside.calls


SHAPES: dict[str, tuple[int, str | None]] = {
    "none": (400, None),
    "empty": (400, ""),
    "no JSON": (400, "<xml/>"),
    "cut": (400, '{"name": '),
    "two": (400, "{} {}"),
    "NaN": (400, '{"name": NaN}'),
    "5000 digits": (400, '{"name": ' + "9" * 5000 + "}"),
    "deep": (400, "[" * 100_000 + "]" * 100_000),
    "array": (422, "[]"),
    "null": (422, "null"),
    "text": (422, '"text"'),
    "unknown fields": (422, json.dumps({f"unknown {n}": n for n in range(5000)})),
    "deep in a field": (422, '{"name": ' + "[" * 500 + "]" * 500 + "}"),
}
MEDIA_TYPES = [
    "text/plain",
    "application/xml",
    "application/x-www-form-urlencoded",
    "application/json; charset=utf-16",
    "",
]


@pytest.mark.parametrize("row", WITH_BODY, ids=lambda row: row.name)
def test_body_is_refused_when_its_form_is_wrong(row: Row, cast: Cast, inside: Inside) -> None:
    person = caller(row, cast)
    url = row.url(person.ids)
    large = json.dumps({"name": "x" * route_of(row).body_model().max_bytes})
    for name, (status, text) in {**SHAPES, "large": (413, large)}.items():
        answer = inside(row.method, url, person, text)
        refused(answer, name)
        assert answer.status == status, name
        assert inside.calls.count("rds-data.ExecuteStatement") == 0
    for media_type in MEDIA_TYPES:
        answer = inside(row.method, url, person, "{}", {"content-type": media_type})
        assert answer.status == 415, media_type


VALUES = [
    "",
    "0",
    "-1",
    "101",
    "1.0",
    "1e1",
    "\u0661",
    "9" * 5000,
    "x",
    "%00",
    "\0",
    "'",
    "{{7*7}}",
]


@pytest.mark.parametrize(
    "row",
    rows(lambda row: bool(row.method == "GET" and route_of(row).query)),
    ids=lambda row: row.name,
)
def test_query_is_refused_when_a_value_is_wrong(row: Row, cast: Cast, inside: Inside) -> None:
    person = caller(row, cast)
    for parameter in route_of(row).query:
        name = parameter.removesuffix("_")
        for value in [
            *VALUES,
            "0000-00-00",
            "2026-02-30",
            "0001-01-01T00:00:00+14:00",
            "9999-13-01",
        ]:
            answer = inside("GET", row.url(person.ids), person, query={name: value})
            refused(answer, (name, value))


@pytest.mark.parametrize("row", rows(lambda row: row.method == "GET"), ids=lambda row: row.name)
def test_unknown_names_in_a_query_are_ignored_and_a_wrong_limit_is_not(
    row: Row, cast: Cast, inside: Inside
) -> None:
    person = caller(row, cast)
    url = row.url(person.ids)
    assert inside("GET", url, person, query={"unknown": "'; --"}).status == 200
    if "page" in route_of(row).parameters:
        for value in VALUES:
            assert inside("GET", url, person, query={"limit": value}).status == 422, value


def test_bytes_are_refused_by_the_gateway_or_behind_it_when_they_are_no_request(cast: Cast) -> None:
    owner = cast.people["owner"]
    rest = cast.rest("owner")
    path = f"/workspaces/{owner.ids['workspace_id']}/chatbots"
    json_type = {"Content-Type": "application/json"}

    def sent(data: bytes, headers: Mapping[str, str] = json_type) -> int:
        answer = rest("POST", path, data=data, headers=headers)
        if answer.headers["Content-Type"] == "application/problem+json":
            assert answer.json()["status"] == answer.status_code
        return answer.status_code

    assert sent(b'{"name": "' + b"x" * 11 * 2**20 + b'"}') == 413
    assert sent(b'{"name": "' + b"x" * 9 * 2**20 + b'"}') == 413
    assert sent(b'{"name": "\xff\xfe"}') == 400
    assert sent(b'{"name": "\xed\xa0\x80"}') == 400
    assert sent('{"name": "x"}'.encode("utf-16")) == 400
    assert sent(b'{"name": ' + b"[" * 100_000 + b"]" * 100_000 + b"}") == 400
    assert sent(b'{"name": ' + b"[" * 900 + b"0," * 100_000 + b"0" + b"]" * 900 + b"}") == 422
    assert sent(b"\x1f\x8b\x08\x00", json_type | {"Content-Encoding": "gzip"}) == 400
    assert sent(b'{"name": "x"}', {"Content-Type": "multipart/form-data"}) == 415
    assert sent(b'{"name": "x"}', {"Content-Type": "application/json\x01"}) in (400, 415)
    assert sent('{"name": " \u65e5\u672c "}'.encode()) == 201
