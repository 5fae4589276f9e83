"""The commands of the README, on a second stack beside the one that the other tests use."""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.client import Chat, Rest
from tests.e2e.conftest import ROOT

STACK = "lifecycle"
FOLDER = ROOT / ".local" / STACK


def make(target: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "MAKE"))}
    return subprocess.run(
        ["make", "-s", target, f"STACK={STACK}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def is_open(url: str) -> bool:
    parts = urlsplit(url)
    with socket.socket() as probe:
        return probe.connect_ex((parts.hostname or "", parts.port or 0)) == 0


def processes() -> list[str]:
    """Command lines that name the stack's folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(FOLDER) in line:
            found.append(line)
    return found


@pytest.fixture
def clean_afterwards() -> Iterator[None]:
    make("clean")
    yield
    make("clean")


def test_stack_comes_up_keeps_its_data_and_goes_without_trace(clean_afterwards: None) -> None:
    up = make("up")
    assert up.returncode == 0, up.stdout + up.stderr
    printed = make("outputs")
    outputs = json.loads(printed.stdout)
    assert outputs["api_url"] in up.stdout
    assert outputs["websocket_url"] in up.stdout
    assert outputs["admin_password"] in up.stdout
    assert not outputs["api_url"].endswith("/")

    credentials = {"email": outputs["admin_email"], "password": outputs["admin_password"]}
    tokens = Rest(outputs["api_url"]).ok("POST", "/auth/login", credentials)
    rest = Rest(outputs["api_url"], tokens["access_token"])
    assert rest.ok("GET", "/users/me")["is_admin"] is True
    workspace = f"/workspaces/{outputs['workspace_id']}"
    assert "workspace:delete" in rest.ok("GET", workspace)["permissions"]
    with Chat(outputs["websocket_url"], token=tokens["access_token"]) as chat:
        turn = chat.ask(outputs["chatbot_id"], "Keep this")
    messages = f"{workspace}/conversations/{turn.ack['conversation_id']}/messages"
    before = rest.ok("GET", messages)

    drift = make("drift")
    assert drift.returncode == 0, drift.stdout + drift.stderr
    assert make("down").returncode == 0
    assert not is_open(outputs["api_url"])
    assert processes() == []
    again = make("up")
    assert again.returncode == 0, again.stdout + again.stderr
    assert json.loads(make("outputs").stdout) == outputs
    assert rest.ok("GET", messages) == before

    assert make("clean").returncode == 0
    assert not is_open(outputs["api_url"])
    assert not is_open(outputs["bedrock_url"])
    assert processes() == []
    assert not FOLDER.exists()
