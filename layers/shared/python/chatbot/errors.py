"""What can go wrong, by name. REST answers them as problem+json, WebSocket as an error frame."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class Problem(Exception):
    """An answer other than success.

    `detail` is for the client: no stack trace, SQL, ARN or text of a message ever stands in it.
    `code` is the WebSocket error code.
    """

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal Server Error"
    code: ClassVar[str] = "internal"

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.errors = list(errors)
        self.headers = dict(headers or {})


class BadRequest(Problem):
    status, title, code = 400, "Bad Request", "bad_request"


class Unauthorized(Problem):
    status, title, code = 401, "Unauthorized", "forbidden"

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class Forbidden(Problem):
    status, title, code = 403, "Forbidden", "forbidden"


class NotFound(Problem):
    status, title, code = 404, "Not Found", "not_found"


class MethodNotAllowed(Problem):
    status, title, code = 405, "Method Not Allowed", "bad_request"


class Conflict(Problem):
    status, title, code = 409, "Conflict", "busy"


class PreconditionFailed(Problem):
    status, title = 412, "Precondition Failed"


class PayloadTooLarge(Problem):
    status, title, code = 413, "Content Too Large", "bad_request"


class UnsupportedMediaType(Problem):
    status, title, code = 415, "Unsupported Media Type", "bad_request"


class ValidationFailed(Problem):
    status, title, code = 422, "Unprocessable Content", "bad_request"


class TooManyRequests(Problem):
    status, title, code = 429, "Too Many Requests", "rate_limited"

    def __init__(self, detail: str | None = None, *, retry_after: int) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class QuotaExceeded(Problem):
    status, title, code = 429, "Too Many Requests", "quota_exceeded"


class ServiceUnavailable(Problem):
    status, title = 503, "Service Unavailable"

    def __init__(self, detail: str | None = None, *, retry_after: int) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class RetryLater(Exception):
    """Named in the state machines' Retry: the same call may succeed a little later."""


class BadInput(Exception):
    """Named in the state machines' Catch: the same call will never succeed."""


class Gone(Exception):
    """Named in the state machines' Catch: what the call is about no longer exists."""
