"""Faults on the way from the functions to AWS: `microburst`, a proxy that answers as AWS fails.

Between `start` and `stop` every Lambda reaches AWS, Bedrock and the clients' connections through
two proxies, one before the gateway and one before the Bedrock stand-in; otherwise neither runs, and
nothing passes through them. Rules are microburst's own (service, operation, error, latency, …), set
while all runs.
"""

import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import requests

from localstack import toolchain
from localstack.layout import HOST, MINISTACK_VENV, ROOT, Stack, clean_environment
from localstack.processes import Process, accepts

type Rule = Mapping[str, Any]

BEDROCK = "bedrock"  # as microburst reads it from the signature


def _proxy(stack: Stack, name: str, port: int, upstream: str) -> Process:
    command = [
        *(str(toolchain.python_of(MINISTACK_VENV)), "-m", "microburst"),
        *("--host", HOST, "--port", str(port), "--upstream", upstream),
    ]
    return Process(
        stack.folder, name, port, command, clean_environment(), stop_seconds=5, directory=ROOT
    )


def _proxies(stack: Stack) -> tuple[Process, Process]:
    ports = stack.ports
    return (
        _proxy(stack, "faults", ports.faults, stack.gateway_url),
        _proxy(stack, "faults-bedrock", ports.bedrock_faults, stack.bedrock_url),
    )


def start(stack: Stack, websocket_url: str, clock_skew_seconds: float = 0) -> None:
    """Put the proxies before the stack, without rules, with workers that know of them.

    The clock of each is off by up to `clock_skew_seconds`. Raises `StackError`.
    """
    for proxy in _proxies(stack):
        proxy.start(lambda proxy=proxy: accepts(proxy.port))  # type: ignore[misc]
    proxied = f"http://{HOST}:{stack.ports.faults}"
    environment = {
        "AWS_ENDPOINT_URL": proxied,
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": f"http://{HOST}:{stack.ports.bedrock_faults}",
        "WEBSOCKET_CALLBACK_URL": websocket_url.replace("ws:", "http:").replace(
            stack.gateway_url, proxied
        ),
    }
    if clock_skew_seconds:
        environment |= {"CLOCK_SKEW_SECONDS": str(clock_skew_seconds)}
    set_rules(stack, ())
    text, file = json.dumps(environment), stack.faults_file
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        file.write_text(text, encoding="utf-8")
        kill_workers(stack)


def stop(stack: Stack) -> None:
    """Take the proxies away; nothing happens where there are none."""
    if stack.faults_file.exists():
        stack.faults_file.unlink()
        kill_workers(stack)
    for proxy in _proxies(stack):
        proxy.stop()


def set_rules(stack: Stack, rules: Sequence[Rule]) -> None:
    """The faults from now on, instead of those before; what has fired is forgotten."""
    for url, own in _split(stack, rules).items():
        requests.post(f"{url}/rules", json=own, timeout=10).raise_for_status()
        requests.delete(f"{url}/fired", timeout=10).raise_for_status()


def lift(stack: Stack) -> None:
    """No faults from now on; what has fired is remembered."""
    for url in _split(stack, ()):
        requests.post(f"{url}/rules", json=[], timeout=10).raise_for_status()


def fired(stack: Stack) -> list[dict[str, Any]]:
    """{service, operation, action, …} of each fault since the rules were set."""
    found: list[dict[str, Any]] = []
    for url in _split(stack, ()):
        found += requests.get(f"{url}/fired", params={"limit": "2000"}, timeout=10).json()
    return found


def kill_workers(stack: Stack, function: str = "") -> int:
    """Kill the functions' workers, or one function's by its full name; how many there were.

    They have ended when it returns, so that no call meets one that is just dying.
    """
    start, end = f"ministack-lambda-{function}", f"-{stack.ports.gateway}-"
    found = [entry for entry in Path("/proc").iterdir() if _is_worker(entry, start, end)]
    for entry in found:
        with suppress(ProcessLookupError):
            os.kill(int(entry.name), signal.SIGKILL)
    while any(_is_worker(entry, start, end) for entry in found):
        time.sleep(0.01)
    return len(found)


def _is_worker(entry: Path, start: str, end: str) -> bool:
    try:
        words = (entry / "cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
    except OSError:
        return False
    return any(word.startswith(start) and end in word for word in words)


def _split(stack: Stack, rules: Sequence[Rule]) -> dict[str, list[Rule]]:
    """Rules by the control address of the proxy that they are for."""
    aws = [rule for rule in rules if rule["service"] != BEDROCK]
    bedrock = [rule for rule in rules if rule["service"] == BEDROCK]
    control = f"http://{HOST}:{{}}/_microburst"
    return {
        control.format(stack.ports.faults): aws,
        control.format(stack.ports.bedrock_faults): bedrock,
    }
