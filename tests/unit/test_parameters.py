"""How values of the query string are read."""

import pytest

from chatbot.errors import ValidationFailed
from chatbot.parameters import Parameter, choice, day, identifier, integer, moment


@pytest.mark.parametrize(
    ("parameter", "text", "value"),
    [
        (integer(1, 5), "5", 5),
        (choice("day", "user"), "user", "user"),
        (
            identifier(),
            "0190A000-0000-7000-8000-00000000000A",
            "0190a000-0000-7000-8000-00000000000a",
        ),
        (moment(), "2026-11-24", "2026-11-24"),
        (moment(), "2026-11-24T01:02:03Z", "2026-11-24T01:02:03.000000Z"),
        (moment(), "2026-11-24t01:02:03.5z", "2026-11-24T01:02:03.500000Z"),
        (moment(), "2026-11-24T01:02:03+02:00", "2026-11-23T23:02:03.000000Z"),
        (moment(), "2026-11-24T01:02:03 02:00", "2026-11-23T23:02:03.000000Z"),
        (day(), "2026-11-24T01:02:03+02:00", "2026-11-23"),
        (day(), "2026-11-24", "2026-11-24"),
    ],
)
def test_value_is_read_when_it_is_well_formed(
    parameter: Parameter, text: str, value: object
) -> None:
    assert parameter.read("p", text) == value


@pytest.mark.parametrize(
    ("parameter", "text"),
    [
        (integer(1, 5), "0"),
        (integer(1, 5), "6"),
        (integer(1, 5), "1.0"),
        (integer(1, 5), "+1"),
        (integer(1, 5), "\u0661"),
        (integer(1, 5), "9" * 10_000),
        (choice("day"), "Day"),
        (choice("day"), ""),
        (identifier(), "0190a000000070008000000000000000"),
        (moment(), ""),
        (moment(), "2026-02-29"),
        (moment(), "2026-1-1"),
        (moment(), "2026-11-24T25:00:00Z"),
        (moment(), "2026-11-24T01:02:03"),
        (moment(), "9999-12-31T23:59:59-23:00"),
        (day(), "today"),
    ],
)
def test_value_is_refused_when_it_is_not(parameter: Parameter, text: str) -> None:
    with pytest.raises(ValidationFailed) as caught:
        parameter.read("p", text)
    assert caught.value.errors[0]["loc"] == ["query", "p"]
