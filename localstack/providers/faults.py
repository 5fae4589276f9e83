"""Answers that go wrong on request, to see how a client bears them."""

import time
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

FOREVER = 1_000_000


@dataclass
class Fault:
    """What befalls requests whose path contains `path`, after `after` of them, `times` times.

    `kind`: `rate_limit` (429 in the provider's own way, for `seconds`), `status` (HTTP `status`),
    `not_ok` (Slack's `ok: false` with `error`), `cut` (the connection breaks in the body), `lost`
    (the same, after the request has done what it asks for),
    `garbage` (no JSON), `replace` (the JSON in `body`), `change` (an answer as usual, and then the
    world is changed: the method `do` with the arguments in `arguments`).
    """

    path: str
    kind: str
    after: int = 0
    times: int = FOREVER
    seconds: int = 1
    status: int = 500
    error: str = "internal_error"
    body: Any = None
    do: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    met: int = 0

    def meets(self, path: str) -> bool:
        """Whether it befalls this request; counts those that it could."""
        if self.path not in path:
            return False
        self.met += 1
        return self.after < self.met <= self.after + self.times


def rate_limited(provider: str, seconds: int) -> web.Response:
    """A provider's 429."""
    if provider == "slack":
        headers = {"Retry-After": str(seconds)}
        return web.json_response({"ok": False, "error": "ratelimited"}, status=429, headers=headers)
    reset = str(int(time.time()) + seconds)
    if provider == "gitlab":
        headers = {"Retry-After": str(seconds), "RateLimit-Reset": reset}
        return web.Response(text="Retry later\n", status=429, headers=headers)
    return web.json_response(
        {"errors": [{"message": "Too many requests.", "code": 13, "moreInfo": ""}]},
        status=429,
        headers={
            "X-RateLimit-Limit": "600",
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": reset,
        },
    )
