"""What a workspace may use, and has used: the counters of the table `usage`.

`RUNNING` counts the workspace's turns under way. `QUOTA#<month>` holds what the month's ended turns
took and, of those under way, the most that they may take: a turn reserves it in the transaction
that opens it, more before each further round, and its closing transaction puts in its place what it
took. All of that is counted in the month in which the turn was opened. `DAY#…` adds up ended turns.

Costs are exact decimals in millionths of a USD. A usage is {input_tokens, output_tokens, estimated}
and, where the model used its cache, cache_read_tokens and cache_write_tokens, which count among
input_tokens too.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from chatbot import tables, turns
from chatbot.errors import QuotaExceeded, RetryLater
from chatbot.identifiers import timestamp
from chatbot.settings import settings
from chatbot.turns import Head

ATTEMPTS = 40
OVERHEAD_TOKENS = 32  # what stands around the texts of the shortest request
_SHOWN = ("input_tokens", "output_tokens", "estimated")


def estimate_tokens(text: str) -> int:
    """About how many tokens a text has: one for four bytes, at least."""
    return (_bytes(text) + 3) // 4


def most_tokens(text: str) -> int:
    """How many tokens a text has at most: no model makes more than one of two bytes, save of
    noise."""
    return (_bytes(text) + 1) // 2


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def shown(usage: Mapping[str, Any]) -> dict[str, Any]:
    """A usage as clients see it."""
    return {name: usage[name] for name in _SHOWN}


def reserving(turn: Head, input_tokens: int) -> Head:
    """A turn that is not open yet, with the most that its first round may take."""
    return turn._replace(
        reserved_tokens=input_tokens + turn.max_tokens,
        reserved_cost=str(turn.highest_cost(input_tokens, turn.max_tokens)),
    )


def opening(turn: Head, quota: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Actions `running` and `quota` of an opening transaction; `quota` is the workspace's. A
    condition of theirs that fails is the quota's word: `too_many` or `used_up` says it."""
    return {
        "running": _counted(turn.workspace_id, most_at_once(quota)),
        "quota": _reserved(turn, quota, turn.reserved_tokens, Decimal(turn.reserved_cost)),
    }


def most_at_once(quota: Mapping[str, Any]) -> int:
    """How many turns of a workspace may be under way at once."""
    most = quota.get("max_concurrent_turns")
    return settings().max_concurrent_turns if most is None else int(most)


def too_many(quota: Mapping[str, Any]) -> QuotaExceeded:
    return QuotaExceeded(
        f"This workspace has as many answers under way as it may, {most_at_once(quota)}. Ask again"
        " when one of them has ended."
    )


def used_up(month: str) -> QuotaExceeded:
    """`month` is YYYY-MM."""
    year, number = divmod(int(month[:4]) * 12 + int(month[5:]), 12)
    return QuotaExceeded(
        "What is left of the workspace's monthly quota is too little for this answer. The next"
        f" month's begins at {year:04}-{number + 1:02}-01T00:00:00Z."
    )


def reserve_round(turn: Head, producer: str, input_tokens: int) -> Head:
    """Have the turn's reservation cover a round that sends the model so many tokens at most, beside
    what the rounds before took (`turn.spent`). Call it before the model is asked; it returns the
    turn's head and writes nothing where the reservation suffices.

    Raises `QuotaExceeded` where the month has not that much left, `RetryLater` where others are at
    the counters all the time, `turns.Lost` where the turn is not the producer's any more.
    """
    quota = turn.context["workspace"]["quota"]
    for attempt in range(ATTEMPTS):
        before = turn.counted(0, 0, estimated=False)
        used = before["input_tokens"] + before["output_tokens"]
        tokens = used + input_tokens + turn.max_tokens
        cost = turn.cost(before) + turn.highest_cost(input_tokens, turn.max_tokens)
        more_tokens = max(tokens - turn.reserved_tokens, 0)
        more_cost = max(cost - Decimal(turn.reserved_cost), Decimal(0))
        if not more_tokens and not more_cost:
            return turn
        grown = turn._replace(
            reserved_tokens=turn.reserved_tokens + more_tokens,
            reserved_cost=str(Decimal(turn.reserved_cost) + more_cost),
        )
        try:
            tables.transact([_reserved(turn, quota, more_tokens, more_cost), _grown(grown, turn)])
        except tables.TransactionCanceled as canceled:
            refused, changed = (reason == "ConditionalCheckFailed" for reason in canceled.reasons)
            if changed:
                turn = _own(turn.message_id, producer)
            elif refused:
                raise used_up(turn.quota_month) from None
            tables.back_off(attempt)
            continue
        return grown
    raise RetryLater("others were at the workspace's counters each time")


