"""MiniStack as it comes, and with our additions.

A test of a mend takes `server`: it states what AWS documents, runs against both, and must fail
against MiniStack as it comes. One of what works there already takes `stack`.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.parity.gateway import Server


def _served(module: list[str], directory: Path, **environment: str) -> Iterator[Server]:
    server = Server(module, directory, environment)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """MiniStack with our additions."""
    yield from _served(["-m", "localstack.server"], tmp_path_factory.mktemp("stack"))


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """MiniStack as it comes."""
    yield from _served(["-m", "ministack"], tmp_path_factory.mktemp("stock"), BIND_HOST="127.0.0.1")


@pytest.fixture(
    params=[
        "stack",
        pytest.param("stock", marks=pytest.mark.xfail(strict=True, reason="MiniStack as it comes")),
    ]
)
def server(request: pytest.FixtureRequest) -> Server:
    """Both in turn: a parity test that passes against MiniStack as it comes has failed."""
    found: Server = request.getfixturevalue(request.param)
    return found
