"""Who is connected, who follows which conversation, and how a frame reaches them.

Rows of the table `connections`: `connection#<id>` for a connection itself, `conversation#<id>` for
a connection that follows that conversation, `turn#<id>` for a user's running turn (so that all a
user has open is found in one index).
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple, Self

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chatbot import tables, turns
from chatbot.aws import client, session
from chatbot.errors import Gone
from chatbot.identifiers import now_ms
from chatbot.settings import settings

TTL_SECONDS = 2 * 3600 + 600  # API Gateway ends a connection after two hours


class Undelivered(Exception):
    """The frame did not arrive now, and may a little later."""


class Connection(NamedTuple):
    """An open connection and the user that it was opened for."""

    connection_id: str
    user_id: str
    token_version: int


class Follower(NamedTuple):
    """A connection that follows a conversation, and the last `resume` that it asked for."""

    connection_id: str
    user_id: str
    resume_message_id: str = ""
    resume_after: int = 0
    resume_mark: str = ""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        return cls(**{name: value for name, value in row.items() if name in cls._fields})

    def start(self, message_id: str) -> tuple[str, int]:
        """(mark, seq after which a turn's frames are wanted): all frames where none was named."""
        if self.resume_message_id == message_id:
            return self.resume_mark, self.resume_after
        return "", 0

    def progress(self, message_id: str, delivered: turns.Delivered) -> tuple[str, int]:
        """(mark, last seq that the connection has), of what was delivered for the same wish."""
        mark, after = self.start(message_id)
        sent_mark, sent = delivered.get(self.connection_id, ("", 0))
        return mark, max(after, sent) if sent_mark == mark else after


def connection_topic(connection_id: str) -> str:
    return f"connection#{connection_id}"


def conversation_topic(conversation_id: str) -> str:
    return f"conversation#{conversation_id}"


def turn_row(message_id: str, user_id: str, workspace_id: str) -> dict[str, Any]:
    """The row of a running turn: put when it is opened, deleted when it is closed."""
    topic = f"turn#{message_id}"
    return {
        "topic": topic,
        "connection_id": topic,
        "user_id": user_id,
        "workspace_id": workspace_id,
        "expires_at": now_ms() // 1000 + turns.FRAME_TTL_SECONDS,
    }


def turn_row_key(message_id: str) -> dict[str, str]:
    return {"topic": f"turn#{message_id}", "connection_id": f"turn#{message_id}"}


def connect(connection: Connection) -> None:
    """Remember a new connection."""
    row = {
        "topic": connection_topic(connection.connection_id),
        "connection_id": connection.connection_id,
        "user_id": connection.user_id,
        "token_version": connection.token_version,
        "expires_at": _expires_at(),
    }
    client("dynamodb").put_item(TableName=settings().connections_table, Item=tables.pack(row))


def find(connection_id: str) -> Connection | None:
    """The connection's row, or None where it is unknown or was taken away."""
    key = {"topic": connection_topic(connection_id), "connection_id": connection_id}
    row = tables.get(settings().connections_table, key)
    return Connection(connection_id, row["user_id"], row["token_version"]) if row else None


def disconnect(connection_id: str) -> None:
    """Forget a connection and all that it follows."""
    rows = _rows("by_connection", "connection_id", connection_id)
    known = {"topic": connection_topic(connection_id), "connection_id": connection_id}
    keys = [_key(row) for row in rows]
    _delete([*keys, *([] if known in keys else [known])])


def follow(connection: Connection, conversation_id: str, workspace_id: str) -> None:
    """From now on the connection gets the frames of a conversation's turns."""
    _follow(connection, conversation_id, workspace_id)


def follow_from(connection: Connection, turn: turns.Head, after_seq: int, mark: str) -> None:
    """Follow, and get a turn's frames after a seq again from whoever sends them next.

    `mark` tells one such wish from another; it is the id of the request.
    """
    resume = {
        "resume_message_id": turn.message_id,
        "resume_after": after_seq,
        "resume_mark": mark,
    }
    _follow(connection, turn.conversation_id, turn.workspace_id, **resume)


def _follow(connection: Connection, conversation_id: str, workspace_id: str, **more: Any) -> None:
    client("dynamodb").update_item(**following(connection, conversation_id, workspace_id, **more))


def following(
    connection: Connection, conversation_id: str, workspace_id: str, **more: Any
) -> dict[str, Any]:
    """The arguments of the `UpdateItem` by which a connection follows a conversation."""
    values = {
        "user_id": connection.user_id,
        "workspace_id": workspace_id,
        "expires_at": _expires_at(),
        **more,
    }
    return {
        "TableName": settings().connections_table,
        "Key": tables.pack(
            {
                "topic": conversation_topic(conversation_id),
                "connection_id": connection.connection_id,
            }
        ),
        "UpdateExpression": "SET " + ", ".join(f"{name} = :{name}" for name in values),
        "ExpressionAttributeValues": tables.pack({f":{n}": value for n, value in values.items()}),
    }


def followers(conversation_id: str) -> list[Follower]:
    """The connections that follow a conversation now."""
    rows = tables.query(
        settings().connections_table,
        "topic = :topic",
        {":topic": conversation_topic(conversation_id)},
        ConsistentRead=True,
    )
    return [Follower.of(row) for row in rows]


def unfollow(conversation_id: str, connection_ids: list[str]) -> None:
    """Drop followers that are gone."""
    topic = conversation_topic(conversation_id)
    _delete([{"topic": topic, "connection_id": connection_id} for connection_id in connection_ids])


def post(connection_id: str, frame: str) -> None:
    """Send a frame. Raises `Gone` (the connection is closed) or `Undelivered` (try again)."""
    try:
        _gateway().post_to_connection(ConnectionId=connection_id, Data=frame.encode())
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 410:
            raise Gone(connection_id) from None
        raise Undelivered(error.response["Error"]["Code"]) from None
    except BotoCoreError as error:
        raise Undelivered(type(error).__name__) from None


def close(connection_id: str) -> None:
    """Close a connection for its user, and forget it."""
    disconnect(connection_id)
    try:
        _gateway().delete_connection(ConnectionId=connection_id)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 410:
            raise


def end_user(user_id: str, workspace_id: str | None = None) -> None:
    """Cut a user off: of everything (deactivated, deleted), or of one workspace (removed member).

    Their turns there are cancelled; open connections get nothing more of it, and those of a user
    who is cut off of everything are closed.
    """
    for row in _rows("by_user", "user_id", user_id):
        kind, _, name = row["topic"].partition("#")
        if workspace_id not in (None, row.get("workspace_id")):
            continue
        if kind == "turn":
            _cancel(name)
        elif kind == "connection":
            close(name)
        else:
            _delete([_key(row)])


def _cancel(message_id: str) -> None:
    try:
        turn = turns.request_cancel(message_id)
    except turns.Lost:
        return
    if not turn.has_producer:  # a tool runs, or an approval waits: nobody would see it
        turns.watch(message_id, 0)


@cache
def _gateway() -> Any:
    # One try and short time-outs: senders try again by themselves, and must not wait for one
    # connection while others have frames to get.
    config = Config(
        connect_timeout=1,
        read_timeout=3,
        retries={"mode": "standard", "total_max_attempts": 1},
        max_pool_connections=32,
        tcp_keepalive=True,
    )
    return session().create_client(
        "apigatewaymanagementapi",
        endpoint_url=settings().websocket_callback_url,
        config=config,
    )


def _rows(index: str, attribute: str, value: str) -> Iterator[dict[str, Any]]:
    return tables.query(
        settings().connections_table, f"{attribute} = :value", {":value": value}, IndexName=index
    )


def _key(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"topic": row["topic"], "connection_id": row["connection_id"]}


def _delete(keys: list[dict[str, Any]]) -> None:
    tables.delete_all(settings().connections_table, keys)


def _expires_at() -> int:
    return now_ms() // 1000 + TTL_SECONDS
