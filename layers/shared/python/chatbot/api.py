"""What the contract says of every REST route, once, as a thin layer on Powertools' resolver.

A resource's handler declares routes and is called with what a request has proved to hold:

    api = Api("chatbots")

    @api.patch("/workspaces/<workspace_id>/chatbots/<chatbot_id>", "chatbots:write")
    def update(request: Request, chatbot_id: str, body: ChatbotPatch) -> dict[str, Any]:
        "Change a chatbot."
        return request.query(UPDATE, {"id": chatbot_id, **body.changes()})

    handler = api.handler

An endpoint asks for what it needs by the name of a parameter: `request`, `body` (annotated with a
`bodies.Body` model or its name), `page` (a `Page`), its path's ids (UUIDs in lower case;
`workspace_id` need not be asked for) and values of the query string: flags as `bool` with a
default, others with a default of `chatbot.parameters`. It returns a JSON object, a
`page.answer(...)`, None for an empty answer, an object with a status of its own, or a whole
`Response`.

Routes, models (`bodies.py`, `answers.py`) and docstrings are all that the OpenAPI document is
generated from, at build time; at run time Powertools only routes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from aws_lambda_powertools.event_handler.api_gateway import APIGatewayHttpResolver, Response

from chatbot import audit, aws, database, log, rate_limit
from chatbot.errors import (
    BadRequest,
    Forbidden,
    MethodNotAllowed,
    NotFound,
    Problem,
    ServiceUnavailable,
    ValidationFailed,
)
from chatbot.paging import Page
from chatbot.parameters import Parameter
from chatbot.principal import Principal
from chatbot.rate_limit import Window
from chatbot.settings import settings

if TYPE_CHECKING:
    from chatbot.bodies import Body

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:=-]{1,128}", re.ASCII)
_STRONG_ETAG = re.compile(r'(?<!W/)"([0-9]{1,18})"', re.ASCII)

type Answer = Mapping[str, Any] | tuple[Mapping[str, Any], int] | Response[Any] | None
type Endpoint = Callable[..., Answer]


class Access(Enum):
    """Who may call a route that no single permission guards."""

    OPEN = "open"  # anybody
    ACCOUNT = "account"  # a signed-in user, for what is their own
    MEMBER = "member"  # any member of the path's workspace
    ADMINISTRATOR = "administrator"  # a platform administrator


@dataclass(frozen=True, slots=True)
class Route:
    """What a handler declares of a route; `access` is a permission's name or an `Access`."""

    method: str
    path: str
    access: str | Access
    status: int
    idempotent: bool
    limited: bool
    problems: tuple[type[Problem], ...]
    endpoint: Endpoint

    @property
    def parameters(self) -> dict[str, Any]:
        """The endpoint's parameters by name, with their annotations."""
        return {k: v for k, v in self.endpoint.__annotations__.items() if k != "return"}

    @property
    def query(self) -> dict[str, Parameter]:
        """Values of the query string by the names of the endpoint's parameters, without flags."""
        code, defaults = self.endpoint.__code__, self.endpoint.__defaults__ or ()
        names = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]
        named = zip(names, defaults, strict=True)
        return {name: value for name, value in named if isinstance(value, Parameter)}

    def body_model(self) -> type[Body]:
        """The body's model. A model that is annotated by name stands in the handler's neighbour
        `bodies`, which is loaded now, for the first request with a body."""
        model = self.parameters["body"]
        if isinstance(model, str):
            neighbour = self.endpoint.__module__.rpartition(".")[0] + ".bodies"
            model = getattr(import_module(neighbour), model)
        return model  # type: ignore[no-any-return]


def _address(event: Mapping[str, Any]) -> str:
    """The client's: behind CloudFront, which the authorizer made sure of, a header of its own."""
    if settings().origin_digest:
        return str(event["headers"]["x-viewer-address"])
    return str(event["requestContext"]["http"]["sourceIp"])


