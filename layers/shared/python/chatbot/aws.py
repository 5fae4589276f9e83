"""AWS clients: one session a process, a client made when it is first asked for."""

from functools import cache
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

_CONFIG = Config(
    connect_timeout=2,
    read_timeout=10,
    retries={"mode": "standard", "total_max_attempts": 3},
    tcp_keepalive=True,
)
# A statement whose answer was lost may have run: `chatbot.database` knows which may run again. The
# Data API itself ends a statement after 45 s.
_DATABASE_CONFIG = _CONFIG.merge(
    Config(read_timeout=50, retries={"mode": "standard", "total_max_attempts": 1})
)
# With status 400 or 403: throttled, or for a moment without good credentials or the right time.
_NOT_NOW = {
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidSignatureException",
    "LimitExceededException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestTimeTooSkewed",
    "ThrottlingException",
    "TransactionConflictException",
    "TransactionInProgressException",
}


@cache
def session() -> botocore.session.Session:
    """The one session: each further one costs a cold start 60 ms, a client only 3.

    botocore's own: boto3 around it would cost 15 ms more, for resources and transfers.
    """
    return botocore.session.get_session()


@cache
def client(service: str, endpoint_url: str | None = None) -> Any:
    """The client of an AWS service, by botocore's name of it, with short time-outs and retries."""
    make: Any = session().create_client  # the stubs only know literal names
    config = _DATABASE_CONFIG if service == "rds-data" else _CONFIG
    return make(service, endpoint_url=endpoint_url, config=config)


def is_unavailable(error: Exception) -> bool:
    """Whether an error says that AWS cannot do it now, and not that what was asked is wrong."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= 500 or status == 429 or error.response["Error"]["Code"] in _NOT_NOW
    return isinstance(error, BotoCoreError)
