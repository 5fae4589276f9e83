"""Values of the query string that an endpoint asks for, as defaults of its parameters:

    def index(request: Request, page: Page, rating: int | None = integer(1, 5)) -> Any: ...

It gets the value that was read, or None where the client sent none. A parameter whose name is a
word of Python's ends in an underscore that the query string does not have.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from chatbot.errors import ValidationFailed

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Parameter:
    """`parse` raises `ValueError`; `schema` is the value's JSON Schema, for the document."""

    message: str
    schema: Mapping[str, Any]
    parse: Callable[[str], Any]

    def read(self, name: str, text: str) -> Any:
        """The value of a query string's text. Raises `ValidationFailed`."""
        try:
            return self.parse(text)
        except (ValueError, OverflowError):
            message = f"{name} {self.message}"
            error = {"loc": ["query", name], "msg": self.message, "type": "value_error"}
            raise ValidationFailed(message, errors=[error]) from None


def integer(least: int, most: int) -> Any:
    """A whole number."""

    def parse(text: str) -> int:
        number = int(text) if re.fullmatch(r"-?[0-9]{1,9}", text, re.ASCII) else most + 1
        if not least <= number <= most:
            raise ValueError(text)
        return number

    schema = {"type": "integer", "minimum": least, "maximum": most}
    return Parameter(f"must be a whole number from {least} to {most}", schema, parse)


def choice(*names: str) -> Any:
    """One of these names."""

    def parse(text: str) -> str:
        if text not in names:
            raise ValueError(text)
        return text

    return Parameter(
        f"must be one of {', '.join(names)}", {"type": "string", "enum": [*names]}, parse
    )


def identifier() -> Any:
    """A UUID, in lower case."""

    def parse(text: str) -> str:
        if not _UUID.fullmatch(text):
            raise ValueError(text)
        return text.lower()

    return Parameter("must be a UUID", {"type": "string", "format": "uuid"}, parse)


def day() -> Any:
    """A day in UTC, `yyyy-mm-dd`: also that of a time in RFC 3339."""
    at: Parameter = moment()
    return Parameter(at.message, at.schema, lambda text: at.parse(text)[:10])


def moment() -> Any:
    """An RFC 3339 time, in UTC with microseconds and `Z`, or a day `yyyy-mm-dd` as it is.

    Both are the beginning of the form in which times are stored, so they compare with these as
    text: all of a day stands between `day` and `day~`.
    """

    def parse(text: str) -> str:
        if _DAY.fullmatch(text):
            return date.fromisoformat(text).isoformat()
        text = text.replace(" ", "+")  # a plus sign that was not escaped
        if not _TIME.fullmatch(text):
            raise ValueError(text)
        at = datetime.fromisoformat(text.upper()).astimezone(UTC)
        return at.isoformat(timespec="microseconds").replace("+00:00", "Z")

    schema = {"type": "string", "anyOf": [{"format": "date-time"}, {"format": "date"}]}
    return Parameter("must be a time in RFC 3339 or a day", schema, parse)
