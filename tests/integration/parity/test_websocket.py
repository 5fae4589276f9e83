"""WebSocket APIs: handshake, authorizer, messages, `@connections`, the end of a connection.

Quoted from https://docs.aws.amazon.com/apigateway/latest/developerguide/: apigateway-websocket-api,
apigateway-websocket-api-lambda-auth, apigateway-how-to-call-websocket-api-connections, limits.
"""

import json
import statistics
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.integration.parity.gateway import Server, wait_until, workers

# Not by the log: MiniStack as it comes would fail every test for its want alone.
KEEP = """
import json, os

def keep(what):
    with open(os.environ["KEPT"], "a") as kept:
        kept.write(json.dumps(what) + "\\n")
"""

KEEP_EVENT = (
    KEEP
    + """
def handler(event, context):
    keep(event)
    return {"statusCode": 200}
"""
)

ALLOW = (
    KEEP
    + """
def handler(event, context):
    keep(event)
    allowed = (event.get("queryStringParameters") or {}).get("token") == "good"
    if (event.get("queryStringParameters") or {}).get("token") == "raise":
        raise Exception("Unauthorized")
    return {
        "principalId": "someone",
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Action": "execute-api:Invoke",
                    "Effect": "Allow" if allowed else "Deny",
                    "Resource": event["methodArn"],
                }
            ],
        },
        "context": {"user_id": "u-1", "token_version": 3},
    }
"""
)

REPLY = (
    KEEP
    + """
def handler(event, context):
    keep(event)
    return {"statusCode": 200, "body": "not for the client"}
"""
)


class Api:
    """A WebSocket API with one function for each route."""

    def __init__(
        self,
        server: Server,
        routes: dict[str, str],
        authorizer: str = "",
        identity: list[str] | None = None,
    ) -> None:
        self.server, self._directory = server, server.directory
        # As Terraform asks: an authorizer that names no identity source at all.
        client = server.client("apigatewayv2", parameter_validation=False)
        self.id = client.create_api(
            Name=f"parity-{uuid.uuid4().hex[:8]}",
            ProtocolType="WEBSOCKET",
            RouteSelectionExpression="$request.body.action",
        )["ApiId"]
        self.functions: dict[str, str] = {}
        options = {}
        if authorizer:
            self.functions["authorizer"] = self._function("authorizer", authorizer)
            options = {
                "AuthorizationType": "CUSTOM",
                "AuthorizerId": client.create_authorizer(
                    ApiId=self.id,
                    Name="authorizer",
                    AuthorizerType="REQUEST",
                    AuthorizerUri=self._uri(self.functions["authorizer"]),
                    **({} if identity is None else {"IdentitySource": identity}),
                )["AuthorizerId"],
            }
        for key, source in routes.items():
            self.functions[key] = self._function(key, source)
            integration = client.create_integration(
                ApiId=self.id,
                IntegrationType="AWS_PROXY",
                IntegrationUri=self._uri(self.functions[key]),
            )["IntegrationId"]
            client.create_route(
                ApiId=self.id,
                RouteKey=key,
                Target=f"integrations/{integration}",
                **(options if key == "$connect" else {}),
            )
        client.create_stage(ApiId=self.id, StageName="ws", AutoDeploy=True)
        self.path = f"/_aws/execute-api/{self.id}/ws"
        self.management = server.client("apigatewaymanagementapi", server.url + self.path)

    @staticmethod
    def _uri(function: str) -> str:
        arn = f"arn:aws:lambda:us-east-1:000000000000:function:{function}"
        return f"arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{arn}/invocations"

    def connect(self, query: str = "", **options: Any) -> ClientConnection:
        """A client's connection."""
        url = f"ws://127.0.0.1:{self.server.port}{self.path}{query}"
        connection: ClientConnection = connect(url, proxy=None, compression=None, **options)
        return connection

    def _kept(self, route: str) -> Path:
        return self._directory / f"{self.id}-{route}"

    def _function(self, route: str, source: str) -> str:
        variables = {"KEPT": str(self._kept(route))}
        return self.server.function(source, Environment={"Variables": variables})

    def kept(self, route: str = "$default") -> list[Any]:
        """What the route's function kept so far: its events, if nothing else is said."""
        path = self._kept(route)
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @contextmanager
    def client(self) -> Iterator[tuple[ClientConnection, str]]:
        """A connection and its id."""
        with self.connect() as connection:
            connection.send("who")
            [event] = wait_until(lambda: [each for each in self.kept() if each["body"] == "who"])[
                -1:
            ]
            yield connection, event["requestContext"]["connectionId"]


