from collections.abc import Iterator

import pytest
from pytest_socket import enable_socket

from tests.unit.fetching.wire import Wire


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """A real server, and what is asked of the network; the client does not sleep."""
    enable_socket()
    monkeypatch.setattr("chatbot.fetching.time.sleep", lambda _: None)
    made = Wire(monkeypatch)
    yield made
    made.close()
