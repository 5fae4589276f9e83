"""The rounds of tools of a turn: what the model said and asked for, and what came back.

They stand in the turn's partition below its passages: round n under -100 n, its calls after it, so
that read backwards they come in their order. A call ends once, in one transaction with its frame,
and not after the turn.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

from botocore.exceptions import ClientError

from chatbot import tables, turns
from chatbot.aws import client
from chatbot.identifiers import now_ms
from chatbot.settings import settings
from chatbot.turns import Head, Lost

SPACING = 100
MOST_ROUNDS = 10
ATTEMPTS = 60
UNFINISHED = "The answer ended before the tool did."


class StoredCall(NamedTuple):
    """A call of a tool. `seq` is its key, `input` is JSON, `output` what the model reads.

    `status` is running, completed or failed. `attempt` names the try that has begun to run it,
    `decision` is approved, denied or expired where the user was to be asked.
    """

    seq: int
    tool_use_id: str
    tool: str
    input: str
    status: str = "running"
    output: str = ""
    requires_approval: bool = False
    decision: str | None = None
    task_token: str | None = None
    attempt: str | None = None
    ended_at: int = 0

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Self:
        return cls(**{name: value for name, value in item.items() if name in cls._fields})


class Round(NamedTuple):
    """`text` is what the model said before it asked, `last_seq` the last frame of its own."""

    seq: int
    text: str
    last_seq: int
    calls: list[StoredCall]


def round_seq(number: int) -> int:
    """The key of a round, from 1; its calls are the keys below."""
    return -SPACING * number


def stored(message_id: str) -> list[Round]:
    """A turn's rounds, in order."""
    found: list[Round] = []
    for item in _items(message_id):
        if "tool_use_id" in item:
            found[-1].calls.append(StoredCall.of(item))
        else:
            found.append(Round(item["seq"], item["text"], item["last_seq"], []))
    return found


def _items(message_id: str) -> Iterator[dict[str, Any]]:
    return tables.query(
        settings().turns_table,
        "message_id = :turn AND seq BETWEEN :last AND :first",
        {
            ":turn": message_id,
            ":first": round_seq(1),
            ":last": round_seq(MOST_ROUNDS + 1),
        },
        ScanIndexForward=False,
        ConsistentRead=True,
    )


def call(message_id: str, seq: int) -> StoredCall | None:
    """A call as it is now, or None."""
    item = tables.get(settings().turns_table, turns.key(message_id, seq))
    return StoredCall.of(item) if item else None


def frame(turn: Head, seq: int, status: str, call: StoredCall) -> str:
    """The frame that tells of a call."""
    return turns.encode(
        {
            "type": "tool",
            "status": status,
            "message_id": turn.message_id,
            "conversation_id": turn.conversation_id,
            "seq": seq,
            "tool": call.tool,
            "tool_use_id": call.tool_use_id,
            "request_id": turn.request_id,
        }
    )


def told(turn: Head, seq: int, call: StoredCall) -> str:
    """The frame that tells that a call is there."""
    waiting = "needs_approval" if call.requires_approval else "started"
    return frame(turn, seq, waiting if call.status == "running" else call.status, call)


def put(
    turn: Head,
    producer: str,
    asked: Round,
    frames: Mapping[int, str],
    spent: Mapping[str, Any],
    lease_ms: int,
) -> None:
    """Store a round with its calls and its frames {seq: frame}, and let go of the turn: all or
    nothing. `spent` is what the turn has used so far. Raises `Lost`, as `turns.release` does."""
    at = now_ms()
    table, expires = settings().turns_table, at // 1000 + turns.FRAME_TTL_SECONDS
    rows: list[dict[str, Any]] = [
        {"seq": asked.seq, "text": asked.text, "last_seq": asked.last_seq},
        *({k: v for k, v in call._asdict().items() if v is not None} for call in asked.calls),
        *({"seq": seq, "frame": frame, "writer": producer} for seq, frame in frames.items()),
    ]
    head = {
        "Update": {
            "TableName": table,
            "Key": tables.pack(turns.key(turn.message_id)),
            "UpdateExpression": "SET lease_until = :lease, spent = :spent, input_estimate = :zero"
            " REMOVE producing_until",
            "ConditionExpression": "#status = :running AND producer = :me"
            " AND NOT cancel_requested = :true",
            "ExpressionAttributeNames": {"#status": "status"},
            "ExpressionAttributeValues": tables.pack(
                {
                    ":lease": at + lease_ms,
                    ":spent": spent,
                    ":zero": 0,
                    ":running": "running",
                    ":true": True,
                    ":me": producer,
                }
            ),
        }
    }
    actions = [head, *(_put(row | turns.key(turn.message_id, row["seq"]), expires) for row in rows)]
    _transact(turn.message_id, actions)


def begin(turn: Head, call: StoredCall, attempt: str) -> None:
    """Note that a try begins to run the call. Raises `Lost` where its turn is over or cancelled, or
    what changes something was begun before."""
    start = _change(turn.message_id, call, "SET attempt = :attempt", {":attempt": attempt})
    if not call.requires_approval:
        return _transact(turn.message_id, [_while_running(turn.message_id, cancelled=False), start])
    start["Update"]["ConditionExpression"] += " AND attribute_not_exists(attempt)"
    return _told(turn, call, "started", start, cancelled=False)


