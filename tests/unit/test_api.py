"""What holds on every route, shown on a resource made up for it."""

import base64
import json
import tracemalloc
from typing import Annotated, Any

import pytest
from botocore.exceptions import ClientError
from pydantic import Field

from chatbot import rate_limit
from chatbot.api import Access, Api, Request
from chatbot.bodies import MAX_BODY_BYTES, Body
from chatbot.errors import Conflict, NotFound, PreconditionFailed, ServiceUnavailable
from chatbot.paging import Page
from tests.unit.conftest import FakeDatabase, fresh_settings
from tests.unit.rest import ALICE, BOB, WORKSPACE_A, WORKSPACE_B, Answer, event, send

api = Api("things")
LIST_A = f"/api/v1/workspaces/{WORKSPACE_A}/things"
THING_A = f"{LIST_A}/0190dddd-0000-7000-8000-00000000000d"
THING_ID = THING_A[-36:]
ARABIC_INDIC = "\N{ARABIC-INDIC DIGIT ONE}" * 8 + THING_ID[8:]
ROW = {"id": THING_ID, "created_at": "2026-11-24T10:00:00Z", "version": 3, "name": "a"}


class Thing(Body):
    name: Annotated[str, Field(max_length=100)]
    count: int = 0
    share: float = 0.0
    parts: dict[str, str] = Field(default_factory=dict)


class ThingPatch(Body):
    name: str = ""
    note: str | None = None


@api.get("/workspaces/<workspace_id>/things", "things:read")
def index(request: Request, page: Page, everything: bool = False) -> Any:
    return page.answer(request.query("SELECT", {**page.params, "everything": everything}))


@api.post("/workspaces/<workspace_id>/things", "things:write", status=201, idempotent=True)
def create(request: Request, body: Thing) -> Any:
    return request.query("INSERT", body.changes())


@api.patch("/workspaces/<workspace_id>/things/<thing_id>", "things:write")
def update(request: Request, thing_id: str, body: ThingPatch) -> Any:
    return request.query("UPDATE", {"id": thing_id, "changes": body.changes()})


@api.delete("/workspaces/<workspace_id>/things/<thing_id>", "things:write", status=204)
def delete(request: Request, thing_id: str) -> None:
    request.query("DELETE", {"id": thing_id})


@api.post("/open", Access.OPEN)
def open_route(body: Thing) -> dict[str, Any]:
    return {"name": body.name}


@api.get("/account", Access.ACCOUNT)
def account(request: Request) -> Any:
    return request.call("app.something")


@pytest.fixture(autouse=True)
def stores(cloud: None, database: FakeDatabase) -> None:
    """Counters in DynamoDB, answers from the fake database."""


def ask(method: str, path: str, body: Any = None, **request: Any) -> Answer:
    return send(api.handler, event(method, path, body, **request))


def problem(answer: Answer, status: int) -> dict[str, Any]:
    """The problem that an answer carries, having checked its form."""
    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    found: dict[str, Any] = answer.json
    assert found.keys() - {"errors"} == {"type", "title", "status", "detail", "request_id"}
    assert found["status"] == status
    assert found["request_id"] == answer.headers["X-Request-Id"]
    return found


def test_statement_runs_as_the_caller_in_the_workspace_of_the_path(database: FakeDatabase) -> None:
    for caller, workspace in ((ALICE, WORKSPACE_A), (BOB, WORKSPACE_B)):
        database.answers = [ROW]
        path = f"/api/v1/workspaces/{workspace}/things/{THING_ID}"
        assert ask("PATCH", path, {"name": "b"}, caller=caller).status == 200
        asked = database.asked.pop()
        assert (asked["caller"], asked["workspace_id"]) == (caller, workspace)
        assert asked["permission"] == "things:write"
        assert asked["params"] == {"id": ROW["id"], "changes": {"name": "b"}}