def test_context_and_query_reach_the_routes_when_authorizer_has_no_identity_source(
    server: Server,
) -> None:
    """ "context: ... key-value pairs" reach `requestContext.authorizer`, as strings."""
    routes = {"$connect": KEEP_EVENT, "$default": KEEP_EVENT, "$disconnect": KEEP_EVENT}
    api = Api(server, routes, ALLOW)
    with api.connect("?token=good&more=1") as connection:
        connection.send("hello")
        assert wait_until(lambda: api.kept(), 5)
    assert wait_until(lambda: api.kept("$disconnect"), 5)
    [asked] = api.kept("authorizer")
    assert asked["type"] == "REQUEST"
    assert asked["queryStringParameters"] == {"token": "good", "more": "1"}
    [connected] = api.kept("$connect")
    assert connected["queryStringParameters"] == {"token": "good", "more": "1"}
    [message] = api.kept()
    assert message["body"] == "hello"
    [left] = api.kept("$disconnect")
    ids = set()
    for event, kind in ((connected, "CONNECT"), (message, "MESSAGE"), (left, "DISCONNECT")):
        context = event["requestContext"]
        assert context["eventType"] == kind
        expected = {"principalId": "someone", "user_id": "u-1", "token_version": "3"}
        assert context["authorizer"] == expected
        ids.add(context["connectionId"])
    assert len(ids) == 1


@pytest.mark.parametrize(
    ("token", "status"), [("bad", 403), ("raise", 401)], ids=["denied", "unauthorized"]
)
def test_handshake_is_refused_when_authorizer_says_no(
    stack: Server, token: str, status: int
) -> None:
    """ "Deny" is a 403; raising "Unauthorized" returns "a 401 Unauthorized response"."""
    api = Api(stack, {"$connect": KEEP_EVENT, "$default": KEEP_EVENT}, ALLOW)
    with pytest.raises(InvalidStatus) as refused:
        api.connect(f"?token={token}")
    assert refused.value.response.status_code == status
    assert api.kept("$connect") == []


def test_unauthorized_is_401_when_authorizer_raises_it(server: Server) -> None:
    """ "callback('Unauthorized'); // Return a 401 Unauthorized response" """
    api = Api(server, {"$connect": KEEP_EVENT}, ALLOW, ["route.request.querystring.token"])
    with pytest.raises(InvalidStatus) as refused:
        api.connect("?token=raise")
    assert refused.value.response.status_code == 401


def test_handshake_has_the_status_of_connect_when_it_refuses(server: Server) -> None:
    """The client sees the status that `$connect` returned."""
    source = "def handler(event, context):\n    return {'statusCode': 429}\n"
    with pytest.raises(InvalidStatus) as refused:
        Api(server, {"$connect": source}).connect()
    assert refused.value.response.status_code == 429


def test_client_gets_a_generic_message_when_function_fails(server: Server) -> None:
    """{"message": "Internal server error", "connectionId": ..., "requestId": ...}"""
    source = "def handler(event, context):\n    raise ValueError('own')\n"
    api = Api(server, {"$connect": KEEP_EVENT, "$default": source})
    with api.connect() as connection:
        for _ in range(2):
            connection.send("hello")
            answer = json.loads(connection.recv(timeout=5))
            assert set(answer) == {"message", "connectionId", "requestId"}
            assert answer["message"] == "Internal server error"


