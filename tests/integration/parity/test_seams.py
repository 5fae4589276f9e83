"""An addition that no longer fits MiniStack says so at start, with the version that it fits."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.integration.parity.gateway import MINISTACK_PYTHON, ROOT


def start(spoil: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Install the additions on a MiniStack that was changed by a statement."""
    program = (
        "from ministack.core import lambda_runtime\n"
        "from ministack.services import apigateway, dynamodb, eventbridge, lambda_svc\n"
        f"{spoil}\n"
        "import localstack.server\n"
        "localstack.server.install()\n"
    )
    environment = {
        "GATEWAY_PORT": "4566",
        "POSTGRES_PORT": "9",
        "POSTGRES_PASSWORD_FILE": os.devnull,
        "TMPDIR": str(directory),
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.run(
        [MINISTACK_PYTHON, "-c", program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_additions_install_when_ministack_is_as_pinned(tmp_path: Path) -> None:
    done = start("pass", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "spoil",
    [
        "del lambda_svc._execute_function_warm",
        "lambda_runtime.ProvidedWorker._spawn = lambda self: None",
        "lambda_svc._emit_lambda_logs = lambda func: None",
        "dynamodb.stream_records_since = lambda table_name: []",
        "del eventbridge._dispatch_to_lambda",
        "apigateway.handle_execute = lambda request: None",
        "del apigateway.handle_websocket",
    ],
)
def test_start_names_the_version_when_what_is_replaced_has_moved(
    tmp_path: Path, spoil: str
) -> None:
    done = start(spoil, tmp_path)
    assert done.returncode != 0
    assert "ministack==1.5.33" in done.stderr.splitlines()[-1]
