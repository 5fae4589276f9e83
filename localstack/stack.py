"""The whole stack on one machine: `python -m localstack.stack <command>`, which `make` calls.

Commands: install, up, down, remove, clean, outputs, env, chat, logs, plan, drift, migrate,
rollback, reindex, sweep, terraform.

`STACK` names the stack. A stack is four processes (MiniStack with our additions, PostgreSQL, the
stand-ins of Bedrock and of Slack, GitLab and Backlog), the Terraform root applied to them, and a
folder under `.local/`.
"""

import argparse
import hashlib
import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import requests
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from layers.build import build, host_architecture
from localstack import (
    chat,
    compose,
    faults,
    migration,
    reindex,
    seed,
    sweep,
    terraform,
    toolchain,
)
from localstack.layout import (
    HOST,
    LAMBDA_VENV,
    LOCAL,
    MINISTACK_VENV,
    REGION,
    ROOT,
    Stack,
    StackError,
    aws_environment,
    clean_environment,
    current,
    uses_localstack,
)
from localstack.postgres import Postgres
from localstack.processes import Process
from localstack.progress import say, step

_MARK = "/chatbot-local-stack/applied"
_FIRST_QUESTION = "When does the gate of the Rotterdam depot close in winter?"


def _session(stack: Stack) -> boto3.Session:
    os.environ.pop("AWS_PROFILE", None)
    os.environ.update(aws_environment(stack))
    return boto3.Session()


def _postgres(stack: Stack) -> Postgres:
    return Postgres(stack.folder, stack.ports.postgres)


def _gateway(stack: Stack) -> Process:
    state, temporary = stack.folder / "state", stack.temporary
    return Process(
        stack.folder,
        "gateway",
        stack.ports.gateway,
        [str(toolchain.python_of(MINISTACK_VENV)), "-m", "localstack.server"],
        {
            **clean_environment(),
            "BIND_HOST": "127.0.0.1",
            "FAULTS_FILE": str(stack.faults_file),
            "GATEWAY_PORT": str(stack.ports.gateway),
            "LAMBDA_PYTHON": str(toolchain.python_of(LAMBDA_VENV)),
            "LOG_LEVEL": "INFO",
            "MINISTACK_REGION": REGION,
            "PERSIST_STATE": "1",
            "POSTGRES_PASSWORD_FILE": str(_postgres(stack).password_file),
            "POSTGRES_PORT": str(stack.ports.postgres),
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": stack.bedrock_url,
            "OPENSEARCH_URL": f"{stack.providers_url}/opensearch",
            "S3_DATA_DIR": str(state / "s3"),
            "S3_PERSIST": "1",
            "STATE_DIR": str(state),
            "TMPDIR": str(temporary),
        },
        directory=ROOT,
    )


def _bedrock(stack: Stack) -> Process:
    forward = {
        name: value for name, value in os.environ.items() if name.startswith("BEDROCK_FORWARD_")
    }
    return Process(
        stack.folder,
        "bedrock",
        stack.ports.bedrock,
        [str(toolchain.python_of(MINISTACK_VENV)), "-m", "localstack.bedrock"],
        {
            **clean_environment(),
            **forward,
            "BEDROCK_HOST": "0.0.0.0" if uses_localstack() else HOST,  # noqa: S104  # containers
            "BEDROCK_GATEWAY_URL": stack.gateway_url,
            "BEDROCK_PORT": str(stack.ports.bedrock),
        },
        stop_seconds=5,
        directory=ROOT,
    )


def _providers(stack: Stack) -> Process:
    return Process(
        stack.folder,
        "providers",
        stack.ports.providers,
        [str(toolchain.python_of(MINISTACK_VENV)), "-m", "localstack.providers"],
        {
            **clean_environment(),
            "PROVIDERS_HOST": HOST,
            "PROVIDERS_PORT": str(stack.ports.providers),
        },
        stop_seconds=5,
        directory=ROOT,
    )


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False


def _start_processes(stack: Stack) -> None:
    if not uses_localstack():
        for process in (
            _gateway(stack),
            _postgres(stack).process,
            _bedrock(stack),
            _providers(stack),
        ):
            process.require_port()
    with step("start the Bedrock stand-in"):
        _bedrock(stack).start(lambda: _answers(f"{stack.bedrock_url}/health"))
    with step("start the stand-ins of Slack, GitLab, Backlog and Brave Search"):
        _providers(stack).start(lambda: _answers(f"{stack.providers_url}/health"))
    if uses_localstack():
        with step("start LocalStack"):
            compose.start(stack)
        return
    with step("start PostgreSQL"):
        _postgres(stack).start()
    with step("start the gateway (MiniStack)"):
        gateway = _gateway(stack)
        if gateway.pid is None:
            # Unpacked code and layers of workers that are gone.
            shutil.rmtree(stack.temporary, ignore_errors=True)
        stack.temporary.mkdir(parents=True, exist_ok=True)
        gateway.start(lambda: _answers(f"{stack.gateway_url}/_localstack/health"))


