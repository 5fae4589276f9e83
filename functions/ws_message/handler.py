"""Takes the frames that clients send: API Gateway calls it for `$default`."""

from contextlib import suppress
from typing import Any

from chatbot import connections, log
from chatbot.connections import Connection
from chatbot.errors import Gone, Problem, Unauthorized
from chatbot.turns import encode
from functions.ws_message import approve, cancel, chat, follow, frames


def handler(event: dict[str, Any], _: Any) -> dict[str, Any]:
    """Serve one frame. What is wrong with it is told in an `error` frame, and the socket stays."""
    context = event["requestContext"]
    connection_id, request_id = context["connectionId"], context["requestId"]
    log.bind(request_id, connection_id=connection_id)
    value: dict[str, Any] = {}
    try:
        value = frames.decode(event)
        frames.check_size(event)
        _serve(_known(connection_id), value)
    except Unauthorized as problem:
        _refuse(connection_id, problem, value)
        connections.close(connection_id)
    except Problem as problem:
        _refuse(connection_id, problem, value)
    except Exception as error:  # noqa: BLE001  the client hears of it, and the log tells what
        log.logger().error("frame failed", code=log.Code.FRAME_FAILED, exc_info=error)
        _refuse(connection_id, Problem("The frame could not be served."), value)
    return {"statusCode": 200}


def _known(connection_id: str) -> Connection:
    connection = connections.find(connection_id)
    if connection is None:
        raise Unauthorized("This connection is closed.")
    return connection


def _serve(connection: Connection, value: dict[str, Any]) -> None:
    frame = frames.parse(value)
    match frame:
        case frames.Chat():
            chat.serve(connection, frame)
        case frames.Open():
            follow.serve_open(connection, frame)
        case frames.Resume():
            follow.serve_resume(connection, frame)
        case frames.Cancel():
            cancel.serve(connection, frame)
        case frames.Approve():
            approve.serve(connection, frame)
        case frames.Ping():
            _send(connection.connection_id, {"type": "pong"})


def _refuse(connection_id: str, problem: Problem, value: dict[str, Any]) -> None:
    error = {
        "type": "error",
        "code": problem.code,
        "detail": problem.detail,
        "request_id": log.request_id(),
    }
    _send(connection_id, error | frames.mark(value))


def _send(connection_id: str, frame: dict[str, Any]) -> None:
    with suppress(Gone, connections.Undelivered):
        connections.post(connection_id, encode(frame))