def forget(message_id: str, call: StoredCall) -> None:
    """Take back that a try has begun: it changed nothing, and another will come."""
    client("dynamodb").update_item(
        TableName=settings().turns_table,
        Key=tables.pack(turns.key(message_id, call.seq)),
        UpdateExpression="REMOVE attempt",
    )


def decide(message_id: str, call: StoredCall, decision: str) -> StoredCall:
    """Decide on a call that waits for it, once. Raises `Lost` where that was done, or it ended."""
    try:
        answer = client("dynamodb").update_item(
            TableName=settings().turns_table,
            Key=tables.pack(turns.key(message_id, call.seq)),
            UpdateExpression="SET decision = :decision",
            ConditionExpression="#status = :running AND requires_approval = :true"
            " AND attribute_not_exists(decision)",
            ExpressionAttributeNames={"#status": "status"},
            ExpressionAttributeValues=tables.pack(
                {":decision": decision, ":running": "running", ":true": True}
            ),
            ReturnValues="ALL_NEW",
        )
    except ClientError as error:
        if not tables.is_condition_failure(error):
            raise
        raise Lost(message_id) from None
    return StoredCall.of(tables.unpack(answer["Attributes"]))


def finish(turn: Head, call: StoredCall, status: str, output: str) -> None:
    """End a call, with the frame that tells of it. Raises `Lost` after the end of the turn, or
    where the call has ended."""
    change = "SET #status = :status, #output = :output, ended_at = :at REMOVE task_token"
    values = {":status": status, ":output": output, ":at": now_ms()}
    end = _change(turn.message_id, call, change, values)
    end["Update"]["ExpressionAttributeNames"]["#output"] = "output"
    _told(turn, call, status, end)


def _change(
    message_id: str, call: StoredCall, change: str, values: Mapping[str, Any]
) -> dict[str, Any]:
    """A change of a call that has not ended."""
    return {
        "Update": {
            "TableName": settings().turns_table,
            "Key": tables.pack(turns.key(message_id, call.seq)),
            "UpdateExpression": change,
            "ConditionExpression": "#status = :running",
            "ExpressionAttributeNames": {"#status": "status"},
            "ExpressionAttributeValues": tables.pack({**values, ":running": "running"}),
        }
    }


def _told(
    turn: Head, call: StoredCall, status: str, change: Mapping[str, Any], *, cancelled: bool = True
) -> None:
    """Make a change of a call and store the frame that tells of it, at the next free seq."""
    message_id = turn.message_id
    for attempt in range(ATTEMPTS):
        seq = turns.last_seq(message_id) + 1
        item = turns.key(message_id, seq) | {
            "frame": frame(turn, seq, status, call),
            "writer": call.tool_use_id,
        }
        put = _put(item, now_ms() // 1000 + turns.FRAME_TTL_SECONDS)
        check = _while_running(message_id, cancelled=cancelled)
        try:
            return tables.transact([check, change, put])
        except tables.TransactionCanceled as canceled:
            # Of the frame: another took that seq.
            if "ConditionalCheckFailed" in canceled.reasons[:2]:
                raise Lost(message_id) from None
            tables.back_off(attempt)
    raise RuntimeError("a call could not be written: others were at its turn each time")


def for_message(rounds: Sequence[Round], room: int) -> list[dict[str, Any]]:
    """The calls as the stored message keeps them, cut so that all fit into `room` bytes."""
    calls = [(number, call) for number, made in enumerate(rounds, 1) for call in made.calls]
    size = sum(len((call.input + call.output).encode()) for _, call in calls)
    share = room // max(len(calls), 1) if size > room else room
    kept = []
    for number, call in calls:
        given = call.input if len(call.input.encode()) <= share // 2 else "{}"
        left = share - len(given.encode())
        output = call.output if call.status != "running" else UNFINISHED
        kept.append(
            {
                "round": number,
                "tool_use_id": call.tool_use_id,
                "tool": call.tool,
                "input": given,
                "status": "failed" if call.status == "running" else call.status,
                "output": output.encode()[:left].decode(errors="ignore"),
            }
        )
    return kept


def _put(item: Mapping[str, Any], expires_at: int) -> dict[str, Any]:
    return {
        "Put": {
            "TableName": settings().turns_table,
            "Item": tables.pack({**item, "expires_at": expires_at}),
            "ConditionExpression": "attribute_not_exists(message_id)",
        }
    }


def _while_running(message_id: str, *, cancelled: bool = True) -> dict[str, Any]:
    """That the turn has not ended, nor, unless that does not matter, is about to."""
    check: dict[str, Any] = {
        "TableName": settings().turns_table,
        "Key": tables.pack(turns.key(message_id)),
        "ConditionExpression": "#status = :running",
        "ExpressionAttributeNames": {"#status": "status"},
        "ExpressionAttributeValues": tables.pack({":running": "running"}),
    }
    if not cancelled:
        check["ConditionExpression"] += " AND NOT cancel_requested = :true"
        check["ExpressionAttributeValues"] |= tables.pack({":true": True})
    return {"ConditionCheck": check}


def _transact(message_id: str, actions: Sequence[Mapping[str, Any]]) -> None:
    for attempt in range(ATTEMPTS):
        try:
            return tables.transact(actions)
        except tables.TransactionCanceled as canceled:
            if not canceled.is_conflict:
                raise Lost(message_id) from None
            tables.back_off(attempt)
    raise RuntimeError("a turn could not be written: others were at its items each time")