def _fingerprint(stack: Stack) -> str:
    """Of all that Terraform's result depends on."""
    files = [
        *sorted((ROOT / "terraform").rglob("*.tf")),
        *sorted((ROOT / "terraform/environments/local").iterdir()),
        *sorted((ROOT / "statemachines").glob("*.json")),
        *sorted((ROOT / ".build" / host_architecture()).rglob("*.zip")),
    ]
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(ROOT)}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    digest.update(json.dumps(terraform.variables(stack, host_architecture())).encode())
    return digest.hexdigest()


def _applied(stack: Stack) -> dict[str, Any]:
    """What the last apply left: its `fingerprint` and Terraform's `outputs`, or nothing.

    A part of it lies in the gateway, so one that lost its state has lost this too: S3, where
    Terraform's state is, survives a gateway that is killed, and other services only for the most.
    """
    try:
        mark = _session(stack).client("ssm").get_parameter(Name=_MARK)["Parameter"]["Value"]
        found: dict[str, Any] = json.loads(_applied_file(stack).read_text(encoding="utf-8"))
    except (ClientError, FileNotFoundError):
        return {}
    return found if found["fingerprint"] == mark else {}


def _applied_file(stack: Stack) -> Path:
    return stack.folder / "applied.json"


def _apply(stack: Stack) -> dict[str, Any]:
    """Terraform's outputs, after an apply unless nothing has changed since the last one."""
    fingerprint = _fingerprint(stack)
    applied = _applied(stack)
    if applied.get("fingerprint") == fingerprint:
        outputs: dict[str, Any] = applied["outputs"]
        return outputs
    _applied_file(stack).unlink(missing_ok=True)
    session = _session(stack)
    session.client("s3", config=Config(s3={"addressing_style": "path"})).create_bucket(
        Bucket=terraform.STATE_BUCKET
    )
    with step("terraform init"):
        terraform.initialize(stack)
    with step("terraform apply") as report:
        terraform.apply(stack, host_architecture(), report)
        outputs = terraform.outputs(stack)
    session.client("ssm").put_parameter(
        Name=_MARK, Value=fingerprint, Type="String", Overwrite=True
    )
    text = json.dumps({"fingerprint": fingerprint, "outputs": outputs})
    _applied_file(stack).write_text(text, encoding="utf-8")
    return outputs


def _migrate(stack: Stack, outputs: dict[str, Any]) -> None:
    for event in ({"action": "up"}, {"action": "create_administrator", **seed.ADMINISTRATOR}):
        _invoke_migrate(stack, outputs["function_names"]["migrate"], event)


def _invoke_migrate(stack: Stack, function: str, event: dict[str, Any]) -> Any:
    try:
        return migration.invoke(function, event, _session(stack))
    except migration.MigrationFailed as error:
        raise StackError(f"the database: {error} (more by make logs)") from error


def _outputs_file(stack: Stack) -> Path:
    return stack.folder / "outputs.json"


def install() -> None:
    """The interpreters of the stack's processes, where they are not there yet."""
    for venv in toolchain.missing():
        with step(f"install the interpreter .local/{venv.name}"):
            toolchain.install(venv)


def up(stack: Stack) -> None:
    """Bring the whole stack up; safe and quick to run again."""
    started = time.monotonic()
    terraform.require()
    install()
    stack.folder.mkdir(parents=True, exist_ok=True)
    _start_processes(stack)
    with step("build the functions and layers"):
        build(host_architecture(), ROOT / ".build")
    applied = _apply(stack)
    with step("migrate the database"):
        _migrate(stack, applied)
    with step("seed an administrator, a workspace and a chatbot"):
        seeded = seed.seed(applied["api_url"])
    with step("seed three sources, and read them"):
        seed.seed_sources(applied["api_url"], seeded["workspace_id"], stack.providers_url)
    outputs = {
        **applied,
        **seeded,
        "admin_email": seed.ADMINISTRATOR["email"],
        "admin_password": seed.ADMINISTRATOR["password"],
        "aws_region": REGION,
        "bedrock_url": stack.bedrock_url,
        "chat_state_machine_arn": applied["state_machine_arns"]["chat"],
        "gateway_url": stack.gateway_url,
        "providers_url": stack.providers_url,
        "stack": stack.name,
    }
    _outputs_file(stack).write_text(json.dumps(outputs, indent=2), encoding="utf-8")
    chat.Chat(outputs).first_answer(_FIRST_QUESTION)
    print(f"\nThe stack {stack.name!r} is up after {time.monotonic() - started:.0f} s:")
    for name in ("api_url", "websocket_url", "admin_email", "admin_password"):
        print(f"  {name:15} {outputs[name]}")


def down(stack: Stack) -> None:
    """Stop the processes; everything that they stored stays."""
    if not stack.folder.exists():
        return
    with step("stop the gateway, its Lambdas and the stand-ins"):
        faults.stop(stack)
        _gateway(stack).stop()
        _bedrock(stack).stop()
        _providers(stack).stop()
    if uses_localstack():
        compose.stop(stack)
    if toolchain.python_of(MINISTACK_VENV).exists():
        with step("stop PostgreSQL"):
            _postgres(stack).stop()
    shutil.rmtree(stack.temporary, ignore_errors=True)


