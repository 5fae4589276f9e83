"""Serve the stand-ins on the port in PROVIDERS_PORT, of 127.0.0.1 unless PROVIDERS_HOST is set.

Beside the providers, under /opensearch, a collection of OpenSearch Serverless, which is empty at
first. It shows what was written after a second; AWS takes a minute.
"""

import logging
import os

from aiohttp import web

from localstack.opensearch import server as opensearch
from localstack.opensearch.collection import Collection
from localstack.providers.server import make_app

logging.basicConfig(level=logging.WARNING)
app = make_app()
app.add_subapp("/opensearch", opensearch.make_app(Collection(1), "test"))
web.run_app(
    app,
    host=os.environ.get("PROVIDERS_HOST", "127.0.0.1"),
    port=int(os.environ["PROVIDERS_PORT"]),
    access_log=None,
    handler_cancellation=True,
    shutdown_timeout=1.0,
)
