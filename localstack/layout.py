"""Where a stack keeps its things, on which ports it listens, and what it passes to processes."""

import json
import os
import re
import socket
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCAL = ROOT / ".local"
HOST = "127.0.0.1"
DEFAULT = "default"
REGION = "us-east-1"
# Folders beside the stacks': the interpreters that all stacks share.
MINISTACK_VENV = LOCAL / "ministack"
LAMBDA_VENV = LOCAL / "lambda"
_RESERVED = {MINISTACK_VENV.name, LAMBDA_VENV.name}
_DEFAULT_PORTS = (4566, 4510, 4511, 4512)
_NAMED_PORTS = range(4600, 5600, 10)
# What would lead a tool or a stand-in astray: credentials and addresses of the real AWS, another
# Python's settings, Terraform's own variables.
_MISLEADING = re.compile(
    r"AWS_.*|TF_.*|PYTHON.*|VIRTUAL_ENV|BEDROCK_.*|PROVIDERS_.*|PG.*|POSTGRES_.*|COVERAGE_.*|MAKE.*|MFLAGS"
    r"|LOCALSTACK_.*|MINISTACK_.*|GATEWAY_PORT|EDGE_PORT|PERSIST_STATE|STATE_DIR|S3_.*|SERVICES"
    r"|DOCKER_.*|LAMBDA_.*|USE_SSL|AUTH|BIND_HOST|LOG_LEVEL|TMPDIR"
)


class StackError(Exception):
    """What the person at the terminal has to do, in one line."""


@dataclass(frozen=True)
class Ports:
    gateway: int
    postgres: int
    bedrock: int
    providers: int

    @property
    def faults(self) -> int:
        """Of the proxy before the gateway, in fault runs."""
        return self.providers + 1

    @property
    def bedrock_faults(self) -> int:
        """Of the proxy before the Bedrock stand-in, in fault runs."""
        return self.providers + 2


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def require_free(port: int, what: str) -> None:
    """Raise `StackError` if another program listens there."""
    if not _is_free(port):
        raise StackError(
            f"Port {port} ({what}) is taken by another program: stop that one, or use a stack "
            "with ports of its own, such as STACK=mine."
        )


@dataclass(frozen=True)
class Stack:
    """One stack by name; `default` unless `STACK` says otherwise."""

    name: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", self.name) or self.name in _RESERVED:
            raise StackError(
                f"STACK={self.name!r} is no name for a stack: use lower-case letters, digits and "
                f"dashes, and none of {', '.join(sorted(_RESERVED))}."
            )

    @property
    def folder(self) -> Path:
        return LOCAL / self.name

    @property
    def temporary(self) -> Path:
        return self.folder / "tmp"

    @cached_property
    def ports(self) -> Ports:
        """4566 and 4510 to 4512; a named stack has its own, chosen once and then remembered."""
        if self.name == DEFAULT:
            return Ports(*_DEFAULT_PORTS)
        file = self.folder / "ports.json"
        if file.exists():
            return Ports(**json.loads(file.read_text(encoding="utf-8")))
        taken = {
            json.loads(other.read_text(encoding="utf-8"))["gateway"]
            for other in LOCAL.glob("*/ports.json")
        }
        for first in _NAMED_PORTS:
            if first not in taken and all(_is_free(first + offset) for offset in range(4)):
                ports = Ports(first, first + 1, first + 2, first + 3)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(json.dumps(vars(ports)), encoding="utf-8")
                return ports
        raise StackError(
            f"No four free ports between {_NAMED_PORTS.start} and {_NAMED_PORTS.stop}."
        )

    @property
    def faults_file(self) -> Path:
        """While it is there, workers start with the environment that it holds (`faults.py`)."""
        return self.folder / "faults.json"

    @property
    def gateway_url(self) -> str:
        return f"http://{HOST}:{self.ports.gateway}"

    @property
    def bedrock_url(self) -> str:
        return f"http://{HOST}:{self.ports.bedrock}"

    @property
    def providers_url(self) -> str:
        return f"http://{HOST}:{self.ports.providers}"


def uses_localstack() -> bool:
    """Whether LocalStack in Docker stands in for MiniStack (`BACKEND=localstack`)."""
    return os.environ.get("BACKEND") == "localstack"


def current() -> Stack:
    """The stack that `STACK` names."""
    return Stack(os.environ.get("STACK") or DEFAULT)


def clean_environment() -> dict[str, str]:
    """The caller's environment without what misleads; proxies and certificates stay."""
    return {name: value for name, value in os.environ.items() if not _MISLEADING.fullmatch(name)}


def aws_environment(stack: Stack) -> dict[str, str]:
    """What points AWS clients at the stack. The keys are dummies, the account is their number."""
    return {
        "AWS_ENDPOINT_URL": stack.gateway_url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
