"""Which expressions of EventBridge Scheduler a source takes."""

import pytest

from functions.sources.schedules import check_schedule


@pytest.mark.parametrize(
    "schedule",
    [
        "rate(1 minute)",
        "rate(15 minutes)",
        "rate(24 hours)",
        "cron(0 9 * * ? *)",
        "cron(0/15 8-18 ? * MON-FRI *)",
        "cron(0 0 L * ? 2026-2030)",
        "cron(0 0 15W * ? *)",
        "cron(0 0 ? JAN,JUL 6#1 *)",
        "cron(0 0 ? * 5L *)",
        "cron(5,35 */2 1-7 * ? *)",
    ],
)
def test_schedule_is_taken(schedule: str) -> None:
    assert check_schedule(schedule) == schedule


@pytest.mark.parametrize(
    "schedule",
    [
        "",
        "hourly",
        "rate(0 minutes)",
        "rate(2 minute)",
        "rate(1.5 hours)",
        "rate(-1 hours)",
        "rate(5 seconds)",
        "rate(5 minutes) ",
        "at(2026-12-01T00:00:00)",
        "cron(0 9 * * *)",
        "cron(0 9 * * * *)",
        "cron(0 9 ? * ? *)",
        "cron(60 9 * * ? *)",
        "cron(0 24 * * ? *)",
        "cron(0 0 0 * ? *)",
        "cron(0 0 32W * ? *)",
        "cron(0 0 * 13 ? *)",
        "cron(0 0 * FOO ? *)",
        "cron(0 0 ? * 8 *)",
        "cron(0 0 ? * 6#6 *)",
        "cron(0 0 * * ? 1969)",
        "cron(*/0 0 * * ? *)",
        "cron(0 0 * * ? *",
        "cron(0  0 * * ? *)",
        "cron(0 0 - * ? *)",
        "cron(0,, 0 * * ? *)",
    ],
)
def test_schedule_is_refused(schedule: str) -> None:
    with pytest.raises(ValueError, match="cron"):
        check_schedule(schedule)
