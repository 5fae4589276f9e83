"""LocalStack in Docker, for `BACKEND=localstack`. Not exercised by this project's own tests."""

import os
import shutil
import subprocess

from localstack.layout import ROOT, Stack, StackError, clean_environment

_FILE = ROOT / "localstack/compose.yaml"


def start(stack: Stack) -> None:
    """Start the container and wait until it is healthy. Raises `StackError`."""
    if not os.environ.get("LOCALSTACK_AUTH_TOKEN"):
        raise StackError("BACKEND=localstack needs LOCALSTACK_AUTH_TOKEN, a token of a paid plan.")
    _compose(stack, "up", "--detach", "--wait")


def stop(stack: Stack) -> None:
    """Stop the container; its state stays in the stack's folder."""
    _compose(stack, "down")


def _compose(stack: Stack, *arguments: str) -> None:
    if shutil.which("docker") is None:
        raise StackError("BACKEND=localstack needs Docker with its compose plugin.")
    state = stack.folder / "localstack"
    state.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["docker", "compose", "--file", str(_FILE), "--project-name", f"chatbot-{stack.name}",
         *arguments],
        env={
            **clean_environment(),
            "GATEWAY_PORT": str(stack.ports.gateway),
            "LOCALSTACK_AUTH_TOKEN": os.environ.get("LOCALSTACK_AUTH_TOKEN", "none"),
            "STACK": stack.name,
            "STATE_DIRECTORY": str(state),
        },
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise StackError(f"docker compose {arguments[0]} failed: {done.stderr.strip()[-500:]}")
