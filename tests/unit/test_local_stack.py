"""The pure parts of the stack's command line: names, ports, environment, migrations' files."""

import json
from pathlib import Path
from typing import Any

import pytest

from localstack import layout, migration
from localstack.chat import Chat
from localstack.layout import Stack, StackError


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(layout, "LOCAL", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["", "Upper", "a/b", "..", "ministack", "lambda", "9a"])
def test_stack_is_refused_when_its_name_is_no_folder_of_its_own(name: str) -> None:
    with pytest.raises(StackError):
        Stack(name)


def test_ports_are_kept_and_never_shared(local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "_is_free", lambda port: port != 4601)
    first, second = Stack("first").ports, Stack("second").ports
    assert first.gateway == 4610  # 4601 is taken
    assert {*vars(first).values()}.isdisjoint(vars(second).values())
    assert Stack("first").ports == first
    assert json.loads((local / "first/ports.json").read_text())["gateway"] == 4610


def test_environment_does_not_lead_processes_astray(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "AWS_PROFILE",
        "TF_CLI_CONFIG_FILE",
        "PYTHONPATH",
        "PERSIST_STATE",
        "GATEWAY_PORT",
    ):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    kept = layout.clean_environment()
    assert "/nowhere" not in kept.values()
    assert kept["HTTPS_PROXY"] == "http://proxy"


def test_migration_gets_the_next_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migration, "_FOLDER", tmp_path)
    (tmp_path / "0007_chat.up.sql").touch()
    files = migration.create_files("add_labels")
    assert [file.name for file in files] == ["0008_add_labels.up.sql", "0008_add_labels.down.sql"]
    with pytest.raises(SystemExit):
        migration.create_files("Add labels")


def test_port_is_refused_when_another_program_listens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(layout, "_is_free", lambda _port: False)
    with pytest.raises(StackError, match=r"Port 4566 \(gateway\) is taken"):
        layout.require_free(4566, "gateway")


class _Socket:
    """One that answers whatever is sent with one frame."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self._answer = answer

    def send(self, _: str) -> None: ...

    def recv(self, **_: float) -> str:
        return json.dumps(self._answer)


def test_chat_shows_the_gateways_own_frame_when_a_function_died(
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = {"message": "Internal server error", "connectionId": "a", "requestId": "b"}
    answer = Chat({"chatbot_id": "c"}).ask(_Socket(own), "Hello")  # type: ignore[arg-type]
    assert answer == own
    assert capsys.readouterr().out == "[Internal server error]\n"
