"""The chat's functions on a world in memory, at a pace for tests."""

import pytest

from functions.chat_stream import answer
from tests.unit.chat.world import World
from tests.unit.conftest import fresh_settings


@pytest.fixture
def world(cloud: None, environment: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch) -> World:
    environment.setenv("CHATS_PER_MINUTE", "1000")
    fresh_settings()
    # Every piece is a frame, and every tick a sign of life.
    monkeypatch.setattr(answer, "GATHER_SECONDS", 0.0)
    monkeypatch.setattr(answer, "RENEW_SECONDS", 0.0)
    return World(monkeypatch)
