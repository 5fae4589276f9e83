"""The chat's functions on a world in memory, at a pace for tests."""

import pytest

from functions.chat_stream import answer
from tests.unit.chat.world import World


@pytest.fixture
def world(cloud: None, monkeypatch: pytest.MonkeyPatch) -> World:
    # Every piece is a frame, and every tick a sign of life.
    monkeypatch.setattr(answer, "GATHER_SECONDS", 0.0)
    monkeypatch.setattr(answer, "RENEW_SECONDS", 0.0)
    return World(monkeypatch)
