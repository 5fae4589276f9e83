"""A collection of OpenSearch Serverless on a port of its own, whose time a test can move."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from aiohttp import web

from localstack.opensearch.collection import Collection
from localstack.opensearch.server import make_app


@dataclass
class Clock:
    """Seconds that pass when a test says so."""

    seconds: float = 0

    def __call__(self) -> float:
        return self.seconds


@contextmanager
def serving(collection: Collection, secret_key: str) -> Iterator[str]:
    """The URL of a collection that takes requests signed with that key."""
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(make_app(collection, secret_key), shutdown_timeout=0.1)
    loop.run_until_complete(runner.setup())
    loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0).start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.run_until_complete(runner.cleanup())
    loop.close()
