"""EventBridge Scheduler's expressions, in UTC: `rate(15 minutes)`, `cron(0 9 ? * MON-FRI *)`.

https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
"""

import re
from collections.abc import Sequence

_RATE = re.compile(r"rate\((1 (minute|hour|day)s?|[1-9][0-9]{0,4} (minutes|hours|days))\)")
_CRON = re.compile(r"cron\(([^()\s]+(?: [^()\s]+){5})\)")
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


def check_schedule(expression: str) -> str:
    """The expression itself. Raises `ValueError` for one that EventBridge Scheduler refuses."""
    if _RATE.fullmatch(expression):
        return expression
    cron = _CRON.fullmatch(expression)
    if cron is None:
        raise ValueError("must be rate(…) or cron(…) as EventBridge Scheduler takes it")
    minutes, hours, days, months, weekdays, years = cron[1].split(" ")
    is_right = (
        _is_list(minutes, range(60))
        and _is_list(hours, range(24))
        and _is_list(months, range(1, 13), _MONTHS)
        and _is_list(years, range(1970, 2200))
        and (days == "?") != (weekdays == "?")
        and (days == "?" or _is_day(days))
        and (weekdays == "?" or _is_weekday(weekdays))
    )
    if not is_right:
        raise ValueError("the fields of cron(…) are not right, or neither day field is ?")
    return expression


def _is_day(field: str) -> bool:
    nearest = re.fullmatch(r"([0-9]{1,2})W", field)
    if nearest:
        return 1 <= int(nearest[1]) <= 31
    return field in {"L", "LW"} or _is_list(field, range(1, 32))


def _is_weekday(field: str) -> bool:
    special = re.fullmatch(r"(\w{1,3})(L|#[1-5])", field, re.ASCII)
    if special:
        return _number(special[1], range(1, 8), _DAYS) is not None
    return field == "L" or _is_list(field, range(1, 8), _DAYS)


def _is_list(field: str, values: range, names: Sequence[str] = ()) -> bool:
    return all(_is_item(item, values, names) for item in field.split(","))


def _is_item(item: str, values: range, names: Sequence[str]) -> bool:
    span, slash, step = item.partition("/")
    if slash and not (re.fullmatch(r"[0-9]{1,4}", step) and 1 <= int(step) <= values[-1]):
        return False
    if span == "*":
        return True
    first, dash, last = span.partition("-")
    begin, end = _number(first, values, names), _number(last, values, names)
    return begin is not None and (end is not None if dash else True)


def _number(text: str, values: range, names: Sequence[str]) -> int | None:
    if text.upper() in names:
        return values[names.index(text.upper())]
    if re.fullmatch(r"[0-9]{1,4}", text) and int(text) in values:
        return int(text)
    return None