def _own(message_id: str, producer: str) -> Head:
    turn = turns.head(message_id)
    if turn is None or not turn.is_running or turn.producer != producer:
        raise turns.Lost(message_id)
    return turn


def _grown(grown: Head, turn: Head) -> dict[str, Any]:
    return tables.update(
        settings().turns_table,
        turns.key(turn.message_id),
        "SET reserved_tokens = :tokens, reserved_cost = :cost",
        {
            ":tokens": grown.reserved_tokens,
            ":cost": grown.reserved_cost,
            ":running": "running",
            ":producer": turn.producer,
            **as_reserved(turn),
        },
        f"#status = :running AND producer = :producer AND {AS_RESERVED}",
        {"#status": "status"},
    )


# The condition that nobody reserves more between the reading of a turn's head and a transaction.
AS_RESERVED = "reserved_tokens = :reserved_tokens AND reserved_cost = :reserved_cost"


def as_reserved(turn: Head) -> dict[str, Any]:
    """The values of `AS_RESERVED`."""
    return {":reserved_tokens": turn.reserved_tokens, ":reserved_cost": turn.reserved_cost}


def _counted(workspace_id: str, most: int) -> dict[str, Any]:
    fits = "turns < :most"
    return tables.update(
        settings().usage_table,
        {"workspace_id": workspace_id, "item": "RUNNING"},
        "ADD turns :one",
        {":one": 1, ":most": most},
        f"attribute_not_exists(turns) OR {fits}" if most > 0 else fits,
    )


def _reserved(turn: Head, quota: Mapping[str, Any], tokens: int, cost: Decimal) -> dict[str, Any]:
    """So much more of the month, if it is left; a limit that is not set is no condition."""
    most_tokens, most_cost = quota.get("monthly_tokens"), quota.get("monthly_cost")
    most = {"tokens": Decimal(settings().monthly_tokens if most_tokens is None else most_tokens)}
    if most_cost is not None:
        most["cost"] = Decimal(most_cost) * 1_000_000
    reserved = {"tokens": Decimal(tokens), "cost": cost}
    left = {name: limit - reserved[name] for name, limit in most.items()}
    return tables.update(
        settings().usage_table,
        _month(turn),
        "ADD tokens :tokens, cost :cost",
        {f":{name}": value for name, value in reserved.items()}
        | {f":{name}_left": value for name, value in left.items()},
        " AND ".join(
            f"({name} <= :{name}_left OR attribute_not_exists({name}))"
            if value >= 0
            else f"{name} <= :{name}_left"
            for name, value in left.items()
        ),
    )


def closing(turn: Head, usage: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Actions of a closing transaction: what the turn took in the place of what it reserved. The
    transaction must hold to `AS_RESERVED`."""
    table, cost = settings().usage_table, turn.cost(usage)
    asked, said = usage["input_tokens"], usage["output_tokens"]
    day = timestamp(turn.opened_at)[:10]
    row = f"DAY#{day}#{turn.user_id}#{turn.chatbot_id}#{turn.model_id}"
    return [
        tables.update(
            table,
            {"workspace_id": turn.workspace_id, "item": "RUNNING"},
            "ADD turns :less",
            {":less": -1},
        ),
        tables.update(
            table,
            _month(turn),
            "ADD tokens :tokens, cost :cost",
            {
                ":tokens": asked + said - turn.reserved_tokens,
                ":cost": cost - Decimal(turn.reserved_cost),
            },
        ),
        tables.update(
            table,
            {"workspace_id": turn.workspace_id, "item": row},
            "SET #day = :day, user_id = :user, chatbot_id = :chatbot, model_id = :model"
            " ADD turns :one, input_tokens :input, output_tokens :output, cost :cost",
            {
                ":day": day,
                ":user": turn.user_id,
                ":chatbot": turn.chatbot_id,
                ":model": turn.model_id,
                ":one": 1,
                ":input": asked,
                ":output": said,
                ":cost": cost,
            },
            names={"#day": "day"},
        ),
    ]


def _month(turn: Head) -> dict[str, str]:
    return {"workspace_id": turn.workspace_id, "item": f"QUOTA#{turn.quota_month}"}
