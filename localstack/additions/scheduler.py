"""EventBridge Scheduler as AWS runs it: expressions are checked, time zones count, nothing is late.

MiniStack looks every ten seconds, reads every expression as UTC, and stops for all schedules at
the first expression that it cannot work out.
"""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ministack.core.responses import (
    get_account_id,
    get_region,
    new_uuid,
    set_request_account_id,
    set_request_region,
)
from ministack.services import eventbridge
from ministack.services import scheduler as stock

from localstack.additions.seam import SeamMissing, replace, require

_log = logging.getLogger("scheduler")

Json = Any
Schedule = dict[str, Any]

TICK_SECONDS = 1
# Part of a schedule's record, so that a restart neither forgets nor repeats a one-time schedule.
_LAST_FIRED = "_LastFired"
_MADE_FOR = "_ClientToken"
# Occurrences of recurring schedules before it were missed while the stack was down.
_started = time.time()


class InvalidExpression(ValueError):
    """An expression or time zone that CreateSchedule refuses."""


def _zone(schedule: Schedule) -> ZoneInfo:
    name = schedule.get("ScheduleExpressionTimezone") or "UTC"
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidExpression("Invalid Schedule Expression Timezone.") from None


def _cron(expression: str) -> Any:
    """MiniStack's parsed fields of cron(…), each within its range; None if it is no cron."""
    if not expression.startswith("cron("):
        return None
    fields = eventbridge._parse_cron_fields(expression)
    if fields is not None:
        minutes, hours, days, months, weekdays, years, _, _ = fields
        ranges = [
            (minutes, 0, 59),
            (hours, 0, 23),
            (days["days"], 0, 31),
            (months, 1, 12),
            (weekdays["days"], 0, 7),
            (years or (), 1970, 2199),
        ]
        if (
            minutes
            and hours
            and months
            and all(low <= each <= high for found, low, high in ranges for each in found)
        ):
            return fields
    raise InvalidExpression(f"Invalid Schedule Expression {expression}.")


