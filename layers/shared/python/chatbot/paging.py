"""Keyset paging: lists sorted by `(created_at, id)` and opaque cursors between their pages.

A cursor holds the last row's sort key and a fingerprint of the list it belongs to. It carries no
authority (the list's own conditions are applied again on every page), so it needs no signature.
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from chatbot.errors import BadRequest, ValidationFailed

DEFAULT_LIMIT = 20
MAX_LIMIT = 100

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|\+00:00)", re.ASCII)
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Page:
    """The page of a list that a request asks for.

    `after` is the sort key `(created_at, id)` of the last row of the page before, well formed (an
    RFC 3339 time in UTC, a UUID in lower case), or None for the first page. `fingerprint` names
    the list.
    """

    limit: int
    after: tuple[str, str] | None
    fingerprint: str

    @classmethod
    def from_query(cls, query: Mapping[str, str], *identity: str) -> Self:
        """Read `limit` and `cursor` from a query string.

        What else stands in the query filters the list, and so belongs to its identity as do the
        caller and the path, which the API layer gives. Raises `ValidationFailed` for a wrong limit
        and `BadRequest` for a cursor that is damaged or of another list.
        """
        filters = sorted((k, v) for k, v in query.items() if k not in ("limit", "cursor"))
        listed = json.dumps([identity, filters]).encode()
        fingerprint = hashlib.sha256(listed).hexdigest()[:16]
        limit = query.get("limit", str(DEFAULT_LIMIT))
        if not re.fullmatch(r"[0-9]{1,3}", limit) or not 1 <= int(limit) <= MAX_LIMIT:
            message = f"limit must be a whole number from 1 to {MAX_LIMIT}"
            error = {"loc": ["query", "limit"], "msg": message, "type": "int_range"}
            raise ValidationFailed(message, errors=[error])
        cursor = query.get("cursor")
        after = None if cursor is None else _decode(cursor, fingerprint)
        return cls(int(limit), after, fingerprint)

    @property
    def params(self) -> dict[str, Any]:
        """For SQL: `limit`, and `after: {created_at, id}` from the second page on."""
        if self.after is None:
            return {"limit": self.limit}
        created_at, row_id = self.after
        return {"limit": self.limit, "after": {"created_at": created_at, "id": row_id}}

    def answer(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """The list's answer, from `{"items": [...], "more": bool}` as `app.page` gives it.

        Each item has `id` and `created_at`; `more` says that further ones follow the last.
        """
        items = found["items"]
        return {"items": items, "next_cursor": self._encode(items[-1]) if found["more"] else None}

    def part(self, values: Sequence[Any]) -> dict[str, Any]:
        """The list's answer, of values without id and time, whose places stand in for these."""
        start = min(UUID(self.after[1]).int + 1, len(values)) if self.after else 0
        end = start + self.limit
        cursor = None
        if end < len(values):
            last = {"created_at": "1970-01-01T00:00:00Z", "id": UUID(int=end - 1)}
            cursor = self._encode(last)
        return {"items": list(values[start:end]), "next_cursor": cursor}

    def _encode(self, row: Mapping[str, Any]) -> str:
        values = [str(row["created_at"]), str(row["id"]), self.fingerprint]
        text = json.dumps(values, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def _decode(cursor: str, fingerprint: str) -> tuple[str, str]:
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        values = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        match values:
            case [str(created_at), str(row_id), str(listed)] if listed == fingerprint:
                if _TIME.fullmatch(created_at) and _ID.fullmatch(row_id):
                    datetime.fromisoformat(created_at)
                    return created_at, row_id
    except (UnicodeError, binascii.Error, ValueError, RecursionError):
        pass
    raise BadRequest("the cursor is damaged or belongs to another list")
