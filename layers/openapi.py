"""The OpenAPI document of the REST API, made of what the handlers declare.

    PYTHONPATH=layers/shared/python python -m layers.openapi FOLDER

writes `openapi.json` and `asyncapi.json` there. The build does so for the function `platform`,
which serves them as they are; `make documents` renews the copies that are kept beside its handler.

Every folder whose handler has an `api` is found by itself: its routes, their parameters, bodies
(`bodies.py`), answers (`answers.py`) and docstrings. Powertools merges the resources' documents.
"""

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from aws_lambda_powertools.event_handler.openapi.merge import OpenAPIMerge

from chatbot import errors
from chatbot.api import Access, Api, Route
from chatbot.errors import Problem
from chatbot.paging import DEFAULT_LIMIT, MAX_LIMIT
from layers.build import ROOT, function_names
from layers.schemas import EXAMPLE_ID, REQUEST_ID, Schema, describe, example

DESCRIPTION = """
Chatbots for companies: workspaces with members, roles, chatbots and conversations. Answers stream
over WebSocket; `asyncapi.json` beside this document describes its frames.

- Identifiers are UUIDs, times RFC 3339 in UTC, money decimal strings in USD.
- Lists are sorted by `(created_at, id)`, newest first unless said otherwise, and go on with
  `next_cursor`. A cursor is opaque and belongs to one list.
- What is not there, and what is in another workspace, is the same 404.
- PATCH is a JSON Merge Patch. PATCH and DELETE honour `If-Match`.
- POST that creates takes an `Idempotency-Key`: for 24 hours the same key with the same body gets
  the first answer again.
- What API Gateway itself refuses (its own 413, 429 and 5xx) has a body of its own.
- `x-permission` names the permission that a route needs, or who may call it: `open` (anybody),
  `account` (every signed-in user), `member` (every member of the workspace), `administrator`
  (platform administrators).
""".strip()

_ID: Schema = {"type": "string", "format": "uuid", "examples": [EXAMPLE_ID]}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_REQUEST_ID: Schema = {"type": "string", "minLength": 1, "maxLength": 128}

HEADERS: dict[str, Schema] = {
    "X-Request-Id": {
        "description": "The caller's own if it sent a sane one. The same id is in the logs.",
        "required": True,
        "schema": {**_REQUEST_ID, "examples": [REQUEST_ID]},
    },
    "RateLimit-Limit": {
        "description": "Requests that a minute has.",
        "required": True,
        "schema": {**_COUNT, "examples": [600]},
    },
    "RateLimit-Remaining": {
        "description": "What is left of them.",
        "required": True,
        "schema": {**_COUNT, "examples": [599]},
    },
    "RateLimit-Reset": {
        "description": "Seconds until the next minute begins.",
        "required": True,
        "schema": {**_COUNT, "examples": [42]},
    },
    "ETag": {
        "description": "The version, for `If-Match`.",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[0-9]+"$', "examples": ['"1"']},
    },
    "Retry-After": {
        "description": "Seconds after which to try again.",
        "schema": {**_COUNT, "examples": [5]},
    },
    "WWW-Authenticate": {
        "description": "The scheme that is asked for.",
        "required": True,
        "schema": {"type": "string", "const": "Bearer"},
    },
    "Allow": {
        "description": "The methods that the path takes.",
        "required": True,
        "schema": {"type": "string", "examples": ["GET, POST"]},
    },
}

PARAMETERS: dict[str, Schema] = {
    "RequestId": {
        "name": "X-Request-Id",
        "in": "header",
        "description": "An id of the caller's own; one of other characters than A-Z, a-z, 0-9 and "
        ". _ : = - is replaced.",
        "schema": {"type": "string", "examples": [REQUEST_ID]},
    },
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Makes the request safe to send again for 24 hours.",
        "schema": {
            "type": "string",
            "minLength": 1,
            "maxLength": 255,
            "examples": ["0190f0aa-order-1"],
        },
    },
    "IfMatch": {
        "name": "If-Match",
        "in": "header",
        "description": "The version that the request is for, from `ETag`. Another one gets a 412.",
        "schema": {"type": "string", "examples": ["*"]},
    },
    "Limit": {
        "name": "limit",
        "in": "query",
        "description": "Rows of a page.",
        "schema": {
            "type": "integer",
            "minimum": 1,
            "maximum": MAX_LIMIT,
            "default": DEFAULT_LIMIT,
            "examples": [DEFAULT_LIMIT],
        },
    },
    "Cursor": {
        "name": "cursor",
        "in": "query",
        "description": "`next_cursor` of the page before.",
        "schema": {"type": "string"},
    },
}

