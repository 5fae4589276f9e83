"""HTTP APIs: routes, the REQUEST authorizer, events of payload 2.0, limits, errors, CORS.

Quoted from https://docs.aws.amazon.com/apigateway/latest/developerguide/: http-api-develop-routes,
http-api-lambda-authorizer, http-api-develop-integrations-lambda, http-api-cors, limits.
"""

import http.client
import json
import time
import uuid
from typing import Any

import pytest

from tests.integration.parity.gateway import Server, wait_until

ECHO = """
import json

def handler(event, context):
    return {
        "statusCode": 200,
        "headers": {"Content-Type": "application/json", "ETag": '"1"'},
        "cookies": ["a=1; Path=/", "b=2"],
        "body": json.dumps(event),
    }
"""

# Lets every request through; the context keeps its types.
AUTHORIZER = """
import time

def handler(event, context):
    if event["headers"].get("authorization") == "raise":
        raise ValueError("secret")
    asked_at = time.time() * 1000
    time.sleep(0.01)
    return {
        "isAuthorized": event["headers"].get("authorization") != "deny",
        "context": {
            "version": event["version"],
            "count": 3,
            "nested": {"list": [1, True]},
            "asked_at": asked_at,
        },
    }
"""


class Api:
    """An HTTP API with a `$default` stage."""

    def __init__(
        self, server: Server, routes: dict[str, str], *, timeout_ms: int = 30_000, **options: Any
    ) -> None:
        self.server = server
        client = server.client("apigatewayv2")
        self.id = client.create_api(
            Name=f"parity-{uuid.uuid4().hex[:8]}", ProtocolType="HTTP", **options
        )["ApiId"]
        authorizer = client.create_authorizer(
            ApiId=self.id,
            Name="authorizer",
            AuthorizerType="REQUEST",
            AuthorizerUri=self._uri(server.function(AUTHORIZER)),
            AuthorizerPayloadFormatVersion="2.0",
            AuthorizerResultTtlInSeconds=0,
            EnableSimpleResponses=True,
            IdentitySource=[],
        )["AuthorizerId"]
        self.functions = {}
        for key, source in routes.items():
            self.functions[key] = server.function(source)
            integration = client.create_integration(
                ApiId=self.id,
                IntegrationType="AWS_PROXY",
                IntegrationUri=self._uri(self.functions[key]),
                PayloadFormatVersion="2.0",
                TimeoutInMillis=timeout_ms,
            )["IntegrationId"]
            client.create_route(
                ApiId=self.id,
                RouteKey=key,
                Target=f"integrations/{integration}",
                AuthorizationType="CUSTOM",
                AuthorizerId=authorizer,
            )
        client.create_stage(ApiId=self.id, StageName="$default", AutoDeploy=True)

    @staticmethod
    def _uri(function: str) -> str:
        arn = f"arn:aws:lambda:us-east-1:000000000000:function:{function}"
        return f"arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{arn}/invocations"

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> http.client.HTTPResponse:
        """The API's answer, its body still to be read."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=40)
        url = f"/_aws/execute-api/{self.id}{path}"
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, url, body, names)
        return connection.getresponse()

    def event(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Any:
        """The event that an echoing function got."""
        answer = self.ask(method, path, body, **headers)
        assert answer.status == 200
        return json.loads(answer.read())


def test_most_specific_route_is_chosen_when_several_match(stack: Server) -> None:
    """ "Full match for a route and method. Match for a route and method with a greedy path
    variable. The $default route." """
    api = Api(stack, dict.fromkeys(["GET /w/{id}", "ANY /w/{proxy+}", "$default"], ECHO))
    for method, path, key in (
        ("GET", "/w/1", "GET /w/{id}"),
        ("PUT", "/w/1", "ANY /w/{proxy+}"),
        ("GET", "/w/1/2", "ANY /w/{proxy+}"),
        ("GET", "/else", "$default"),
    ):
        assert api.event(method, path)["routeKey"] == key
    assert api.event("GET", "/w/a%20b")["pathParameters"] == {"id": "a b"}
    assert api.event("GET", "/w/1/2")["pathParameters"] == {"proxy": "1/2"}


def test_event_is_of_payload_2_when_function_is_called(stack: Server) -> None:
    """ "Format 2.0 ... combines duplicate headers and query strings with commas"; the path has no
    stage, the body is text for text, else base64."""
    api = Api(stack, {"ANY /{proxy+}": ECHO})
    before = int(time.time() * 1000)
    event = api.event("POST", "/a/b?x=1&x=2&y=%26", b'{"a": 1}', Content_Type="application/json")
    assert event["version"] == "2.0"
    assert event["rawPath"] == "/a/b"
    assert event["rawQueryString"] == "x=1&x=2&y=%26"
    assert event["queryStringParameters"] == {"x": "1,2", "y": "&"}
    assert (event["body"], event["isBase64Encoded"]) == ('{"a": 1}', False)
    context = event["requestContext"]
    assert before <= context["timeEpoch"] <= int(time.time() * 1000)
    assert context["http"]["path"] == "/a/b"
    assert context["http"]["sourceIp"] == "127.0.0.1"
    assert context["stage"] == "$default"
    authorized = context["authorizer"]["lambda"]
    assert authorized["version"] == "2.0"
    assert authorized["count"] == 3
    assert authorized["nested"] == {"list": [1, True]}
    event = api.event("POST", "/a", b"\xff\x00", Content_Type="application/octet-stream")
    assert (event["body"], event["isBase64Encoded"]) == ("/wA=", True)


