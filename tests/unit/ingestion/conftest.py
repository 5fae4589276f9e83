"""The connectors run against the stand-ins of the providers, over HTTP, on AWS as moto has it."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from aiohttp import web
from moto import mock_aws
from pytest_socket import enable_socket

from localstack.providers.server import WORLD, World, make_app
from tests.unit.conftest import fresh_settings
from tests.unit.ingestion.machine import Machine, make_stores


@pytest.fixture(scope="session")
def server() -> Iterator[tuple[str, World]]:
    """The stand-ins' URL, and what they hold."""
    enable_socket()
    loop = asyncio.new_event_loop()
    app = make_app()
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    loop.run_until_complete(runner.setup())
    site = web.TCPSite(runner, "127.0.0.1", 0)
    loop.run_until_complete(site.start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield str(runner.addresses[0][1]), app[WORLD]
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.run_until_complete(runner.cleanup())
    loop.close()


@pytest.fixture
def providers(server: tuple[str, World]) -> World:
    """What the stand-ins hold: the corpus, without faults."""
    enable_socket()
    server[1].reset()
    return server[1]


@pytest.fixture
def machine(
    server: tuple[str, World], providers: World, environment: pytest.MonkeyPatch
) -> Iterator[Machine]:
    """Runs sources of a workspace as the state machine does."""
    environment.setenv("ALLOWED_PRIVATE_NETWORKS", "127.0.0.0/8")
    fresh_settings()
    environment.setattr("chatbot.fetching.time.sleep", lambda _: None)
    with mock_aws():
        make_stores()
        yield Machine(f"http://127.0.0.1:{server[0]}")
