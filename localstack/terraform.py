"""Terraform against the stack: the same root and variables as on AWS, at other addresses.

The state lies in the stack's own S3, so it goes where what it describes goes. Where the registry
cannot be reached, the AWS provider comes from a mirror on disk.
"""

import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from localstack.layout import (
    HOST,
    ROOT,
    Stack,
    StackError,
    aws_environment,
    clean_environment,
    uses_localstack,
)

STATE_BUCKET = "chatbot-local-terraform"
_MINIMUM = (1, 11)
_REGISTRY = ("registry.terraform.io", 443)
_PROVIDER = "registry.terraform.io/hashicorp/aws"
_MIRRORS = (
    "~/.terraform.d/*",
    "~/.local/share/terraform/*",
    "/usr/share/terraform/*",
    "/usr/local/share/terraform/*",
    "/usr/lib/terraform*",
    "/usr/local/lib/terraform*",
    "/var/lib/terraform*",
    "/opt/*",
    "/opt/*/*",
    "/srv/*",
    "/usr/share/*",
    "/usr/local/share/*",
)


def require() -> str:
    """Terraform's path. Raises `StackError` if it is missing or too old."""
    found = shutil.which("terraform")
    advice = "install it from https://developer.hashicorp.com/terraform/install"
    if found is None:
        raise StackError(f"Terraform 1.11 or later is not on the PATH: {advice}.")
    shown = subprocess.run(
        [found, "version", "-json"],
        env=clean_environment() | {"CHECKPOINT_DISABLE": "1"},
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    version = json.loads(shown)["terraform_version"]
    if tuple(int(part) for part in version.split("-")[0].split(".")[:2]) < _MINIMUM:
        raise StackError(f"Terraform {version} is too old, 1.11 is the least: {advice}.")
    return found


def _platform() -> str:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return f"{sys.platform}_{machine}"


def _mirrors() -> Iterator[Path]:
    """Folders that hold the AWS provider for this machine, unpacked or as a zip."""
    for pattern in _MIRRORS:
        expanded = Path(pattern).expanduser()
        root = Path(expanded.anchor)
        for folder in sorted(root.glob(str(expanded.relative_to(root)))):
            try:
                provider = folder / _PROVIDER
                if any(provider.glob(f"*/{_platform()}")) or any(
                    provider.glob(f"*_{_platform()}.zip")
                ):
                    yield folder
            except PermissionError:
                continue


def _reaches_registry() -> bool:
    try:
        with socket.create_connection(_REGISTRY, timeout=3):
            return True
    except OSError:
        return False


def _cli_configuration(folder: Path) -> Path | None:
    """A CLI configuration that names the mirror; None where the registry serves."""
    file = folder / "terraform.rc"
    if file.exists():
        return file
    mirror = next(_mirrors(), None)
    if mirror is None or _reaches_registry():
        return None
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(
        f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\n',
        encoding="utf-8",
    )
    return file


def environment(folder: Path) -> dict[str, str]:
    """What Terraform runs with; `folder` takes its data and configuration."""
    configuration = _cli_configuration(folder)
    return {
        **clean_environment(),
        "TF_DATA_DIR": str(folder / "terraform"),
        "TF_IN_AUTOMATION": "1",
        "TF_INPUT": "0",
        "CHECKPOINT_DISABLE": "1",
        **({"TF_CLI_CONFIG_FILE": str(configuration)} if configuration else {}),
    }


def variables(stack: Stack, architecture: str) -> dict[str, str]:
    """What differs from one machine and stack to the next."""
    # Functions in containers reach the host by this name.
    host = "host.docker.internal" if uses_localstack() else HOST
    return {
        "gateway_endpoint": stack.gateway_url,
        "bedrock_endpoint": f"http://{host}:{stack.ports.bedrock}",
        "web_search_url": f"http://{host}:{stack.ports.providers}/brave/res/v1",
        "opensearch": "true" if os.environ.get("OPENSEARCH") else "false",
        "lambda_architecture": architecture,
        "build_directory": str(ROOT / ".build"),
    }


def run(stack: Stack, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run Terraform in the root, pointed at the stack; what it says also goes to the log.

    Raises `StackError` with its first error if it fails and `check` is set.
    """
    log = stack.folder / "logs/terraform.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [require(), f"-chdir={ROOT / 'terraform'}", *arguments],
        env=environment(stack.folder) | aws_environment(stack),
        capture_output=True,
        text=True,
        check=False,
    )
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ terraform {' '.join(arguments)}\n{done.stdout}{done.stderr}\n")
    if check and done.returncode:
        error = _first_error(done.stderr or done.stdout)
        raise StackError(f"terraform {arguments[0]} failed: {error} (all of it: {log})")
    return done


def _first_error(text: str) -> str:
    lines = [line.strip(" │╷╵") for line in text.splitlines()]
    start = next((n for n, line in enumerate(lines) if line.startswith("Error:")), 0)
    return " ".join(line for line in lines[start : start + 6] if line)


def initialize(stack: Stack) -> None:
    """Prepare the root: provider, modules and the state in the stack's S3."""
    run(
        stack, "init", "-no-color", "-reconfigure", "-lockfile=readonly",
        "-backend-config=environments/local/backend.hcl",
    )  # fmt: skip


def is_initialized(stack: Stack) -> bool:
    return (stack.folder / "terraform/terraform.tfstate").exists()


def _variable_arguments(stack: Stack, architecture: str) -> list[str]:
    return [
        "-no-color",
        "-var-file=environments/local/terraform.tfvars",
        *(f"-var={name}={value}" for name, value in variables(stack, architecture).items()),
    ]


def apply(stack: Stack, architecture: str, report: Callable[[str], None]) -> None:
    """Make the stack what the root says; `report` hears how far it is. Raises `StackError`."""
    arguments = _variable_arguments(stack, architecture)
    log = stack.folder / "logs/terraform.log"
    changes, done, errors = 0, 0, []
    with (
        log.open("a", encoding="utf-8") as file,
        subprocess.Popen(
            [
                *(require(), f"-chdir={ROOT / 'terraform'}", "apply", "-json", "-auto-approve"),
                *("-parallelism=30", *arguments),
            ],
            env=environment(stack.folder) | aws_environment(stack),
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
        ) as process,
    ):
        for line in process.stdout or ():
            file.write(line)
            event = json.loads(line)
            if event["type"] == "planned_change":
                changes += 1
            elif event["type"] == "apply_complete":
                done += 1
            elif event["type"] == "diagnostic" and event["@level"] == "error":
                found = event["diagnostic"]
                errors.append(f"{found.get('address', '')}: {found['summary']} {found['detail']}")
            report(f"{done} of {changes} changes" if changes else "reading what is there")
    if process.returncode:
        error = " ".join((errors or ["it said nothing"])[0].split())
        raise StackError(f"terraform apply failed: {error} (all of it: {log})")


def plan(stack: Stack, architecture: str) -> tuple[bool, str]:
    """Whether anything is to change, and the plan as text."""
    done = run(
        stack, "plan", "-detailed-exitcode", "-parallelism=30",
        *_variable_arguments(stack, architecture), check=False,
    )  # fmt: skip
    if done.returncode not in {0, 2}:
        raise StackError(f"terraform plan failed: {_first_error(done.stderr)}")
    noise = re.compile(
        r": (Refreshing state|Reading|Read complete|Opening|Opening complete|Closing)"
    )
    shown = [line for line in done.stdout.splitlines() if not noise.search(line)]
    return done.returncode == 2, "\n".join(shown).strip()


def outputs(stack: Stack) -> dict[str, Any]:
    """The root's outputs by name."""
    shown = json.loads(run(stack, "output", "-json", "-no-color").stdout)
    return {name: output["value"] for name, output in shown.items()}


def delegate(folder: Path, arguments: list[str]) -> int:
    """Run Terraform for a person (fmt, validate, test), with the mirror if one is needed."""
    folder.mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        [require(), f"-chdir={ROOT / 'terraform'}", *arguments],
        env=environment(folder) | {"AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"},
        check=False,
    ).returncode