PROBLEM: Schema = {
    "description": "RFC 9457.",
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
        "request_id": _REQUEST_ID,
        "errors": {
            "description": "What is wrong, field by field.",
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
                    "msg": {"type": "string"},
                    "type": {"type": "string"},
                },
                "required": ["loc", "msg", "type"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["type", "title", "status", "detail", "request_id"],
    "additionalProperties": False,
}

# What a problem means here, and the headers that come with it beside X-Request-Id.
PROBLEMS: dict[type[Problem], tuple[str, tuple[str, ...]]] = {
    errors.BadRequest: ("Malformed: no JSON, a damaged cursor.", ()),
    errors.Unauthorized: ("No token, or one that does not hold any more.", ("WWW-Authenticate",)),
    errors.Forbidden: ("A permission is lacking.", ()),
    errors.NotFound: ("Not there, or not visible to the caller.", ()),
    errors.MethodNotAllowed: ("The path does not take this method.", ("Allow",)),
    errors.Conflict: ("The state of what is there forbids it.", ("Retry-After",)),
    errors.PreconditionFailed: ("`If-Match` names an older version.", ()),
    errors.PayloadTooLarge: ("The body is too large.", ()),
    errors.UnsupportedMediaType: ("The body is not JSON in UTF-8.", ()),
    errors.ValidationFailed: ("Failed validation; `errors` names the fields.", ()),
    errors.TooManyRequests: (
        "The limit is spent.",
        ("Retry-After", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"),
    ),
    errors.ServiceUnavailable: ("The database wakes up.", ("Retry-After",)),
}


def apis() -> Iterator[tuple[str, Api]]:
    """Every function with routes, by its folder."""
    for name in function_names():
        api = getattr(import_module(f"functions.{name}.handler"), "api", None)
        if isinstance(api, Api):
            yield name, api


def answers(function: str) -> dict[str, Any]:
    """What the endpoints of a function answer: shapes by endpoint, or by endpoint and status; a
    media type where it is no JSON, None where it is nothing."""
    if not (ROOT / f"functions/{function}/answers.py").exists():
        return {}
    found: dict[str, Any] = import_module(f"functions.{function}.answers").ANSWERS
    return found


def document() -> dict[str, Any]:
    """The whole document."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    merge = OpenAPIMerge(
        title="Chatbot backend",
        version=project["version"],
        openapi_version="3.1.0",
        description=DESCRIPTION,
        servers=[{"url": ".", "description": "Where this document came from."}],  # type: ignore[list-item]
        on_conflict="error",
    )
    known: dict[str, Schema] = {}
    for function, api in apis():
        made = Resource(function, api).document()
        for name, schema in made["components"]["schemas"].items():
            if known.setdefault(name, schema) != schema:
                raise ValueError(f"two schemas are called {name}; {function} has one of them")
        merge.add_schema(made)
    whole: dict[str, Any] = json.loads(json.dumps(merge.get_openapi_schema()))
    whole["paths"] = dict(sorted(whole["paths"].items()))
    whole["components"] = {
        "securitySchemes": {
            "bearer": {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "JWT",
                "description": "The `access_token` of `POST /api/v1/auth/login`.",
            }
        },
        "headers": HEADERS,
        "parameters": PARAMETERS,
        "responses": {kind.__name__: _problem(kind) for kind in PROBLEMS},
        "schemas": dict(sorted({"Problem": PROBLEM, **whole["components"]["schemas"]}.items())),
    }
    _link(whole)
    return whole


def _link(whole: dict[str, Any]) -> None:
    """Name, beside what a POST makes, the operations that take its id."""
    operations = [
        (path, operation) for path, item in whole["paths"].items() for operation in item.values()
    ]
    for path, item in whole["paths"].items():
        made = item.get("post", {}).get("responses", {}).get("201")
        one = next(
            (p for p in whole["paths"] if re.fullmatch(re.escape(path) + r"/{\w+}", p)), None
        )
        if made is None or one is None:
            continue
        given = {name: f"$request.path.{name}" for name in _names(path)}
        [made_id] = _names(one) - given.keys()
        for other, operation in operations:
            link: Schema = {"operationId": operation["operationId"], "parameters": given}
            if made_id in _names(other) <= {*given, made_id}:
                link["parameters"] = {**given, made_id: "$response.body#/id"}
            elif _names(other) <= given.keys() and _required(whole, operation) == [made_id]:
                link["requestBody"] = {made_id: "$response.body#/id"}
            else:
                continue
            made.setdefault("links", {})[operation["operationId"]] = link


def _names(path: str) -> set[str]:
    return set(re.findall(r"{(\w+)}", path))


def _required(whole: dict[str, Any], operation: Schema) -> list[str]:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
    required: list[str] = whole["components"]["schemas"].get(name, {}).get("required", [])
    return required


def _ref(section: str, name: str) -> Schema:
    return {"$ref": f"#/components/{section}/{name}"}


def _headers(*names: str) -> Schema:
    return {name: _ref("headers", name) for name in names}


def _problem(kind: type[Problem]) -> Schema:
    meaning, headers = PROBLEMS[kind]
    sample: dict[str, Any] = {
        "type": "about:blank",
        "title": kind.title,
        "status": kind.status,
        "detail": meaning,
        "request_id": REQUEST_ID,
    }
    if kind is errors.ValidationFailed:
        sample["errors"] = [
            {"loc": ["body", "name"], "msg": "Field required", "type": "missing"},
        ]
    return {
        "description": meaning,
        "headers": _headers("X-Request-Id", *headers),
        "content": {
            "application/problem+json": {"schema": _ref("schemas", "Problem"), "example": sample}
        },
    }


class Resource:
    """The document of one function's routes."""

    def __init__(self, function: str, api: Api) -> None:
        self.function, self.api = function, api
        self.answers = answers(function)
        self.refs, self.schemas = describe({**self._bodies(), **self._answers()})
        self.body_examples = {
            key: example(ref, self.schemas, lean=True)
            for key, ref in self.refs.items()
            if key.startswith("body ")
        }
        for name, schema in self.schemas.items():
            if name.endswith("Patch"):  # what is left out stays as it is
                for field in schema["properties"].values():
                    field.pop("default", None)

    def document(self) -> dict[str, Any]:
        """Its paths and schemas."""
        paths: dict[str, Any] = {}
        for route in self.api.routes:
            paths.setdefault(path_of(route), {})[route.method.lower()] = self._operation(route)
        module = import_module(self.api.routes[0].endpoint.__module__)
        tag = {"name": self.api.resource, "description": (module.__doc__ or "").split("\n\n")[0]}
        return {"paths": paths, "components": {"schemas": self.schemas}, "tags": [tag]}

    def _bodies(self) -> dict[str, Any]:
        routes = (route for route in self.api.routes if "body" in route.parameters)
        return {f"body {route.endpoint.__name__}": route.body_model() for route in routes}

    def _answers(self) -> dict[str, Any]:
        return {
            f"answer {route.endpoint.__name__} {status}": shape
            for route in self.api.routes
            for status, shape in self._shapes(route).items()
        }

    def _shapes(self, route: Route) -> dict[int, Any]:
        """The shape of each success, and of what else is no problem, by status."""
        if route.status == 204:
            return {}
        shape = self.answers.get(route.endpoint.__name__, dict[str, Any])
        if shape is None or isinstance(shape, str):
            return {}
        return shape if isinstance(shape, dict) else {route.status: shape}

    def _operation(self, route: Route) -> Schema:
        summary, _, more = (route.endpoint.__doc__ or "").partition("\n\n")
        operation: Schema = {
            "tags": [self.api.resource],
            "operationId": f"{self.function}_{route.endpoint.__name__}",
            "summary": " ".join(summary.split()),
        }
        if more.strip():
            operation["description"] = " ".join(more.split())
        access = route.access
        operation["x-permission"] = access.value if isinstance(access, Access) else access
        operation["security"] = [] if access is Access.OPEN else [{"bearer": []}]
        operation["parameters"] = [*self._parameters(route)]
        if "body" in route.parameters:
            operation["requestBody"] = self._body(route)
        operation["responses"] = self._responses(route)
        return operation

    def _parameters(self, route: Route) -> Iterator[Schema]:
        for name in re.findall(r"<(\w+)>", route.path):
            yield {"name": name, "in": "path", "required": True, "schema": _ID}
        for name, annotation in route.parameters.items():
            if name == "page":
                yield _ref("parameters", "Limit")
                yield _ref("parameters", "Cursor")
            elif annotation in (bool, "bool"):
                schema = {"type": "boolean", "default": False}
                yield {"name": name, "in": "query", "schema": schema}
        for name, parameter in route.query.items():
            yield {"name": name.removesuffix("_"), "in": "query", "schema": parameter.schema}
        if route.idempotent:
            yield _ref("parameters", "IdempotencyKey")
        if route.method in ("PATCH", "DELETE"):
            yield _ref("parameters", "IfMatch")
        yield _ref("parameters", "RequestId")

    def _body(self, route: Route) -> Schema:
        key = f"body {route.endpoint.__name__}"
        content = {"schema": self.refs[key], "example": self.body_examples[key]}
        types = ["application/json"]
        if route.method == "PATCH":
            types.append("application/merge-patch+json")
        return {"required": True, "content": dict.fromkeys(types, content)}

    def _responses(self, route: Route) -> Schema:
        always = ["X-Request-Id"]
        if route.limited:
            always += ["RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"]
        made = {
            str(status): self._success(route, status, always)
            for status in self._shapes(route) or [route.status]
        }
        return {**made, **_problems(route)}

    def _success(self, route: Route, status: int, headers: list[str]) -> Schema:
        answer: Schema = {"description": "Done." if status < 400 else "Not now."}
        media = self.answers.get(route.endpoint.__name__)
        schema = self.refs.get(f"answer {route.endpoint.__name__} {status}")
        if isinstance(media, str):
            answer["content"] = {media: {"schema": {"type": "string"}}}
        elif schema is not None:
            if "page" in route.parameters:
                schema = _page(schema)
            elif self._has_version(schema):
                headers = [*headers, "ETag"]
            content = {"schema": schema, "example": example(schema, self.schemas)}
            answer["content"] = {"application/json": content}
        answer["headers"] = _headers(*headers)
        return answer

    def _has_version(self, schema: Schema) -> bool:
        """Whether it is a resource: one that has `updated_at` has a version, too."""
        name = schema.get("$ref", "").rpartition("/")[2]
        fields: Schema = self.schemas.get(name, {}).get("properties", {})
        return {"id", "updated_at"} <= fields.keys()


def path_of(route: Route) -> str:
    """A route's path as OpenAPI writes it."""
    return re.sub(r"<(\w+)>", r"{\1}", route.path)


def _page(item: Schema) -> Schema:
    return {
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": item, "maxItems": MAX_LIMIT},
            "next_cursor": {"type": ["string", "null"]},
        },
        "required": ["items", "next_cursor"],
        "additionalProperties": False,
    }


def _problems(route: Route) -> Schema:
    """Every problem that the route can answer, by what it declares."""
    flags = any(annotation in (bool, "bool") for annotation in route.parameters.values())
    writes = route.method != "GET"
    signed_in = route.access is not Access.OPEN
    has_body, has_page = "body" in route.parameters, "page" in route.parameters
    answers_it: dict[type[Problem], bool] = {
        errors.BadRequest: has_body or has_page or route.idempotent,
        errors.Unauthorized: signed_in,
        errors.Forbidden: isinstance(route.access, str)
        or route.access is Access.ADMINISTRATOR
        or (route.access is Access.MEMBER and writes),
        errors.NotFound: "<" in route.path,
        errors.Conflict: signed_in and writes,
        errors.PreconditionFailed: route.method in ("PATCH", "DELETE"),
        errors.PayloadTooLarge: has_body,
        errors.UnsupportedMediaType: has_body,
        errors.ValidationFailed: has_body or has_page or flags or bool(route.query),
        errors.TooManyRequests: route.limited,
        errors.ServiceUnavailable: signed_in or has_body,
    }
    kinds = {kind for kind, so in answers_it.items() if so} | set(route.problems)
    return {
        str(kind.status): _ref("responses", kind.__name__)
        for kind in sorted(kinds, key=lambda kind: kind.status)
    }


def write(folder: Path) -> None:
    """Write both documents into a folder."""
    from layers import asyncapi

    folder.mkdir(parents=True, exist_ok=True)
    for name, made in (("openapi", document()), ("asyncapi", asyncapi.document())):
        text = json.dumps(made, indent=1, ensure_ascii=False)
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
