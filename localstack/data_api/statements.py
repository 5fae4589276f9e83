"""Named parameters: the Data API's `:name` becomes PostgreSQL's `$1`.

A name is not looked for in string literals, quoted identifiers, comments or dollar-quoted bodies,
and `::type` casts and `:=` stay as they are.
"""

import re
from collections.abc import Collection

from localstack.data_api.errors import DataApiError

_TOKEN = re.compile(
    r"""
      (?P<escape>  \b[eE]'(?:[^'\\]|''|\\.)*' )
    | (?P<string>  '(?:[^']|'')*' )
    | (?P<quoted>  "(?:[^"]|"")*" )
    | (?P<line>    --[^\n]* )
    | (?P<block>   /\*.*?\*/ )
    | (?P<cast>    ::|:= )
    | (?P<name>    :[A-Za-z_]\w* )
    """,
    re.VERBOSE | re.DOTALL,
)
_DOLLAR = re.compile(r"(?<![\w$])\$([A-Za-z_]\w*)?\$")


def _skip_dollar_quote(sql: str, start: int) -> int:
    """Where the dollar-quoted body that opens at `start` ends."""
    opening = _DOLLAR.match(sql, start)
    if opening is None:
        return start + 1
    end = sql.find(opening.group(0), opening.end())
    return len(sql) if end < 0 else end + len(opening.group(0))


_PLAIN = re.compile(r"[^'\"$:/eE-]+")


def number_parameters(sql: str, names: Collection[str]) -> tuple[str, list[str]]:
    """Rewrite `sql`; the second value lists the names in the order of `$1`, `$2`, …

    A name that occurs twice gets one number. Raises `DataApiError` for a name without a value,
    as AWS does; a value without a name in the statement is ignored.
    """
    pieces: list[str] = []
    order: list[str] = []
    position = 0
    while position < len(sql):
        if sql[position] == "$":
            end = _skip_dollar_quote(sql, position)
            pieces.append(sql[position:end])
            position = end
            continue
        token = _TOKEN.match(sql, position)
        if token is None:
            plain = _PLAIN.match(sql, position)
            end = plain.end() if plain else position + 1
            pieces.append(sql[position:end])
            position = end
            continue
        text = token.group(0)
        if token.lastgroup == "name":
            name = text[1:]
            if name not in names:
                raise DataApiError("DatabaseErrorException", f"Cannot find parameter: {name}")
            if name not in order:
                order.append(name)
            text = f"${order.index(name) + 1}"
        pieces.append(text)
        position = token.end()
    return "".join(pieces), order
