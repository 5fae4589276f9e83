"""One answer in the making: its head, its frame log, and the lease that shows that it is alive.

The table `turns` has a partition a turn: the head under seq 0, one item a frame from 1; below, the
passages that were found for it (-1), who has got which frames (-2), and rounds of tools (-100 and
less). A frame is put only where none is, so of two producers one loses, and knows it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple, Self

from botocore.exceptions import ClientError

from chatbot import tables
from chatbot.aws import client
from chatbot.identifiers import now_ms
from chatbot.settings import settings

FIRST_LEASE_MS = 20_000  # from the opening to a producer's first sign of life
LEASE_MS = 15_000
RETRIEVAL_LEASE_MS = 30_000  # a whole try of the state before the producer
PRODUCER_MS = 5_000  # after that long without a sign of life another producer may take over
REPLAY_MS = 3_600_000  # a turn's frames can be had for an hour after its end
DELIVERY_MS = 5_000  # for which frames are sent before another may send them
DELIVERY_SEQ = -2
FRAME_TTL_SECONDS = 3 * 3600  # the longest execution, and the hour after its end
MAX_FRAME_BYTES = 32 * 1024
MAX_OUTPUT_TOKENS = 24_000  # what even a slow model says in a Lambda's 15 minutes


type Delivered = Mapping[str, tuple[str, int]]  # connection → (resume mark, last seq it has)


class Lost(Exception):
    """Another producer goes on with this turn, or it has ended: write and send nothing more."""


class Outcome(NamedTuple):
    """How a turn ended. `usage` is {input_tokens, output_tokens, estimated}, None if unknown;
    `citations` are the contract's."""

    status: str
    stop_reason: str
    usage: dict[str, Any] | None = None
    error: dict[str, str] | None = None
    citations: Sequence[dict[str, Any]] = ()

    @classmethod
    def failed(cls, code: str, detail: str, usage: dict[str, Any] | None = None) -> Self:
        return cls("failed", "error", usage, {"code": code, "detail": detail})

    @classmethod
    def cancelled(cls, usage: dict[str, Any] | None = None) -> Self:
        return cls("cancelled", "cancelled", usage)


class Head(NamedTuple):
    """A turn's head. Times are in milliseconds since the epoch, prices in USD for a million
    tokens (so in millionths for one), costs in millionths of a USD. `snapshot` is JSON: {user,
    workspace, chatbot, permissions} as they were when the turn was opened, dropped at the end.
    `spent` is the usage of the rounds that are over, `input_estimate` what the one under way sent.
    `outcome` is what the producer noted, `result` the status that the turn ended with."""

    message_id: str
    status: str
    conversation_id: str
    workspace_id: str
    user_id: str
    chatbot_id: str
    model_id: str
    user_message_id: str
    request_id: str
    opened_at: int
    lease_until: int
    max_tokens: int
    input_estimate: int
    input_price: str
    output_price: str
    reserved_tokens: int
    reserved_cost: str
    quota_month: str
    cache_read_price: str = "0"
    cache_write_price: str = "0"
    snapshot: str = "{}"
    token_version: int = 0
    client_message_id: str | None = None
    producer: str | None = None
    producing_until: int = 0
    cancel_requested: bool = False
    spent: dict[str, Any] | None = None
    outcome: dict[str, Any] | None = None
    result: str = ""
    ended_at: int = 0
    final_seq: int = 0
    final_sent: bool = False

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Self:
        return cls(**{name: value for name, value in item.items() if name in cls._fields})

    def item(self) -> dict[str, Any]:
        """The head as an item of the table, without what it does not have."""
        values = {name: getattr(self, name) for name in self._fields}
        return {"seq": 0} | {name: value for name, value in values.items() if value is not None}

    def counted(
        self,
        input_tokens: int,
        output_tokens: int,
        cache_read_tokens: int = 0,
        cache_write_tokens: int = 0,
        *,
        estimated: bool,
    ) -> dict[str, Any]:
        """The usage with that of the rounds before. Tokens read from the cache and written to it
        count among `input_tokens` too."""
        before = self.spent or {"estimated": False}
        return {
            "input_tokens": before.get("input_tokens", 0) + input_tokens,
            "output_tokens": before.get("output_tokens", 0) + output_tokens,
            "cache_read_tokens": before.get("cache_read_tokens", 0) + cache_read_tokens,
            "cache_write_tokens": before.get("cache_write_tokens", 0) + cache_write_tokens,
            "estimated": before["estimated"] or estimated,
        }

    @property
    def context(self) -> dict[str, Any]:
        """The snapshot."""
        parsed: dict[str, Any] = json.loads(self.snapshot)
        return parsed

    def cost(self, usage: Mapping[str, Any]) -> Decimal:
        """What a usage costs, in millionths of a USD, at the prices of the opening."""
        read, written = usage.get("cache_read_tokens", 0), usage.get("cache_write_tokens", 0)
        prices = (
            (usage["input_tokens"] - read - written, self.input_price),
            (read, self.cache_read_price),
            (written, self.cache_write_price),
            (usage["output_tokens"], self.output_price),
        )
        return sum((count * Decimal(price) for count, price in prices), Decimal(0))

    def highest_cost(self, input_tokens: int, output_tokens: int) -> Decimal:
        """What so many tokens cost at most: with all that is sent written to the cache."""
        price = max(Decimal(self.input_price), Decimal(self.cache_write_price))
        return input_tokens * price + output_tokens * Decimal(self.output_price)

    @property
    def is_running(self) -> bool:
        return self.status == "running"

    @property
    def is_dead(self) -> bool:
        """Whether nothing has shown a sign of life for so long that the turn must be ended."""
        return self.is_running and self.lease_until < now_ms()

    @property
    def has_producer(self) -> bool:
        return self.producing_until >= now_ms()