def test_answer_has_the_version_as_its_etag_only(database: FakeDatabase) -> None:
    database.answers = [ROW]
    answer = ask("POST", LIST_A, {"name": "a"})
    assert answer.status == 201
    assert answer.headers["ETag"] == '"3"'
    assert answer.json == {key: value for key, value in ROW.items() if key != "version"}


def test_list_has_items_without_versions_and_a_cursor(database: FakeDatabase) -> None:
    database.answers = [{"items": [ROW], "more": True}, {"items": [], "more": False}]
    answer = ask("GET", LIST_A, query={"limit": "1", "everything": "true"})
    assert answer.status == 200
    assert "version" not in answer.json["items"][0]
    assert database.asked[0]["params"] == {"limit": 1, "everything": True}

    query = {"cursor": answer.json["next_cursor"], "everything": "true"}
    assert ask("GET", LIST_A, query=query).json == {"items": [], "next_cursor": None}
    assert database.asked[1]["params"]["after"]["id"] == ROW["id"]
    assert problem(ask("GET", LIST_A, query=query, caller=BOB), 400)


def test_empty_answer_has_no_body(database: FakeDatabase) -> None:
    database.answers = [ROW["id"]]
    answer = ask("DELETE", THING_A)
    assert (answer.status, answer.text) == (204, "")


def test_null_in_a_merge_patch_arrives_and_an_absent_field_does_not(
    database: FakeDatabase,
) -> None:
    database.answers = [ROW]
    headers = {"content-type": "application/merge-patch+json"}
    assert ask("PATCH", THING_A, '{"note": null}', headers=headers).status == 200
    assert database.asked[0]["params"]["changes"] == {"note": None}
    assert problem(ask("PATCH", THING_A, {"name": None}), 422)


@pytest.mark.parametrize(
    "path",
    [
        f"/api/v1/workspaces/{WORKSPACE_A}/things/unknown",
        f"/api/v1/workspaces/{WORKSPACE_A}/things/{'0' * 32}",
        f"/api/v1/workspaces/{WORKSPACE_A}/things/{{{THING_ID}}}",
        f"/api/v1/workspaces/{WORKSPACE_A}/things/urn:uuid:{THING_ID}",
        f"/api/v1/workspaces/{WORKSPACE_A}/things/'; DROP TABLE things; --",
        f"/api/v1/workspaces/{WORKSPACE_A}/things/\0",
        f"/api/v1/workspaces/../things/{THING_ID}",
        f"/api/v1/workspaces/x/things/{THING_ID}",
        f"/api/v1/workspaces/{WORKSPACE_A}/things/{ARABIC_INDIC}",
        f"/api/v1/workspaces/{WORKSPACE_A}/things/{THING_ID}\n",
    ],
)
def test_id_is_not_found_when_it_is_no_uuid(path: str, database: FakeDatabase) -> None:
    problem(ask("DELETE", path), 404)
    assert database.asked == []


def test_id_is_one_whatever_its_case(database: FakeDatabase) -> None:
    database.answers = [ROW["id"]]
    assert ask("DELETE", LIST_A + "/" + THING_ID.upper()).status == 204
    assert database.asked[0]["params"] == {"id": ROW["id"]}


def test_nothing_found_is_404(database: FakeDatabase) -> None:
    database.answers = [None]
    problem(ask("DELETE", THING_A), 404)


# --- Principal


@pytest.mark.parametrize(
    "authorizer",
    [
        None,
        {},
        {"lambda": None},
        {"lambda": {}},
        {"lambda": {"user_id": ALICE.user_id}},
        {"lambda": {"user_id": None, "token_version": 1}},
        {"lambda": {"user_id": ALICE.user_id, "token_version": "1"}},
        {"jwt": {"claims": {"sub": ALICE.user_id}}},
    ],
)
def test_route_is_closed_when_no_authorizer_gave_a_principal(
    authorizer: Any, database: FakeDatabase
) -> None:
    request = event("GET", LIST_A, caller=None)
    request["requestContext"]["authorizer"] = authorizer
    answer = send(api.handler, request)
    problem(answer, 401)
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert database.asked == []


