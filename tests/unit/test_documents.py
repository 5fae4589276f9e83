"""The OpenAPI and AsyncAPI documents: what the handlers say, no more and no less."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from chatbot.api import Access, Api, Request, Route
from chatbot.errors import Problem
from functions.platform import handler as platform
from functions.platform.pages import STATIC
from layers import asyncapi, openapi
from tests.e2e.document import resolved, validator
from tests.unit.rest import event, send
from tests.unit.test_terraform_contract import FUNCTIONS

OPENAPI = openapi.document()
ASYNCAPI = asyncapi.document()
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, item in OPENAPI["paths"].items()
    for method, operation in item.items()
}
ROUTES: list[tuple[str, Api, Route]] = [
    (function, api, route) for function, api in openapi.apis() for route in api.routes
]
PERMISSIONS = {
    "workspace:update", "workspace:delete", "members:read", "members:write", "roles:read",
    "roles:write", "chatbots:read", "chatbots:write", "chat:use", "conversations:read_all",
    "feedback:read", "sources:read", "sources:write", "documents:read", "documents:write",
    "usage:read", "audit:read",
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "document"), [("openapi.json", OPENAPI), ("asyncapi.json", ASYNCAPI)]
)
def test_kept_copy_is_what_the_handlers_say(name: str, document: dict[str, Any]) -> None:
    kept = json.loads((STATIC / name).read_text(encoding="utf-8"))
    assert kept == document, "they have parted: `make documents` renews the copies"


def test_openapi_document_is_valid() -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(OPENAPI).iter_errors()] == []


def test_every_route_is_an_operation_and_every_operation_a_route() -> None:
    declared = [f"{route.method} {openapi.path_of(route)}" for _, _, route in ROUTES]
    assert len(declared) == len(set(declared))
    assert set(declared) == OPERATIONS.keys()
    ids = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_operation_says_what_it_does_and_who_may(operation: str) -> None:
    declared = OPERATIONS[operation]
    assert declared["summary"].endswith(".")
    permission = declared["x-permission"]
    assert permission in PERMISSIONS | {access.value for access in Access}
    assert declared["security"] == ([] if permission == "open" else [{"bearer": []}])
    assert ("401" in declared["responses"]) >= (permission != "open")
    assert ("403" in declared["responses"]) >= (permission in PERMISSIONS)
    assert ("404" in declared["responses"]) >= ("{" in operation)


@pytest.mark.parametrize(
    ("function", "route"),
    [pytest.param(f, r, id=f"{f}-{r.endpoint.__name__}") for f, _, r in ROUTES],
)
def test_what_a_route_answers_is_written_down(function: str, route: Route) -> None:
    assert (route.endpoint.__name__ in openapi.answers(function)) != (route.status == 204)


def _examples(value: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """(schema, example) of every content of a document's operations and responses."""
    if isinstance(value, dict):
        if "schema" in value and "example" in value:
            yield value["schema"], value["example"]
        for item in value.values():
            yield from _examples(item)
    elif isinstance(value, list):
        for item in value:
            yield from _examples(item)


def _faults(document: dict[str, Any], schema: dict[str, Any], value: Any) -> list[str]:
    return [f"{f.json_path} {f.message}" for f in validator(document, schema).iter_errors(value)]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_examples_are_as_their_schemas_say(operation: str) -> None:
    declared = OPERATIONS[operation]
    examples = [*_examples(declared)]
    has_body = "requestBody" in declared
    has_json = any("application/json" in r.get("content", {}) for r in _responses(declared))
    assert len(examples) >= has_body + has_json
    for schema, example in examples:
        assert _faults(OPENAPI, schema, example) == []


def _responses(operation: dict[str, Any]) -> list[dict[str, Any]]:
    return [resolved(OPENAPI, response) for response in operation["responses"].values()]


@pytest.mark.parametrize("name", OPENAPI["components"]["responses"])
def test_examples_of_problems_are_as_their_schema_says(name: str) -> None:
    response = OPENAPI["components"]["responses"][name]
    [(schema, example)] = _examples(response)
    assert _faults(OPENAPI, schema, example) == []
    assert "X-Request-Id" in response["headers"]


def test_every_problem_is_described() -> None:
    raised = {kind.status for kind in Problem.__subclasses__()}
    assert {kind.status for kind in openapi.PROBLEMS} == raised


@pytest.mark.parametrize("name", ASYNCAPI["components"]["messages"])
def test_examples_of_frames_are_as_their_schemas_say(name: str) -> None:
    message = ASYNCAPI["components"]["messages"][name]
    for example in message["examples"]:
        assert _faults(ASYNCAPI, message["payload"], example["payload"]) == []


