"""Each function's role holds what its code reaches, and nothing that it does not.

The local stack enforces no IAM, so the code is read: from the handler along every name that is
used, through the function's own modules and the shared ones, down to the settings that name
resources. A class counts as a whole.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from layers.build import function_names

ROOT = Path(__file__).parents[2]
SHARED = ROOT / "layers/shared/python"

# Setting that names a resource, or client of a service without one, to its key in `access`.
RESOURCES = {
    "bedrock-runtime": "bedrock",
    "chat_state_machine_arn": "chat_state_machine",
    "connections_table": "connections",
    "conversations_table": "conversations",
    "database_cluster_arn": "database",
    "documents_bucket": "document_texts",
    "documents_table": "documents",
    "embed_dead_letter_queue_url": "embed_dead_letter",
    "feedback_table": "feedback",
    "guards_table": "guards",
    "ingest_state_machine_arn": "ingest_state_machine",
    "jobs_table": "jobs",
    "mail_queue_url": "mail",
    "opensearch_endpoint": "opensearch",
    "mail_sender": "mail_sender",
    "purge_state_machine_arn": "purge_state_machine",
    "remove_state_machine_arn": "remove_state_machine",
    "signing_secret_arn": "signing_secret",
    "source_schedule_group": "source_schedules",
    "source_secret_prefix": "source_secrets",
    "turn_watch_queue_url": "turn_watch",
    "turns_table": "turns",
    "usage_table": "usage",
    "web_search_secret_arn": "web_search_secret",
    "websocket_callback_url": "websocket",
}

type Name = tuple[str, str]  # module and what it defines


def _path(module: str) -> Path | None:
    for root in (SHARED, ROOT):
        path = root / f"{module.replace('.', '/')}.py"
        if path.exists():
            return path
    return None


@cache
def _module(module: str) -> tuple[dict[str, Name], dict[str, list[ast.stmt]]]:
    """What a module imports of ours (an empty name: all of it), and its statements by name."""
    path = _path(module)
    assert path is not None
    imported: dict[str, Name] = {}
    defined: dict[str, list[ast.stmt]] = {}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            ("chatbot", "functions")
        ):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                imported[alias.asname or alias.name] = (
                    (whole, "") if _path(whole) else (str(node.module), alias.name)
                )
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            names = [statement.name]
        elif isinstance(statement, ast.Assign):
            names = [target.id for target in statement.targets if isinstance(target, ast.Name)]
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            names = [statement.target.id]
        else:
            names = [""]
        for name in names:
            defined.setdefault(name, []).append(statement)
    return imported, defined


def _used(module: str, statement: ast.stmt) -> Iterator[Name]:
    imported, defined = _module(module)
    for node in ast.walk(statement):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            target = imported.get(node.value.id)
            if target and not target[1]:
                yield target[0], node.attr
        if isinstance(node, ast.Name):
            if node.id in defined:
                yield module, node.id
            elif node.id in imported and imported[node.id][1]:
                yield imported[node.id]


def _resources(statement: ast.stmt) -> Iterator[str]:
    for node in ast.walk(statement):
        if isinstance(node, ast.Attribute) and node.attr in RESOURCES:
            yield RESOURCES[node.attr]
        if isinstance(node, ast.Constant) and node.value in RESOURCES:
            yield RESOURCES[str(node.value)]


def reached(function: str) -> set[str]:
    """The resources that a function's code may get to."""
    handler = f"functions.{function}.handler"
    waiting: list[Name] = [(handler, name) for name in _module(handler)[1]]
    seen: set[Name] = set()
    found: set[str] = set()
    while waiting:
        module, name = waiting.pop()
        if (module, name) in seen or module == "chatbot.settings":
            continue
        seen.add((module, name))
        for statement in _module(module)[1].get(name, []):
            found |= set(_resources(statement))
            waiting.extend(_used(module, statement))
    return found


def consumed(function: str) -> set[str]:
    """The queues whose messages bring the function to work."""
    mapping = re.compile(
        r'resource "aws_lambda_event_source_mapping".*?aws_sqs_queue\.(\w+)\.arn'
        r'.*?module\.function\["(\w+)"\]',
        re.DOTALL,
    )
    files = sorted((ROOT / "terraform").glob("*.tf"))
    pairs = [pair for file in files for pair in mapping.findall(file.read_text(encoding="utf-8"))]
    return {queue for queue, consumer in pairs if consumer == function}


def rotated(function: str) -> set[str]:
    """The secret that Secrets Manager names when it calls the function to renew it."""
    rotation = re.compile(
        r'resource "aws_secretsmanager_secret_rotation".*?aws_secretsmanager_secret\.(\w+)\.id'
        r'.*?module\.function\["(\w+)"\]',
        re.DOTALL,
    )
    text = (ROOT / "terraform/secrets.tf").read_text(encoding="utf-8")
    return {f"{secret}_secret" for secret, renewer in rotation.findall(text) if renewer == function}


@cache
def granted() -> dict[str, set[str]]:
    """The keys of `access` of each row of terraform/functions.tf."""
    text = (ROOT / "terraform/functions.tf").read_text(encoding="utf-8")
    rows = re.split(r"^    (\w+) = \{$", text, flags=re.MULTILINE)
    return {
        name: set(re.findall(r'(\w+) += "', match[1])) | _of_every_tool(name)
        for name, row in zip(rows[1::2], rows[2::2], strict=True)
        if (match := re.search(r"access += \{(.*?)\}", row, re.DOTALL))
    }


def _of_every_tool(function: str) -> set[str]:
    """What terraform/tools.tf gives each tool beside its own row."""
    if not function.startswith("tool_"):
        return set()
    text = (ROOT / "terraform/tools.tf").read_text(encoding="utf-8")
    match = re.search(r"tool_access = \{(.*?)\}", text, re.DOTALL)
    assert match
    return set(re.findall(r'(\w+) += "', match[1]))


@pytest.mark.parametrize("function", function_names())
def test_role_holds_what_the_code_reaches_and_nothing_else(function: str) -> None:
    assert granted()[function] == reached(function) | consumed(function) | rotated(function)