def key(message_id: str, seq: int = 0) -> dict[str, Any]:
    """The key of a turn's head, or of one of its frames."""
    return {"message_id": message_id, "seq": seq}


def head(message_id: str) -> Head | None:
    """A turn's head as it is now, or None."""
    item = tables.get(settings().turns_table, key(message_id))
    return Head.of(item) if item else None


def encode(frame: Mapping[str, Any]) -> str:
    """A frame as it is stored and sent."""
    return json.dumps(frame, ensure_ascii=False, separators=(",", ":"))


def pieces(text: str) -> list[str]:
    """Cut a text, at characters, so that each piece fits into a frame with its other fields."""
    room = MAX_FRAME_BYTES - 1024
    if _width(text) <= room:
        return [text]
    found, start, size = [], 0, 0
    for position, character in enumerate(text):
        width = _width(character)
        if size + width > room:
            found.append(text[start:position])
            start, size = position, 0
        size += width
    return [*found, text[start:]]


def _width(text: str) -> int:
    return len(encode({"": text}).encode()) - len('{"":""}')


def append(message_id: str, seq: int, frame: str, writer: str) -> None:
    """Store a frame that is not the last. Raises `Lost` where that seq is taken by another."""
    item = key(message_id, seq) | {
        "frame": frame,
        "writer": writer,
        "expires_at": now_ms() // 1000 + FRAME_TTL_SECONDS,
    }
    try:
        client("dynamodb").put_item(
            TableName=settings().turns_table,
            Item=tables.pack(item),
            ConditionExpression="attribute_not_exists(message_id)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    except ClientError as error:
        if not tables.is_condition_failure(error):
            raise
        # A put whose answer was lost is sent again by botocore, and then meets itself.
        response: Mapping[str, Any] = error.response
        if tables.unpack(response.get("Item", {})).get("writer") != writer:
            raise Lost(message_id) from None


def frames(message_id: str, after: int = 0) -> Iterator[str]:
    """The stored frames after a seq, in order, as they were sent."""
    for item in tables.query(
        settings().turns_table,
        "message_id = :turn AND seq > :after",
        {":turn": message_id, ":after": after},
        ConsistentRead=True,
    ):
        yield item["frame"]


def last_seq(message_id: str) -> int:
    """The seq of the last frame that is stored, 0 where there is none."""
    newest = tables.query(
        settings().turns_table,
        "message_id = :turn AND seq > :none",
        {":turn": message_id, ":none": 0},
        ScanIndexForward=False,
        ConsistentRead=True,
        Limit=1,
    )
    return next((item["seq"] for item in newest), 0)


def text_of(stored: Sequence[str]) -> str:
    """The text so far: the contents of the streaming frames, joined."""
    parsed = (json.loads(frame) for frame in stored)
    return "".join(f["content"] for f in parsed if f["status"] == "streaming")


def claim(message_id: str, producer: str) -> Head:
    """Become the turn's one producer.

    Raises `Lost` while another lives, or once an outcome or the end is there.
    """
    free = "(attribute_not_exists(producing_until) OR producing_until < :now OR producer = :me)"
    return _update(
        message_id,
        f"#status = :running AND attribute_not_exists(outcome) AND {free}",
        "SET producer = :me, producing_until = :until, lease_until = :lease",
        {":me": producer, ":now": now_ms(), ":until": now_ms() + PRODUCER_MS, **_lease()},
    )


def renew(message_id: str, producer: str, input_estimate: int) -> Head:
    """Show a sign of life; the head that comes back holds the cancel flag. Raises `Lost`."""
    return _update(
        message_id,
        "#status = :running AND producer = :me",
        "SET producing_until = :until, lease_until = :lease, input_estimate = :estimate",
        {
            ":me": producer,
            ":until": now_ms() + PRODUCER_MS,
            ":estimate": input_estimate,
            **_lease(),
        },
    )


def retrieve(message_id: str) -> Head:
    """Show a sign of life before there is a producer. Raises `Lost` after the end."""
    lease = {":lease": now_ms() + RETRIEVAL_LEASE_MS}
    return _update(message_id, "#status = :running", "SET lease_until = :lease", lease)


def release(message_id: str, producer: str, lease_ms: int = LEASE_MS) -> None:
    """Leave the turn to the next producer. Raises `Lost`, also where it was cancelled: who did that
    counts on this producer."""
    _update(
        message_id,
        "#status = :running AND producer = :me AND NOT cancel_requested = :true",
        "SET lease_until = :lease REMOVE producing_until",
        {":me": producer, ":true": True, ":lease": now_ms() + lease_ms},
    )


def settle(message_id: str, producer: str, outcome: Outcome) -> None:
    """Note how the answer came out, for whoever ends the turn. Raises `Lost`."""
    values = {
        "status": outcome.status,
        "stop_reason": outcome.stop_reason,
        "usage": outcome.usage,
        "error": outcome.error,
        "citations": outcome.citations,
    }
    _update(
        message_id,
        "#status = :running AND producer = :me",
        "SET outcome = :outcome, lease_until = :lease REMOVE producing_until",
        {":me": producer, ":outcome": values, **_lease()},
    )


def request_cancel(message_id: str) -> Head:
    """Flag a running turn; its producer sees it within a second. Raises `Lost` after the end."""
    return _update(
        message_id, "#status = :running", "SET cancel_requested = :true", {":true": True}
    )


def mark_final_sent(message_id: str) -> None:
    """Note that the final frame went out, so that nobody has to send it again."""
    try:
        client("dynamodb").update_item(
            TableName=settings().turns_table,
            Key=tables.pack(key(message_id)),
            UpdateExpression="SET final_sent = :true",
            ConditionExpression="attribute_exists(message_id)",
            ExpressionAttributeValues=tables.pack({":true": True}),
        )
    except ClientError as error:
        if not tables.is_condition_failure(error):  # deleted with its conversation
            raise


def delivered(message_id: str) -> Delivered:
    """Who has got which frames, as those who sent them left it."""
    item = tables.get(settings().turns_table, key(message_id, DELIVERY_SEQ))
    return _delivered(item or {})


def take_delivery(message_id: str, sender: str) -> Delivered | None:
    """Be the only one to send frames, for a while: who has got which. None while another does."""
    try:
        answer = client("dynamodb").update_item(
            TableName=settings().turns_table,
            Key=tables.pack(key(message_id, DELIVERY_SEQ)),
            UpdateExpression="SET sender = :me, sending_until = :until, expires_at = :expires",
            ConditionExpression="attribute_not_exists(sender) OR sending_until < :now"
            " OR sender = :me",
            ExpressionAttributeValues=tables.pack(
                {
                    ":me": sender,
                    ":now": now_ms(),
                    ":until": now_ms() + DELIVERY_MS,
                    ":expires": now_ms() // 1000 + FRAME_TTL_SECONDS,
                }
            ),
            ReturnValues="ALL_NEW",
        )
    except ClientError as error:
        if not tables.is_condition_failure(error):
            raise
        return None
    return _delivered(tables.unpack(answer["Attributes"]))


def give_delivery(message_id: str, sender: str, sent: Delivered) -> None:
    """Leave sending to the next, with who has got which frames, unless another took over."""
    try:
        _put_delivered(
            message_id,
            sent,
            ConditionExpression="sender = :me",
            ExpressionAttributeValues=tables.pack({":me": sender}),
        )
    except ClientError as error:
        if not tables.is_condition_failure(error):
            raise


def keep_delivered(message_id: str, sent: Delivered) -> None:
    """Note who has got which frames, as the turn's producer, beside whom nobody sends."""
    _put_delivered(message_id, sent)


def _put_delivered(message_id: str, sent: Delivered, **condition: Any) -> None:
    item = key(message_id, DELIVERY_SEQ) | {
        "delivered": sent,
        "expires_at": now_ms() // 1000 + FRAME_TTL_SECONDS,
    }
    client("dynamodb").put_item(
        TableName=settings().turns_table, Item=tables.pack(item), **condition
    )


def _delivered(item: Mapping[str, Any]) -> Delivered:
    return {name: (mark, seq) for name, (mark, seq) in item.get("delivered", {}).items()}


def watch(message_id: str, delay_seconds: int) -> None:
    """Have `chat_end` look after a turn once the delay is over, whoever has died meanwhile."""
    client("sqs").send_message(
        QueueUrl=settings().turn_watch_queue_url,
        MessageBody=json.dumps({"message_id": message_id}),
        DelaySeconds=delay_seconds,
    )


def _lease() -> dict[str, int]:
    return {":lease": now_ms() + LEASE_MS}


def _update(message_id: str, condition: str, change: str, values: Mapping[str, Any]) -> Head:
    used = {":running": "running", **values}
    try:
        answer = client("dynamodb").update_item(
            TableName=settings().turns_table,
            Key=tables.pack(key(message_id)),
            UpdateExpression=change,
            ConditionExpression=condition,
            ExpressionAttributeNames={"#status": "status"},
            ExpressionAttributeValues=tables.pack(used),
            ReturnValues="ALL_NEW",
        )
    except ClientError as error:
        if not tables.is_condition_failure(error):
            raise
        raise Lost(message_id) from None
    return Head.of(tables.unpack(answer["Attributes"]))