def test_default_route_gets_what_selects_no_other_when_it_is_no_json(server: Server) -> None:
    """ "$default ... when the route selection expression cannot be evaluated" """
    api = Api(server, {"$connect": KEEP_EVENT, "$default": KEEP_EVENT})
    with api.connect() as connection:
        messages = {"no json", "[" * 30_000, '{"action": {"a": 1}}'}
        for message in messages:
            connection.send(message)
        wait_until(lambda: len(api.kept()) == 3, 5)
    assert {event["body"] for event in api.kept()} == messages


def test_client_gets_nothing_when_route_has_no_response(server: Server) -> None:
    """ "you configure a route response" to "send a response back to the client" """
    api = Api(server, {"$default": REPLY})
    with api.connect() as connection:
        connection.send("hello")
        assert wait_until(lambda: api.kept(), 5)
        with pytest.raises(TimeoutError):
            connection.recv(timeout=0.5)


def test_messages_run_side_by_side_when_function_is_slow(server: Server) -> None:
    """Concurrent messages are concurrent invocations, on one connection too."""
    source = (
        KEEP
        + """
import time

def handler(event, context):
    began = time.time()
    time.sleep(1)
    keep([began, time.time()])
    return {"statusCode": 200}
"""
    )
    api = Api(server, {"$default": source})
    with ExitStack() as stack:
        first, *others = [stack.enter_context(api.connect()) for _ in range(5)]
        first.send("again")
        for connection in (first, *others):
            connection.send("hello")
        wait_until(lambda: len(api.kept()) == 6, 10)
    runs = api.kept()
    assert len(runs) == 6
    assert max(began for began, _ in runs) < min(ended for _, ended in runs)


def test_calls_are_logged_when_they_come_by_websocket(server: Server) -> None:
    """ "Lambda automatically captures logs for all requests handled by your function" """
    source = "def handler(event, context):\n    print('seen', event['body'])\n    return {}\n"
    api = Api(server, {"$default": source})
    with api.connect() as connection:
        connection.send("hello")
        assert wait_until(lambda: "seen hello" in server.lines(api.functions["$default"]), 5)


def test_connection_closes_with_1009_when_message_is_too_large(server: Server) -> None:
    """ "Message payload size: 128 KB ... the connection is closed with code 1009" """
    api = Api(server, {"$connect": KEEP_EVENT, "$default": KEEP_EVENT})
    with api.connect() as connection:
        connection.send("x" * 128 * 1024)
        [event] = wait_until(lambda: api.kept(), 5)
        assert len(event["body"]) == 128 * 1024
        connection.send("é" * (64 * 1024 + 1))
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(timeout=5)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
    with api.connect() as connection:
        connection.send("x" * (128 * 1024 + 1))
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(timeout=5)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


def test_post_is_refused_when_message_is_too_large(server: Server) -> None:
    """ "PayloadTooLargeException: The data has exceeded the maximum size allowed." """
    api = Api(server, {"$default": KEEP_EVENT})
    with api.client() as (_, connection_id):
        with pytest.raises(ClientError) as refused:
            api.management.post_to_connection(
                ConnectionId=connection_id, Data=b"x" * (128 * 1024 + 1)
            )
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413
        assert refused.value.response["Error"]["Code"] == "PayloadTooLargeException"


def test_posts_arrive_in_order_and_at_once_when_sent_one_by_one(stack: Server) -> None:
    api = Api(stack, {"$default": KEEP_EVENT})
    with api.client() as (connection, connection_id):
        times = []
        for number in range(100):
            began = time.perf_counter()
            api.management.post_to_connection(ConnectionId=connection_id, Data=f"{number}".encode())
            assert connection.recv(timeout=5) == f"{number}"
            times.append(time.perf_counter() - began)
        assert statistics.median(times) < 0.02


