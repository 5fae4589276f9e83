"""MiniStack with our additions: one process that serves AWS's APIs on one port.

Run as `python -m localstack.server` by the interpreter that has localstack/requirements.txt.
Environment: `GATEWAY_PORT`, `LAMBDA_PYTHON` (the interpreter of the Lambdas, with awslambdaric),
`TMPDIR`, and MiniStack's own `PERSIST_STATE`, `STATE_DIR`, `S3_PERSIST`, `S3_DATA_DIR`.
"""

import asyncio
import gc
import importlib
import os
import resource
import signal
import threading

ADDITIONS = (
    "lambda_concurrency",
    "lambda_runtime",
    "lambda_logs",
    "log_queries",
    "event_sources",
    "event_bridge",
    "http_api",
    "websocket",
    "data_api",
    "snapshots",
    "step_functions",
    "scheduler",
    "secrets_rotation",
    "drift_alarms",
    "drift_authorizers",
    "drift_clusters",
    "drift_flow_logs",
    "drift_objects",
    "drift_state_machines",
    "guardrails",
    "opensearch_serverless",
)

# AWS closes a WebSocket with 1009 on a larger message.
WEBSOCKET_MESSAGE_BYTES = 128 * 1024

# Twice this and the time to save the state is what it takes to stop.
_GRACE_SECONDS = 2.0


def _prepare_environment() -> None:
    """Settle what MiniStack reads while it is imported."""
    # Lambdas inherit it from here, and it would win over this gateway's own port.
    os.environ.pop("AWS_ENDPOINT_URL", None)
    # Listeners on fixed ports that nothing here uses: two stacks would collide.
    os.environ.setdefault("IOT_MTLS_ENABLED", "0")
    os.environ.setdefault("SFTP_ENABLED", "0")
    # A worker takes 40 MB: what a burst leaves behind goes soon, the first of a function stays.
    os.environ.setdefault("LAMBDA_WARM_TTL_SECONDS", "60")
    # Calls beyond the workers of a function wait (additions/lambda_concurrency.py).
    os.environ.setdefault("LAMBDA_ACCOUNT_CONCURRENCY", "0")


def install() -> None:
    """Install every addition; each checks that what it replaces is still as it was."""
    for name in ADDITIONS:
        importlib.import_module(f"localstack.additions.{name}").install()


async def _serve() -> None:
    """Serve until told to stop, then close what is open, within seconds, and save the state."""
    from hypercorn.asyncio import serve
    from hypercorn.config import Config
    from ministack.app import app
    from ministack.core import lambda_runtime

    from localstack.additions import websocket
    from localstack.recording import Recorder

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    async def stopped() -> None:
        await stop.wait()
        await websocket.close_all(_GRACE_SECONDS)
        # What waits for a Lambda now, waits no longer than this.
        end = threading.Timer(_GRACE_SECONDS, lambda_runtime.reset)
        end.daemon = True
        end.start()

    config = Config()
    config.bind = [f"{os.environ.get('BIND_HOST', '127.0.0.1')}:{os.environ['GATEWAY_PORT']}"]
    # Longer than any client keeps an idle connection (Terraform's: 90 s): closed from this side, it
    # could take a request along that was made, and the client would make it again.
    config.keep_alive_timeout = 600
    config.graceful_timeout = _GRACE_SECONDS
    config.backlog = 1024
    config.loglevel = os.environ.get("LOG_LEVEL", "INFO").upper()
    config.websocket_max_message_size = WEBSOCKET_MESSAGE_BYTES
    await serve(Recorder(app), config, shutdown_trigger=stopped)


async def _closed(self: asyncio.base_events.Server) -> None:
    """From Python 3.12 on `wait_closed` waits for the last client, and Hypercorn with it."""


def main() -> None:
    """Serve until SIGTERM or SIGINT, then save the state and end the Lambdas."""
    _prepare_environment()
    from ministack.core import lambda_runtime

    install()
    # Each full collection goes through all that is stored, while nobody is served.
    gc.set_threshold(20_000, 50, 100)
    asyncio.base_events.Server.wait_closed = _closed  # type: ignore[method-assign]
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        asyncio.run(_serve())
    finally:
        lambda_runtime.reset()


if __name__ == "__main__":
    main()