def test_refusal_of_the_authorizer_is_the_detail() -> None:
    request = event("GET", LIST_A, caller=None)
    request["requestContext"]["authorizer"] = {"lambda": {"refusal": "the token has expired"}}
    assert problem(send(api.handler, request), 401)["detail"] == "the token has expired"


# --- Bodies

TEXT = json.dumps({"name": "a"})
REFUSED: dict[str, tuple[int, Any]] = {
    "none": (400, None),
    "empty": (400, ""),
    "no JSON": (400, "name=a"),
    "cut": (400, '{"name": "a"'),
    "two documents": (400, "{}{}"),
    "NaN": (400, '{"name": "a", "share": NaN}'),
    "infinity": (400, '{"name": "a", "share": -Infinity}'),
    "deep": (400, '{"name": ' + "[" * 100_000 + "]" * 100_000 + "}"),
    "deep in a field": (422, '{"name": ' + "[" * 300 + "]" * 300 + "}"),
    "5000 digits": (400, '{"name": "a", "count": ' + "9" * 5000 + "}"),
    "array": (422, "[]"),
    "string": (422, '"a"'),
    "null": (422, "null"),
    "unknown field": (422, {"name": "a", "is_admin": True}),
    "missing field": (422, {}),
    "number for a string": (422, {"name": 1}),
    "null for a string": (422, {"name": None}),
    "string for a number": (422, {"name": "a", "count": "1"}),
    "bool for a number": (422, {"name": "a", "count": True}),
    "fraction for a whole number": (422, {"name": "a", "count": 1.5}),
    "float for a whole number": (422, '{"name": "a", "count": 1.0}'),
    "overflowing float": (422, '{"name": "a", "share": 1e999}'),
    "too long": (422, {"name": "x" * 101}),
    "NUL": (422, {"name": "a\0"}),
    "NUL in a name": (422, {"name": "a", "parts": {"\0": "x"}}),
    "NUL deeper": (422, {"name": "a", "parts": {"x": "\0"}}),
    "lone surrogate": (422, '{"name": "\\ud800"}'),
    "surrogates swapped": (422, '{"name": "\\udc00\\ud800"}'),
    "surrogate in a name": (422, '{"name": "a", "\\ud800": 1}'),
    "wrong in a list": (422, {"name": ["a"]}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_body_is_refused_when_it_is(name: str, database: FakeDatabase) -> None:
    status, body = REFUSED[name]
    found = problem(ask("POST", LIST_A, body), status)
    assert database.asked == []
    if status == 422:
        assert all(error.keys() == {"loc", "msg", "type"} for error in found["errors"])
        assert all(error["loc"][0] == "body" for error in found["errors"])
        assert found["errors"]


@pytest.mark.parametrize(
    "text",
    [
        " outer space\t\n",
        "",
        "日本語",
        "👩‍👩‍👧",
        "\U0001f600",
        "é",
        "e\u0301",
        "{{7*7}}",
        "'; --",
        "\x7f\x01",
    ],
)
def test_text_arrives_as_it_was_sent(text: str, database: FakeDatabase) -> None:
    database.answers = [ROW, ROW]
    assert ask("POST", LIST_A, {"name": text}).status == 201
    assert ask("POST", LIST_A, json.dumps({"name": text}, ensure_ascii=False)).status == 201
    assert [asked["params"] for asked in database.asked] == [{"name": text}] * 2


def test_body_is_read_when_the_gateway_encoded_it(database: FakeDatabase) -> None:
    database.answers = [ROW]
    request = event("POST", LIST_A, base64.b64encode(TEXT.encode()).decode())
    request["isBase64Encoded"] = True
    assert send(api.handler, request).status == 201


@pytest.mark.parametrize("raw", [b"\xff\xfe", TEXT.encode("utf-16"), b"\xed\xa0\x80"])
def test_body_is_malformed_when_it_is_no_utf_8(raw: bytes) -> None:
    request = event("POST", LIST_A, base64.b64encode(raw).decode())
    request["isBase64Encoded"] = True
    problem(send(api.handler, request), 400)


@pytest.mark.parametrize(("length", "status"), [("13", 400), ("15", 201), ("", 201), ("x", 201)])
def test_body_is_malformed_when_the_gateway_replaced_bytes_of_it(
    length: str, status: int, database: FakeDatabase
) -> None:
    database.answers = [ROW]
    assert ask("POST", LIST_A, '{"name": "\ufffd"}', headers={"content-length": length}).status == (
        status
    )


def test_many_values_deep_down_take_little_memory() -> None:
    body = '{"name": ' + "[" * 900 + "0," * 100_000 + "0" + "]" * 900 + "}"
    tracemalloc.start()
    try:
        problem(ask("POST", LIST_A, body), 422)
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


def test_errors_are_cut_when_there_are_too_many_to_send() -> None:
    body = json.dumps({str(number): 1 for number in range(20_000)})
    assert len(problem(ask("POST", LIST_A, body), 422)["errors"]) == 100


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json",
     "application/json; charset=utf-16", "application/jsonx", "application/xml"],
)  # fmt: skip
def test_content_type_is_refused_when_it_is_not_json(content_type: str) -> None:
    problem(ask("POST", LIST_A, TEXT, headers={"content-type": content_type}), 415)


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON; charset=UTF-8", "application/json;"]
)
def test_content_type_is_accepted_when_it_is_json(
    content_type: str, database: FakeDatabase
) -> None:
    database.answers = [ROW]
    headers = {"content-type": content_type}
    assert ask("POST", LIST_A, TEXT, headers=headers).status == 201