def test_references_of_the_frames_document_lead_somewhere() -> None:
    references = re.findall(r'"\$ref": "(#[^"]+)"', json.dumps(ASYNCAPI))
    assert references
    for reference in references:
        assert resolved(ASYNCAPI, {"$ref": reference})
    for schema in ASYNCAPI["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


# --- Versions ------------------------------------------------------------------------------------

TERRAFORM_ROUTES = {
    route: key
    for key, row in re.findall(r"^    (\w+) = (\{.*?^    \})", FUNCTIONS, re.DOTALL | re.MULTILINE)
    for route in re.findall(r'"((?:ANY|GET|POST|PUT|PATCH|DELETE) /[^"]*)"', row)
}


def served_by(method: str, path: str, routes: dict[str, str]) -> str:
    """The function that API Gateway calls: a full match goes before one with a greedy variable,
    and the longer one before the shorter; `$default` takes the rest (developer guide, HTTP API,
    "Routing API requests")."""

    def matches(route: str) -> bool:
        wanted, template = route.split(" ")
        pattern = re.sub(r"\{\w+\}", "[^/]+", re.sub(r"\{\w+\+\}", ".+", template))
        return wanted in (method, "ANY") and re.fullmatch(pattern, path) is not None

    found = sorted(
        (route for route in routes if matches(route)),
        key=lambda route: ("+" not in route, len(route.split("/")), "{" not in route),
    )
    return routes[found[-1]] if found else "platform"


@pytest.mark.parametrize(
    ("function", "method", "path"),
    [(f, r.method, re.sub(r"<\w+>", "x", r.path)) for f, _, r in ROUTES],
)
def test_terraform_sends_a_route_to_the_function_that_declares_it(
    function: str, method: str, path: str
) -> None:
    assert served_by(method, path, TERRAFORM_ROUTES) == function


def test_one_resource_can_have_a_second_version_while_the_first_stays() -> None:
    """A folder with an `Api` of another prefix, and a row: nothing of the first is touched."""
    second = Api("chatbots", prefix="/api/v2")

    @second.get("/workspaces/<workspace_id>/chatbots", Access.OPEN, limited=False)
    def index(request: Request) -> dict[str, Any]:
        """List the chatbots of a workspace in another way."""
        return {"chatbots": [], "workspace": request.workspace_id}

    row = {
        "ANY /api/v2/workspaces/{workspace_id}/chatbots": "chatbots_v2",
        "ANY /api/v2/workspaces/{workspace_id}/chatbots/{proxy+}": "chatbots_v2",
    }
    routes = TERRAFORM_ROUTES | row
    workspace = "0190aaaa-0000-7000-8000-000000000000"
    path = f"/workspaces/{workspace}/chatbots"
    assert served_by("GET", f"/api/v2{path}", routes) == "chatbots_v2"
    assert served_by("PATCH", f"/api/v2{path}/1", routes) == "chatbots_v2"
    for function, _, route in ROUTES:
        first = re.sub(r"<\w+>", workspace, route.path)
        assert served_by(route.method, first, routes) == function
    assert served_by("GET", f"/api/v2/workspaces/{workspace}", routes) == "platform"  # 404

    answer = send(second.handler, event("GET", f"/api/v2{path}", caller=None))
    assert (answer.status, answer.json) == (200, {"chatbots": [], "workspace": workspace})
    assert send(second.handler, event("GET", f"/api/v1{path}", caller=None)).status == 404

    described = openapi.Resource("chatbots_v2", second).document()
    [(described_path, item)] = described["paths"].items()
    assert described_path == "/api/v2/workspaces/{workspace_id}/chatbots"
    assert described_path not in OPENAPI["paths"]
    assert item["get"]["operationId"] == "chatbots_v2_index"


# --- The page ------------------------------------------------------------------------------------


def test_documents_are_served_as_they_are() -> None:
    for name in ("openapi.json", "asyncapi.json"):
        answer = send(platform.handler, event("GET", f"/{name}", caller=None))
        assert answer.status == 200
        assert answer.json == json.loads((STATIC / name).read_text(encoding="utf-8"))


def test_page_loads_only_what_the_function_serves() -> None:
    page = send(platform.handler, event("GET", "/docs", caller=None))
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "'unsafe" not in page.headers["Content-Security-Policy"]
    assert "http:" not in page.text
    assert "https:" not in page.text
    used = re.findall(r'(?:src|href)="(docs/[^"]+)"', page.text)
    assert len(used) == 4
    for path in used:
        answer = send(platform.handler, event("GET", f"/{path}", caller=None))
        assert answer.status == 200
        assert answer.text


@pytest.mark.parametrize("name", ["handler.py", "..%2Fhandler.py", "page", "PAGE.JS", "%00"])
def test_nothing_else_of_the_function_is_served(name: str) -> None:
    assert send(platform.handler, event("GET", f"/docs/{name}", caller=None)).status == 404


def test_kept_copies_are_no_larger_than_lambda_may_answer() -> None:
    for path in Path(STATIC).iterdir():
        assert path.stat().st_size < 5_000_000
