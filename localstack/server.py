"""MiniStack with our additions: one process that serves AWS's APIs on one port.

Run as `python -m localstack.server` by the interpreter that has localstack/requirements.txt.
Environment: `GATEWAY_PORT`, `LAMBDA_PYTHON` (the interpreter of the Lambdas, with awslambdaric),
`TMPDIR`, and MiniStack's own `PERSIST_STATE`, `STATE_DIR`, `S3_PERSIST`, `S3_DATA_DIR`.
"""

import asyncio
import importlib
import os
import resource

ADDITIONS = (
    "lambda_runtime",
    "lambda_logs",
    "event_sources",
    "event_bridge",
    "http_api",
    "websocket",
    "data_api",
    "step_functions",
    "scheduler",
    "secrets_rotation",
    "drift_alarms",
    "drift_authorizers",
    "drift_objects",
    "drift_state_machines",
)

# AWS closes a WebSocket with 1009 on a larger message.
WEBSOCKET_MESSAGE_BYTES = 128 * 1024


def _prepare_environment() -> None:
    """Settle what MiniStack reads while it is imported."""
    # Lambdas inherit it from here, and it would win over this gateway's own port.
    os.environ.pop("AWS_ENDPOINT_URL", None)
    # Listeners on fixed ports that nothing here uses: two stacks would collide.
    os.environ.setdefault("IOT_MTLS_ENABLED", "0")
    os.environ.setdefault("SFTP_ENABLED", "0")
    # Calls beyond the workers of a function wait (additions/lambda_runtime.py).
    os.environ.setdefault("LAMBDA_ACCOUNT_CONCURRENCY", "0")


def install() -> None:
    """Install every addition; each checks that what it replaces is still as it was."""
    for name in ADDITIONS:
        importlib.import_module(f"localstack.additions.{name}").install()


def main() -> None:
    """Serve until SIGTERM or SIGINT, then save the state and end the Lambdas."""
    _prepare_environment()
    from hypercorn.asyncio import serve
    from hypercorn.config import Config
    from ministack.app import app
    from ministack.core import lambda_runtime

    install()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    config = Config()
    config.bind = [f"{os.environ.get('BIND_HOST', '127.0.0.1')}:{os.environ['GATEWAY_PORT']}"]
    config.keep_alive_timeout = 75
    config.backlog = 1024
    config.loglevel = os.environ.get("LOG_LEVEL", "INFO").upper()
    config.websocket_max_message_size = WEBSOCKET_MESSAGE_BYTES
    try:
        asyncio.run(serve(app, config))
    finally:
        lambda_runtime.reset()


if __name__ == "__main__":
    main()