def test_body_is_too_large_when_it_passes_the_limit() -> None:
    problem(ask("POST", LIST_A, '{"name": "' + "x" * MAX_BODY_BYTES + '"}'), 413)


@pytest.mark.parametrize("value", ["1", "True", "", "yes"])
def test_flag_is_refused_when_it_is_not_true_or_false(value: str) -> None:
    found = problem(ask("GET", LIST_A, query={"everything": value}), 422)
    assert found["errors"][0]["loc"] == ["query", "everything"]


# --- Routes


def test_path_is_not_found_when_no_route_has_it() -> None:
    for path in ("/api/v1/nothing", "/", "/api/v2/open", f"{LIST_A}/", "/api/v1//open"):
        problem(ask("GET", path, caller=None), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("PUT", LIST_A, "GET, POST"), ("HEAD", LIST_A, "GET, POST"),
     ("POST", THING_A, "DELETE, PATCH"), ("OPTIONS", "/api/v1/open", "POST"),
     ("TRACE", "/api/v1/account", "GET")],
)  # fmt: skip
def test_method_is_refused_with_those_allowed(method: str, path: str, allowed: str) -> None:
    answer = ask(method, path, caller=None)
    problem(answer, 405)
    assert answer.headers["Allow"] == allowed


# --- Errors


@pytest.mark.parametrize(
    ("error", "status"),
    [(NotFound(), 404), (Conflict("taken"), 409), (PreconditionFailed(), 412)],
)
def test_error_of_the_database_is_a_problem(
    error: Exception, status: int, database: FakeDatabase
) -> None:
    database.answers = [error]
    problem(ask("DELETE", THING_A), status)


def test_answer_says_when_to_retry_while_the_database_wakes(database: FakeDatabase) -> None:
    database.answers = [ServiceUnavailable(retry_after=7)]
    answer = ask("DELETE", THING_A)
    problem(answer, 503)
    assert answer.headers["Retry-After"] == "7"


