"""UUIDs of version 7 (RFC 9562): in the order of creation, whose time they hold."""

import secrets
import time
from datetime import UTC, datetime
from uuid import UUID

_RANDOM_BITS = 74  # 12 bits beside the version, 62 beside the variant


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def new_id(after: str | None = None) -> str:
    """A new id, greater than `after` even where this machine's clock is behind the other's."""
    at = now_ms()
    if after is not None:
        at = max(at, time_ms(after) + 1)
    noise = secrets.randbits(_RANDOM_BITS)
    high, low = noise >> 62, noise & ((1 << 62) - 1)
    return str(UUID(int=at << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low))


def time_ms(identifier: str) -> int:
    """The time in an id, in milliseconds since the epoch."""
    return UUID(identifier).int >> 80


def timestamp(at_ms: int) -> str:
    """RFC 3339 in UTC with microseconds, of milliseconds since the epoch."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def created_at(identifier: str) -> str:
    """When an id was made, in RFC 3339."""
    return timestamp(time_ms(identifier))


def since_ms(moment: str) -> int:
    """The milliseconds that have passed since a time in RFC 3339, 0 where it is still to come."""
    return max(0, now_ms() - int(datetime.fromisoformat(moment).timestamp() * 1000))