class Request:
    """One request to one route; what the endpoint may know of it beside its arguments."""

    def __init__(
        self,
        event: Mapping[str, Any],
        route: Route,
        path_ids: Mapping[str, str],
        principal: Principal | None,
        body: Any,
        answer_headers: dict[str, str],
    ) -> None:
        self.route = route
        self.headers: Mapping[str, str] = event.get("headers") or {}
        self.query_string: Mapping[str, str] = event.get("queryStringParameters") or {}
        self.path: str = event["rawPath"].lower()  # ids are one whatever their case
        self.address = _address(event)
        self.at_ms: int = event["requestContext"]["timeEpoch"]
        self.workspace_id = path_ids.get("workspace_id")
        self._principal = principal
        self._body = body
        self._answer_headers = answer_headers

    @property
    def principal(self) -> Principal:
        """The caller. Only open routes have none, and an endpoint of one that asks is a bug."""
        if self._principal is None:
            raise LookupError(f"{self.route.path} is open and has no principal")
        return self._principal

    @property
    def if_match(self) -> list[str] | None:
        """The versions that `If-Match` names; none of weak or foreign tags, which match no row."""
        tags = self.headers.get("if-match")
        if tags is None or tags.strip() == "*" or self.route.method not in ("PATCH", "DELETE"):
            return None
        return _STRONG_ETAG.findall(tags)

    @property
    def idempotency(self) -> database.Idempotency | None:
        """`{key, route, body_hash}` where the route creates and the client sent a key: key and body
        as digests."""
        key = self.headers.get("idempotency-key")
        if key is None or not self.route.idempotent:
            return None
        if not 1 <= len(key) <= 255 or not key.isprintable():
            raise BadRequest("Idempotency-Key must have 1 to 255 printable characters")
        # Bodies can hold passwords: their digests are salted with the key, which is not stored.
        canonical = json.dumps([key, self._body], sort_keys=True, separators=(",", ":"))
        return {
            "key": hashlib.sha256(key.encode()).hexdigest(),
            "route": f"{self.route.method} {self.path}",
            "body_hash": hashlib.sha256(canonical.encode()).hexdigest(),
        }

    def count(self, subject: str, limit: int) -> Window:
        """Count the request against a limit of its own, which the answer's headers then tell.

        Raises `TooManyRequests`.
        """
        window = rate_limit.count(subject, limit)
        self._answer_headers.update(window.headers)
        return window

    def query(
        self,
        statement: str,
        params: Mapping[str, Any] | None = None,
        *,
        permission: str | None = None,
        administrator: Literal["allowed", "required"] | None = None,
    ) -> Any:
        """Run the route's one statement in the path's workspace, under the route's permission.

        The statement sees `params` as `$1` (jsonb) and returns one jsonb value. `permission` is for
        routes whose own is only a member's; `administrator` says whether platform administrators
        may pass as members, or must be the caller. Raises `NotFound` where the statement returns
        nothing, and whatever `database.query` does.
        """
        access = self.route.access
        found = database.query(
            self.principal,
            statement,
            params,
            workspace_id=self.workspace_id,
            permission=access if isinstance(access, str) else permission,
            if_match=self.if_match,
            idempotency=self.idempotency,
            administrator=administrator,
        )
        if found is None:
            raise NotFound
        return found

    def call(self, function: str, params: Mapping[str, Any] | None = None) -> Any:
        """Call a function of `app` for the caller's account. Raises whatever `database.call` does.

        The function gets `params` with the caller and the request's conditions.
        """
        given = {
            **(params or {}),
            "user_id": self.principal.user_id,
            "token_version": self.principal.token_version,
            "if_match": self.if_match,
            "idempotency": self.idempotency,
        }
        return database.call(function, {k: v for k, v in given.items() if v is not None})


