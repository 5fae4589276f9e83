"""What every search provider's pages are made into."""

import re
from html import unescape
from typing import Any, NamedTuple

MAX_URL = 1000
MAX_TITLE = 200
MAX_TEXT = 1000

_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,500}>")


class Result(NamedTuple):
    """A page that was found: plain text, in one line each."""

    title: str
    url: str
    text: str


def result(title: Any, url: Any, text: Any) -> Result | None:
    """A page as the model may read it; None without an address of the web."""
    if not isinstance(url, str) or len(url) > MAX_URL or not re.match(r"https?://\S+$", url):
        return None
    return Result(_plain(title, MAX_TITLE) or url, url, _plain(text, MAX_TEXT))


def _plain(value: Any, most: int) -> str:
    text = unescape(_TAG.sub("", value)) if isinstance(value, str) else ""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