def test_request_has_the_time_it_came_when_its_authorizer_takes_some(server: Server) -> None:
    """ "timeEpoch: The Epoch-formatted request time, in milliseconds"; the authorizer comes after
    the request."""
    context = Api(server, {"GET /": ECHO}).event("GET", "/")["requestContext"]
    assert context["timeEpoch"] <= context["authorizer"]["lambda"]["asked_at"]


def test_answer_has_headers_and_cookies_when_function_returns_them(stack: Server) -> None:
    answer = Api(stack, {"GET /": ECHO}).ask("GET", "/")
    assert answer.headers["ETag"] == '"1"'
    assert answer.headers.get_all("Set-Cookie") == ["a=1; Path=/", "b=2"]


@pytest.mark.parametrize(("token", "status"), [("deny", 403), ("raise", 500)])
def test_request_is_refused_when_authorizer_says_no(stack: Server, token: str, status: int) -> None:
    """ "isAuthorized": false is a 403; if it fails, "clients receive a 500" without the reason."""
    answer = Api(stack, {"GET /": ECHO}).ask("GET", "/", Authorization=token)
    assert answer.status == status
    messages = {403: "Forbidden", 500: "Internal Server Error"}
    assert json.loads(answer.read()) == {"message": messages[status]}


def test_answer_is_500_without_reason_when_function_fails(server: Server) -> None:
    """{"message": "Internal Server Error"}"""
    source = "def handler(event, context):\n    raise ValueError('secret')\n"
    answer = Api(server, {"GET /": source}).ask("GET", "/")
    assert answer.status == 500
    assert json.loads(answer.read()) == {"message": "Internal Server Error"}


def test_answer_is_413_when_request_is_over_10_mb(server: Server) -> None:
    """ "Payload size: 10 MB" """
    api = Api(server, {"POST /": "def handler(event, context):\n    return 'ok'\n"})
    assert api.ask("POST", "/", b"x" * 10 * 1024 * 1024).status != 413
    answer = api.ask("POST", "/", b"x" * (10 * 1024 * 1024 + 1))
    assert answer.status == 413
    assert json.loads(answer.read()) == {"message": "Request Entity Too Large"}


def test_answer_is_503_when_function_takes_longer_than_its_integration(server: Server) -> None:
    """ "Maximum integration timeout: 30 seconds"; the function itself runs on."""
    kept = server.directory / f"slow-{uuid.uuid4().hex}"
    source = f"""
        import pathlib, time

        def handler(event, context):
            time.sleep(2)
            pathlib.Path("{kept}").touch()
    """
    began = time.monotonic()
    answer = Api(server, {"GET /": source}, timeout_ms=500).ask("GET", "/")
    assert answer.status == 503
    assert json.loads(answer.read()) == {"message": "Service Unavailable"}
    assert time.monotonic() - began < 2
    assert wait_until(kept.exists, 5)


def test_preflight_is_answered_by_the_gateway_when_cors_is_configured(stack: Server) -> None:
    """ "API Gateway automatically sends a response to preflight OPTIONS requests, even if there
    isn't an OPTIONS route", and adds the headers to the answers of the integration."""
    api = Api(
        stack,
        {"$default": ECHO},
        CorsConfiguration={
            "AllowOrigins": ["https://app.example.com"],
            "AllowMethods": ["GET", "POST"],
            "AllowHeaders": ["authorization"],
            "ExposeHeaders": ["etag"],
            "MaxAge": 300,
        },
    )
    origin = "https://app.example.com"
    preflight = api.ask("OPTIONS", "/w", Origin=origin, Access_Control_Request_Method="GET")
    assert preflight.status == 204
    assert preflight.headers["Access-Control-Allow-Origin"] == origin
    assert preflight.headers["Access-Control-Allow-Methods"] == "GET,POST"
    assert preflight.headers["Access-Control-Allow-Headers"] == "authorization"
    assert preflight.headers["Access-Control-Max-Age"] == "300"
    answer = api.ask("GET", "/w", Origin=origin)
    assert answer.headers.get_all("Access-Control-Allow-Origin") == [origin]
    assert answer.headers["Access-Control-Expose-Headers"] == "etag"
    assert stack.lines(api.functions["$default"])
    stranger = api.ask("GET", "/w", Origin="https://other.example.com")
    assert "Access-Control-Allow-Origin" not in stranger.headers
