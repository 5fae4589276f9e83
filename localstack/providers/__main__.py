"""Serve the stand-ins on the port in PROVIDERS_PORT, of 127.0.0.1 unless PROVIDERS_HOST is set."""

import logging
import os

from aiohttp import web

from localstack.providers.server import make_app

logging.basicConfig(level=logging.WARNING)
web.run_app(
    make_app(),
    host=os.environ.get("PROVIDERS_HOST", "127.0.0.1"),
    port=int(os.environ["PROVIDERS_PORT"]),
    access_log=None,
    handler_cancellation=True,
    shutdown_timeout=1.0,
)