def remove(stack: Stack) -> None:
    """Stop the stack and remove its folder."""
    down(stack)
    shutil.rmtree(stack.folder, ignore_errors=True)


def clean(stack: Stack) -> None:
    """Remove the stack; after the last one also what all of them share."""
    remove(stack)
    if LOCAL.exists() and set(LOCAL.iterdir()) <= {MINISTACK_VENV, LAMBDA_VENV}:
        shutil.rmtree(LOCAL)
    say(f"The stack {stack.name!r} is gone.")


def outputs(stack: Stack) -> dict[str, Any]:
    """What `make outputs` prints; the stack is brought up first if it does not run."""
    if not _answers(f"{stack.gateway_url}/_localstack/health") or not _outputs_file(stack).exists():
        up(stack)
    found: dict[str, Any] = json.loads(_outputs_file(stack).read_text(encoding="utf-8"))
    return found


def start_database(stack: Stack | None = None) -> None:
    """PostgreSQL alone, for tests of a database that was away."""
    _postgres(stack or current()).start()


def stop_database(stack: Stack | None = None) -> None:
    """Until it is started again the Data API answers `DatabaseResumingException`."""
    _postgres(stack or current()).stop()


def plan(stack: Stack) -> bool:
    """Print what an apply would change; tells whether anything."""
    build(host_architecture(), ROOT / ".build")
    if not terraform.is_initialized(stack):
        raise StackError(f"The stack {stack.name!r} was never up: run make up.")
    changes, text = terraform.plan(stack, host_architecture())
    print(text)
    return changes


def follow_logs(stack: Stack) -> None:
    """Print the functions' log lines as they come, until Ctrl-C."""
    names = {group: key for key, group in outputs(stack)["log_group_names"].items()}
    logs = _session(stack).client("logs")
    since = dict.fromkeys(names, int(time.time() * 1000) - 60_000)
    # Lines of the newest millisecond, of which others may yet come.
    printed: dict[str, set[tuple[str, str]]] = {group: set() for group in names}
    while True:
        lines = []
        for group, key in names.items():
            pages = logs.get_paginator("filter_log_events").paginate(
                logGroupName=group, startTime=since[group]
            )
            for event in (event for page in pages for event in page["events"]):
                line = (event["logStreamName"], event["message"])
                if line in printed[group]:
                    continue
                lines.append((event["timestamp"], key, event["message"].rstrip()))
                if event["timestamp"] > since[group]:
                    since[group], printed[group] = event["timestamp"], set()
                printed[group].add(line)
        for _, key, message in sorted(lines):
            print(f"{key:16} {message}", flush=True)
        time.sleep(1)


def _run_migration(stack: Stack, event: dict[str, Any]) -> None:
    function = outputs(stack)["function_names"]["migrate"]
    print(json.dumps(_invoke_migrate(stack, function, event), indent=2))


def _reindex(stack: Stack) -> None:
    function = outputs(stack)["function_names"]["embed"]
    try:
        restored = reindex.reindex(function, _session(stack))
    except migration.MigrationFailed as error:
        raise StackError(str(error)) from error
    print(f"{restored} documents restored")


def _print_environment(stack: Stack) -> None:
    """Lines for `eval`, so that AWS's command line reaches the stack."""
    for name, value in aws_environment(stack).items():
        print(f"export {name}={shlex.quote(value)}")


def _drift(stack: Stack) -> None:
    if plan(stack):
        raise StackError("The plan is not empty.")


COMMANDS: dict[str, Callable[[Stack], object]] = {
    "install": lambda _stack: install(),
    "up": up,
    "down": down,
    "remove": remove,
    "clean": clean,
    "outputs": lambda stack: print(json.dumps(outputs(stack))),
    "env": _print_environment,
    "chat": lambda stack: chat.talk(outputs(stack)),
    "logs": follow_logs,
    "plan": plan,
    "drift": _drift,
    "migrate": lambda stack: _run_migration(stack, {"action": "up"}),
    "rollback": lambda stack: _run_migration(stack, {"action": "down", "steps": 1}),
    "reindex": _reindex,
}


def main() -> None:
    """Run a command; an error of the person's own to mend is one line, and exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m localstack.stack", description=__doc__)
    parser.add_argument("command", choices=[*COMMANDS, "sweep", "terraform"])
    command, rest = parser.parse_known_args()
    try:
        stack = current()
        if command.command == "terraform":
            sys.exit(terraform.delegate(ROOT / ".build/terraform", rest))
        if command.command == "sweep":
            print(sweep.sweep(*sweep.arguments(rest), _session(stack)))
            return
        COMMANDS[command.command](stack)
    except (
        StackError,
        BotoCoreError,
        ClientError,
        requests.RequestException,
        sweep.SourceUnknown,
    ) as error:
        sys.exit(f"make {command.command}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
