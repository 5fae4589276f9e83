"""Serve the stand-in on the port in BEDROCK_PORT, of 127.0.0.1 unless BEDROCK_HOST is set."""

import logging
import os

from aiohttp import web

from localstack.bedrock.forwarding import Server
from localstack.bedrock.server import make_app

url = os.environ.get("BEDROCK_FORWARD_URL")
logging.basicConfig(level=logging.WARNING)
web.run_app(
    make_app(
        Server(
            url,
            os.environ["BEDROCK_FORWARD_MODEL"],
            os.environ.get("BEDROCK_FORWARD_KEY") or None,
        )
        if url
        else None,
        os.environ.get("BEDROCK_GATEWAY_URL"),
    ),
    host=os.environ.get("BEDROCK_HOST", "127.0.0.1"),
    port=int(os.environ["BEDROCK_PORT"]),
    access_log=None,
    handler_cancellation=True,
    shutdown_timeout=1.0,
)