def test_bug_of_ours_tells_the_client_nothing_and_the_log_everything(
    database: FakeDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    error = RuntimeError("SELECT secret FROM arn:aws:rds")
    database.answers = [error]
    found = problem(ask("DELETE", THING_A), 500)
    assert "secret" not in json.dumps(found)
    [line] = caplog.records
    assert line.levelname == "ERROR"
    assert vars(line)["code"] == "API001"
    assert line.exc_info
    assert line.exc_info[1] is error


@pytest.mark.parametrize(
    ("code", "status", "answered"),
    [
        ("ThrottlingException", 400, 503),
        ("ExpiredTokenException", 400, 503),
        ("RequestTimeTooSkewed", 403, 503),
        ("InternalServerError", 500, 503),
        ("AccessDeniedException", 403, 500),
        ("ValidationException", 400, 500),
    ],
)
def test_answer_says_when_to_retry_only_when_aws_fails_for_now(
    code: str, status: int, answered: int, database: FakeDatabase
) -> None:
    response: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    database.answers = [ClientError(response, "GetItem")]
    answer = ask("DELETE", THING_A)
    problem(answer, answered)
    assert answer.headers.get("Retry-After") == ("1" if answered == 503 else None)


# --- Request ids


@pytest.mark.parametrize("sane", ["a", "0190aaaa-0000-7000-8000-000000000000", "A.b_c:d=-" * 14])
def test_request_id_is_the_callers_when_it_is_sane(sane: str, database: FakeDatabase) -> None:
    database.answers = [ROW["id"]]
    assert ask("DELETE", THING_A, headers={"x-request-id": sane}).headers["X-Request-Id"] == sane


@pytest.mark.parametrize("odd", ["", " ", "a b", "x" * 129, "a\r\nSet-Cookie: b", "é", "{}", "a,b"])
def test_request_id_is_the_gateways_when_the_callers_is_not(odd: str) -> None:
    answer = ask("GET", "/nothing", headers={"x-request-id": odd})
    assert answer.headers["X-Request-Id"] == "gateway-id="


# --- If-Match and Idempotency-Key


@pytest.mark.parametrize(
    ("tag", "versions"),
    [(None, None), ("*", None), ('"3"', ["3"]), ('"3", "4"', ["3", "4"]), ('W/"3"', []),
     ('"abc"', []), ("3", []), ("", []), ('"3"garbage', ["3"])],
)  # fmt: skip
def test_if_match_names_the_versions_that_may_change(
    tag: str | None, versions: list[str] | None, database: FakeDatabase
) -> None:
    headers = {} if tag is None else {"if-match": tag}
    for method, body in (("PATCH", {"name": "b"}), ("DELETE", None)):
        database.answers = [ROW]
        assert ask(method, THING_A, body, headers=headers).status in {200, 204}
        assert database.asked.pop()["if_match"] == versions


def test_idempotency_key_goes_with_the_route_and_a_digest_of_the_body(
    database: FakeDatabase,
) -> None:
    def claimed(body: Any, path: str = LIST_A, key: str = "k-1") -> Any:
        database.answers = [ROW]
        headers = {"idempotency-key": key}
        assert ask("POST", path, body, headers=headers).status == 201
        return database.asked.pop()["idempotency"]

    first = claimed('{"name": "a", "count": 1}')
    assert first["route"] == f"POST {LIST_A}"
    assert "k-1" not in json.dumps(first)
    assert claimed('{ "count":1,"name":"a" }') == first
    assert claimed('{"name": "b", "count": 1}')["body_hash"] != first["body_hash"]
    assert claimed('{"name": "a"}')["body_hash"] != first["body_hash"]
    other = claimed('{"name": "a", "count": 1}', LIST_A.replace(WORKSPACE_A, WORKSPACE_B))
    assert other["route"] != first["route"]
    # Bodies can hold passwords: without the key their digest tells nothing.
    second = claimed('{"name": "a", "count": 1}', key="k-2")
    assert (second["key"] != first["key"], second["body_hash"] != first["body_hash"]) == (True,) * 2


def test_idempotency_key_is_for_one_route_whatever_the_case_of_its_ids(
    database: FakeDatabase,
) -> None:
    database.answers = [ROW, ROW]
    headers = {"idempotency-key": "k"}
    upper = LIST_A.replace(WORKSPACE_A, WORKSPACE_A.upper())
    for path in (LIST_A, upper):
        assert ask("POST", path, {"name": "a"}, headers=headers).status == 201
    assert database.asked[0]["idempotency"] == database.asked[1]["idempotency"]


@pytest.mark.parametrize("key", ["", "x" * 256, "a\x01", "a\tb"])
def test_idempotency_key_is_refused_when_it_is_not_1_to_255_characters(key: str) -> None:
    problem(ask("POST", LIST_A, {"name": "a"}, headers={"idempotency-key": key}), 400)


def test_idempotency_key_is_ignored_when_the_route_does_not_create(database: FakeDatabase) -> None:
    database.answers = [ROW]
    assert ask("PATCH", THING_A, {"name": "b"}, headers={"idempotency-key": "k"}).status == 200
    assert database.asked[0]["idempotency"] is None


def test_function_of_an_account_gets_the_caller(database: FakeDatabase) -> None:
    database.answers = [{"ok": True}]
    assert ask("GET", "/api/v1/account", caller=BOB).json == {"ok": True}
    assert database.asked[0]["params"] == {"user_id": BOB.user_id, "token_version": 4}


# --- Rate limits


def test_calls_are_counted_by_user_and_refused_when_the_limit_is_spent(
    database: FakeDatabase, environment: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment.setenv("USER_REQUESTS_PER_MINUTE", "2")
    fresh_settings()
    now = 1_790_000_000.0  # 20 s into a minute
    monkeypatch.setattr("chatbot.rate_limit.time.time", lambda: now)
    database.answers = [ROW["id"]] * 4
    answers = [ask("DELETE", THING_A) for _ in range(3)]
    assert [answer.status for answer in answers] == [204, 204, 429]
    assert [answer.headers["RateLimit-Remaining"] for answer in answers] == ["1", "0", "0"]
    assert {answer.headers["RateLimit-Limit"] for answer in answers} == {"2"}
    assert {answer.headers["RateLimit-Reset"] for answer in answers} == {"40"}
    problem(answers[2], 429)
    assert answers[2].headers["Retry-After"] == "40"
    assert ask("DELETE", THING_A, caller=BOB).status == 204

    now += 40
    assert ask("DELETE", THING_A).status == 204


def test_open_route_is_counted_by_address(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ADDRESS_REQUESTS_PER_MINUTE", "1")
    fresh_settings()
    request = event("POST", "/api/v1/open", {"name": "a"}, caller=None)
    assert [send(api.handler, request).status for _ in range(2)] == [200, 429]
    request["requestContext"]["http"]["sourceIp"] = "203.0.113.1"
    assert send(api.handler, request).status == 200


def test_open_route_is_counted_by_the_clients_address_when_cloudfront_is_before_it(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("ADDRESS_REQUESTS_PER_MINUTE", "1")
    environment.setenv("ORIGIN_DIGEST", "d")
    fresh_settings()

    def ask_from(address: str) -> int:
        headers = {"x-viewer-address": address}
        body = {"name": "a"}
        request = event("POST", "/api/v1/open", body, caller=None, headers=headers)
        return send(api.handler, request).status

    assert [ask_from(address) for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2")] == [
        200, 429, 200
    ]  # fmt: skip


def test_refunded_call_is_counted_no_more() -> None:
    for _ in range(3):
        rate_limit.refund(rate_limit.count("someone", 1))
    assert rate_limit.count("someone", 1).remaining == 0