def first_after(schedule: Schedule, after: float) -> float | None:
    """When a schedule is due for the first time later than that (seconds since 1970).

    "When time shifts forward in the Spring, if a cron expression falls on a non-existent date and
    time, your schedule invocation is skipped. When time shifts backwards in the Fall, your
    schedule runs only once" (User Guide, "Daylight savings time").
    Raises InvalidExpression.
    """
    expression, zone = schedule["ScheduleExpression"], _zone(schedule)
    start: float | None = stock._to_epoch(schedule.get("StartDate"))
    if expression.startswith("at("):
        try:
            moment = datetime.fromisoformat(expression[3:-1]).replace(tzinfo=zone).timestamp()
        except ValueError:
            raise InvalidExpression(f"Invalid Schedule Expression {expression}.") from None
        return moment if moment > after else None
    interval: int | None = eventbridge._parse_rate_seconds(expression)
    if interval:
        anchor = start or float(schedule.get("LastModificationDate", after))
        if after < anchor:
            return anchor if start else anchor + interval
        return anchor + interval * ((after - anchor) // interval + 1)
    fields = _cron(expression)
    if fields is None:
        raise InvalidExpression(f"Invalid Schedule Expression {expression}.")
    wall = datetime.fromtimestamp(after, zone).replace(tzinfo=UTC, fold=0)
    while (wall := eventbridge._cron_next_fire(fields, wall)) is not None:
        moment = wall.replace(tzinfo=zone)
        exists = moment.astimezone(UTC).astimezone(zone).replace(tzinfo=UTC) == wall
        if exists and moment.timestamp() > after:
            return float(moment.timestamp())
    return None


def _is_due(schedule: Schedule, now: float) -> bool:
    one_time = schedule["ScheduleExpression"].startswith("at(")
    if one_time and _LAST_FIRED in schedule:
        return False
    after = float(schedule.get(_LAST_FIRED) or schedule["LastModificationDate"])
    start = stock._to_epoch(schedule.get("StartDate"))
    if one_time:
        after = 0
    else:
        after = max(after, _started)
        if start is not None:
            if now < start:
                return False
            after = max(after, start - TICK_SECONDS)
    due = first_after(schedule, after)
    return due is not None and due <= now


def _fire(schedule: Schedule, now: float) -> None:
    """Send the schedule's event, with the context attributes of its input filled in."""
    target = dict(schedule["Target"])
    attributes = {
        "<aws.scheduler.schedule-arn>": schedule["Arn"],
        "<aws.scheduler.scheduled-time>": datetime.fromtimestamp(now, UTC).strftime(
            "%Y-%m-%dT%H:%M:%SZ"
        ),
        "<aws.scheduler.execution-id>": new_uuid(),
        "<aws.scheduler.attempt-number>": "1",
    }
    for name, value in attributes.items():
        if target.get("Input"):
            target["Input"] = target["Input"].replace(name, value)
    event = {
        "EventId": new_uuid(),
        "Source": "aws.scheduler",
        "DetailType": "Scheduled Event",
        "Detail": "{}",
        "Time": int(now),
        "Resources": [schedule["Arn"]],
        "Account": get_account_id(),
        "Region": get_region(),
    }
    eventbridge._invoke_target(target, event, schedule)


def tick_schedules() -> None:
    """Fire what is due; the failure of one schedule is logged and harms no other."""
    now = time.time()
    account, region = get_account_id(), get_region()
    try:
        for key, schedule in list(stock._schedules._data.items()):
            set_request_account_id(key[0])
            set_request_region(key[1])
            try:
                _tick(key, schedule, now)
            except Exception:  # noqa: BLE001 - the other schedules must fire
                _log.exception("Schedule %s", schedule.get("Arn"))
    finally:
        set_request_account_id(account)
        set_request_region(region)


def _tick(key: tuple[str, str, str], schedule: Schedule, now: float) -> None:
    end = stock._to_epoch(schedule.get("EndDate"))
    over = end is not None and now > end
    if not over and schedule["State"] == "ENABLED" and _is_due(schedule, now):
        schedule[_LAST_FIRED] = now
        _fire(schedule, now)
        over = schedule["ScheduleExpression"].startswith("at(")
    if over and schedule.get("ActionAfterCompletion") == "DELETE":
        stock._schedules._data.pop(key, None)


def _refusal(body: Json) -> Json | None:
    """The ValidationException for an expression or zone that is none."""
    if not body.get("ScheduleExpression"):
        return None
    try:
        first_after(body, time.time())
    except InvalidExpression as error:
        return stock._error(400, "ValidationException", str(error))
    return None


def create_schedule(name: str, body: Json) -> Json:
    """CreateSchedule, which refuses what it could never fire, and answers again what it has made
    where a client, which had no answer, asks again with the same token."""
    key, token = f"{body.get('GroupName', 'default')}/{name}", body.get("ClientToken")
    made = stock._schedules.get(key)
    if made is not None and token is not None and made.get(_MADE_FOR) == token:
        return stock._json_resp(200, {"ScheduleArn": made["Arn"]})
    answer = _refusal(body) or _stock_create(name, body)
    if answer[0] == 200:
        stock._schedules[key][_MADE_FOR] = token
    return answer


def update_schedule(name: str, body: Json) -> Json:
    """UpdateSchedule, which refuses what it could never fire."""
    return _refusal(body) or _stock_update(name, body)


_stock_create: Callable[[str, Json], Json]
_stock_update: Callable[[str, Json], Json]


def install() -> None:
    """Put these in the place of MiniStack's; raises SeamMissing if it is not as pinned."""
    global _stock_create, _stock_update
    require(eventbridge, "_parse_cron_fields", "expr")
    require(eventbridge, "_cron_next_fire", "fields", "after_dt")
    require(eventbridge, "_parse_rate_seconds", "expr")
    require(eventbridge, "_invoke_target", "target", "event", "rule", "view")
    require(stock, "_to_epoch", "value")
    require(stock, "_error", "status", "code", "message")
    require(stock, "_json_resp", "status", "body")
    if not hasattr(stock, "_SCHEDULE_TICK_INTERVAL"):
        raise SeamMissing("ministack.services.scheduler._SCHEDULE_TICK_INTERVAL is not there.")
    stock._SCHEDULE_TICK_INTERVAL = TICK_SECONDS
    _stock_create = replace(stock, "_create_schedule", create_schedule)
    _stock_update = replace(stock, "_update_schedule", update_schedule)
    replace(stock, "_tick_schedules", tick_schedules)