class Api:
    """The routes of one resource. `handler` is what Lambda calls."""

    def __init__(self, resource: str, prefix: str = "/api/v1") -> None:
        self.resource = resource
        self.prefix = prefix
        self.routes: list[Route] = []
        self.resolver = APIGatewayHttpResolver()
        self.resolver.not_found(self._refuse_route)
        self.resolver.exception_handler(Exception)(self._answer_error)
        self._headers: dict[str, str] = {}
        self.get = partial(self._route, "GET")
        self.post = partial(self._route, "POST")
        self.put = partial(self._route, "PUT")
        self.patch = partial(self._route, "PATCH")
        self.delete = partial(self._route, "DELETE")

    def _route(
        self,
        method: str,
        path: str,
        access: str | Access,
        *,
        status: int = 200,
        idempotent: bool = False,
        limited: bool = True,
        problems: Sequence[type[Problem]] = (),
    ) -> Callable[[Endpoint], Endpoint]:
        """Declare a route.

        `idempotent` routes take an `Idempotency-Key`; `limited` ones count against the caller's
        (or, where open, the address's) requests a minute. `problems` are those that the document
        cannot know from the rest of the declaration.
        """

        def declare(endpoint: Endpoint) -> Endpoint:
            route = Route(
                method,
                self.prefix + path,
                access,
                status,
                idempotent,
                limited,
                tuple(problems),
                endpoint,
            )
            self.routes.append(route)
            register = self.resolver.route(route.path, method)

            def serve(**path_ids: str) -> Response[str]:
                try:
                    return self._serve(route, path_ids)
                except Forbidden:
                    self._audit_denial(route, path_ids)
                    raise

            register(serve)
            return endpoint

        return declare

    def handler(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        """Answer an HTTP API event, payload 2.0."""
        request_id = (event.get("headers") or {}).get("x-request-id", "")
        if not _REQUEST_ID.fullmatch(request_id):
            request_id = event["requestContext"]["requestId"]
        log.bind(request_id)
        self._headers = {"X-Request-Id": request_id, "Cache-Control": "no-store"}
        answer = self.resolver.resolve(event, context)
        answer["headers"] = {**self._headers, **answer["headers"]}
        return answer

    def _serve(self, route: Route, raw_ids: Mapping[str, str]) -> Response[str]:
        event: Mapping[str, Any] = self.resolver.current_event.raw_event
        if event["rawPath"].endswith("\n"):
            raise NotFound  # a pattern's end matches before a last line break, too
        principal = None if route.access is Access.OPEN else Principal.from_event(event)
        if route.limited:
            self._limit(event, principal)
        path_ids = {name: _path_id(value) for name, value in raw_ids.items()}
        parameters = route.parameters
        body, parsed = _read_body(event, route) if "body" in parameters else (None, None)
        request = Request(event, route, path_ids, principal, parsed, self._headers)
        arguments: dict[str, Any] = {}
        for name in parameters:
            match name:
                case "request":
                    arguments[name] = request
                case "body":
                    arguments[name] = body
                case "page":
                    owner = principal.user_id if principal else ""
                    arguments[name] = Page.from_query(request.query_string, owner, request.path)
                case _ if name in path_ids:
                    arguments[name] = path_ids[name]
                case _ if name in route.query:
                    sent = name.removesuffix("_")
                    text = request.query_string.get(sent)
                    arguments[name] = text if text is None else route.query[name].read(sent, text)
                case _ if name in request.query_string:
                    arguments[name] = _flag(name, request.query_string[name])
        return _respond(route.status, route.endpoint(**arguments))

    def _audit_denial(self, route: Route, path_ids: Mapping[str, str]) -> None:
        """Tell the workspace what a member lacked the permission for."""
        if route.access is Access.OPEN:
            return
        access = route.access if isinstance(route.access, str) else route.access.value
        audit.record(
            Principal.from_event(self.resolver.current_event.raw_event),
            path_ids.get("workspace_id"),
            "denied",
            "route",
            next(reversed([*path_ids.values()]), None),
            {"method": route.method, "path": route.path, "access": access},
        )

    def _limit(self, event: Mapping[str, Any], principal: Principal | None) -> None:
        """Count the request, of its user or else of its address."""
        if principal:
            subject = f"user#{principal.user_id}"
            window = rate_limit.count(subject, settings().user_requests_per_minute)
        else:
            subject = f"address#{_address(event)}"
            window = rate_limit.count(subject, settings().address_requests_per_minute)
        self._headers.update(window.headers)

    def _refuse_route(self, _: Exception) -> Response[str]:
        event = self.resolver.current_event
        allowed = sorted(
            {
                route.method
                for route in self.routes
                if re.fullmatch(re.sub(r"<\w+>", "[^/]+", route.path), event.path)
            }
        )
        if not allowed or event.http_method in allowed:
            raise NotFound("there is no such route")
        refusal = MethodNotAllowed(f"the route takes {', '.join(allowed)}")
        refusal.headers["Allow"] = ", ".join(allowed)
        raise refusal

    def _answer_error(self, error: Exception) -> Response[str]:
        """Every answer other than success is made here."""
        if not isinstance(error, Problem):
            log.logger().error("request failed", code=log.Code.REQUEST_FAILED, exc_info=error)
            if aws.is_unavailable(error):
                error = ServiceUnavailable("The service is not available now.", retry_after=1)
            else:
                error = Problem("the request failed; the fault is on this side")
        problem = {
            "type": "about:blank",
            "title": error.title,
            "status": error.status,
            "detail": error.detail,
            "request_id": log.request_id(),
        }
        if error.errors:
            problem["errors"] = error.errors
        return Response(
            status_code=error.status,
            content_type="application/problem+json",
            headers=dict(error.headers),
            body=json.dumps(problem, separators=(",", ":")),
        )


def _respond(status: int, answer: Answer) -> Response[str]:
    """Send a resource with its version as the ETag, a list without versions, None as nothing."""
    if isinstance(answer, Response):
        return answer
    if isinstance(answer, tuple):
        answer, status = answer
    if answer is None:
        return Response(status_code=status, body="")
    fields = dict(answer)
    headers: dict[str, str | list[str]] = {}
    if "items" in fields:
        fields["items"] = [
            {name: value for name, value in item.items() if name != "version"}
            if isinstance(item, dict)
            else item
            for item in fields["items"]
        ]
    elif isinstance(fields.get("version"), int):
        headers["ETag"] = f'"{fields.pop("version")}"'
    body = json.dumps(fields, separators=(",", ":"))
    return Response(status_code=status, content_type="application/json", headers=headers, body=body)


def _path_id(value: str) -> str:
    if not _UUID.fullmatch(value):
        raise NotFound
    return value.lower()


def _flag(name: str, value: str) -> bool:
    if value not in ("true", "false"):
        error = {"loc": ["query", name], "msg": "must be true or false", "type": "bool_parsing"}
        raise ValidationFailed(f"{name} must be true or false", errors=[error])
    return value == "true"


def _read_body(event: Mapping[str, Any], route: Route) -> tuple[Body, dict[str, Any]]:
    from chatbot import bodies  # with pydantic, which a GET has no use for

    return bodies.read(event, route.body_model())