def test_connection_is_gone_when_deleted(stack: Server) -> None:
    """DeleteConnection closes; then "GoneException: The connection with the provided id no longer
    exists", status 410."""
    api = Api(stack, {"$default": KEEP_EVENT, "$disconnect": KEEP_EVENT})
    with api.client() as (connection, connection_id):
        api.management.post_to_connection(ConnectionId=connection_id, Data=b"last")
        api.management.delete_connection(ConnectionId=connection_id)
        assert connection.recv(timeout=5) == "last"
        with pytest.raises(ConnectionClosed):
            connection.recv(timeout=5)
    with pytest.raises(api.management.exceptions.GoneException) as gone:
        api.management.post_to_connection(ConnectionId=connection_id, Data=b"more")
    assert gone.value.response["ResponseMetadata"]["HTTPStatusCode"] == 410
    [left] = wait_until(lambda: api.kept("$disconnect"), 5)
    assert left["requestContext"]["connectionId"] == connection_id


def test_disconnect_runs_when_client_is_lost(stack: Server) -> None:
    """ "the $disconnect route is a best-effort event", also without a closing handshake."""
    api = Api(stack, {"$default": KEEP_EVENT, "$disconnect": KEEP_EVENT})
    with api.client() as (connection, connection_id):
        connection.socket.close()
        [left] = wait_until(lambda: api.kept("$disconnect"), 5)
        assert left["requestContext"]["connectionId"] == connection_id
        assert left["requestContext"]["disconnectStatusCode"] == 1006
        with pytest.raises(api.management.exceptions.GoneException):
            api.management.get_connection(ConnectionId=connection_id)


def test_every_socket_is_served_when_there_are_many(stack: Server) -> None:
    """Two hundred clients at once: each message is handled once, by eight workers."""
    source = (
        KEEP
        + """
def handler(event, context):
    keep([event["body"], os.getpid()])
    return {"statusCode": 200}
"""
    )
    api = Api(stack, {"$default": source})
    with ExitStack() as sockets, ThreadPoolExecutor(16) as pool:
        for number, connection in enumerate(pool.map(lambda _: api.connect(), range(200))):
            sockets.enter_context(connection)
            connection.send(f"{number}")
        wait_until(lambda: len(api.kept()) >= 200, 20)
    runs = api.kept()
    assert sorted(int(body) for body, _ in runs) == list(range(200))
    assert len({process for _, process in runs}) <= 8


def test_connections_close_and_state_is_kept_when_server_ends(tmp_path: Path) -> None:
    """Not AWS's: the local stack stops within seconds, whoever is connected or waits."""
    kept = {"PERSIST_STATE": "1", "STATE_DIR": str(tmp_path / "state")}
    first = Server(["-m", "localstack.server"], tmp_path / "first", kept)
    try:
        api = Api(first, {"$default": KEEP_EVENT, "$disconnect": KEEP_EVENT})
        slow = first.function("import time\n\ndef handler(event, context):\n    time.sleep(60)\n")
        with api.client() as (connection, _), ThreadPoolExecutor(1) as pool:
            call = pool.submit(first.client("lambda").invoke, FunctionName=slow)
            wait_until(lambda: workers(slow))
            began = time.monotonic()
            first.stop()
            assert time.monotonic() - began < 10
            with pytest.raises(ConnectionClosed):
                connection.recv(timeout=1)
            assert call.exception(timeout=5) or call.result()["FunctionError"]
        assert len(api.kept("$disconnect")) == 1
    finally:
        first.stop()
    second = Server(["-m", "localstack.server"], tmp_path / "second", kept)
    try:
        api.server = second
        with api.connect() as connection:
            connection.send("again")
            assert wait_until(lambda: api.kept()[-1]["body"] == "again", 5)
    finally:
        second.stop()
