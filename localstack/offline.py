"""Plans of an environment without AWS: `make plan ENV=prod OFFLINE=1`, and the tests of the plans.

Terraform and the provider are the real ones; the state is empty, so everything is to be made. Of
AWS the provider asks who is calling and whether a definition is sound, and here that is answered.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from localstack import terraform
from localstack.layout import HOST, ROOT

ACCOUNT = "123456789012"
_IDENTITY = f"""<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<GetCallerIdentityResult><Arn>arn:aws:iam::{ACCOUNT}:user/nobody</Arn><UserId>nobody</UserId>
<Account>{ACCOUNT}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>""".encode()


class _Answers(BaseHTTPRequestHandler):
    """What the provider asks to make a plan; everything else is refused and remembered."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        target = self.headers.get("x-amz-target", "")
        answer = b""
        if b"Action=GetCallerIdentity" in body:
            answer = _IDENTITY
        elif target == "AWSStepFunctions.ValidateStateMachineDefinition":
            answer = b'{"result": "OK", "diagnostics": []}'  # the unit tests lint the machines
        elif b"Action=GetUser" not in body:  # the other way to learn the account's number
            self.server.refused.append(target or body.decode())  # type: ignore[attr-defined]
        self.send_response(200 if answer else 501)
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_PUT = do_HEAD = do_POST  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def _no_aws() -> Iterator[tuple[str, list[str]]]:
    """The address that stands in for all of AWS, and what it could not answer."""
    with ThreadingHTTPServer((HOST, 0), _Answers) as server:
        server.refused = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{HOST}:{server.server_port}", server.refused  # type: ignore[attr-defined]
        server.shutdown()


@contextmanager
def root() -> Iterator[Path]:
    """A copy of the root that keeps its state in a file, and has archives that are empty."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy = folder / "terraform"
        shutil.copytree(ROOT / "terraform", copy, ignore=shutil.ignore_patterns(".terraform"))
        (copy / "backend_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
        for beside in ("functions", "layers", "statemachines"):
            (folder / beside).symlink_to(ROOT / beside)
        for architecture in ("arm64", "x86_64"):
            build = folder / ".build" / architecture
            names = [path.parent.name for path in (ROOT / "functions").glob("*/handler.py")]
            for archive in (
                *(build / f"functions/{each}.zip" for each in names),
                *(build / f"layers/{each}.zip" for each in ("dependencies", "shared")),
            ):
                archive.parent.mkdir(parents=True, exist_ok=True)
                archive.touch()
        yield copy


def variables(environment: str, gateway: str) -> list[str]:
    """The arguments that an environment is planned with."""
    given = [f"-var-file=environments/{environment}/terraform.tfvars"]
    if environment == "local":
        given += [f"-var=gateway_endpoint={gateway}", f"-var=bedrock_endpoint={gateway}"]
    return given


def run(copy: Path, *arguments: str, endpoint: str = "") -> str:
    """What Terraform says in the copy. Raises `SystemExit` with its error."""
    done = subprocess.run(
        [terraform.require(), f"-chdir={copy}", *arguments],
        env=terraform.environment(copy.parent / "cli")
        | {
            "AWS_ACCESS_KEY_ID": "offline",
            "AWS_SECRET_ACCESS_KEY": "offline",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": endpoint,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = f"{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
        raise SystemExit(f"terraform {arguments[0]} failed:\n{said}")
    return done.stdout


def initialize(copy: Path) -> None:
    """Provider and modules."""
    run(copy, "init", "-input=false", "-lockfile=readonly")


def plan(copy: Path, environment: str, *arguments: str) -> tuple[str, dict[str, Any]]:
    """A plan as text and as JSON. Raises `SystemExit` if it fails, or asks AWS for anything."""
    with _no_aws() as (endpoint, refused):
        text = run(
            copy, "plan", "-out=plan", "-no-color", *variables(environment, endpoint), *arguments,
            endpoint=endpoint,
        )  # fmt: skip
        if refused:
            raise SystemExit(f"the plan asked AWS: {refused}")
    shown: dict[str, Any] = json.loads(run(copy, "show", "-json", "plan"))
    return text, shown


def main() -> None:
    """Print the plan of the environment that the command line names."""
    with root() as copy:
        initialize(copy)
        print(plan(copy, sys.argv[1])[0])


if __name__ == "__main__":
    main()
