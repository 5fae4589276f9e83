"""The sets of names that have to agree: folders, rows of Terraform, placeholders, settings."""

import json
import re
from pathlib import Path

import pytest

from chatbot.settings import Settings
from layers.build import function_names

ROOT = Path(__file__).parents[2]
TERRAFORM = ROOT / "terraform"
ENVIRONMENTS = ("local", "dev", "staging", "prod")


def text(name: str) -> str:
    return (TERRAFORM / name).read_text(encoding="utf-8")


def block(source: str, start: str) -> str:
    """What stands between the braces that `start` ends with one of."""
    begin = source.index(start) + len(start)
    depth = 1
    for end, character in enumerate(source[begin:], begin):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0:
            return source[begin:end]
    raise AssertionError(f"{start} does not end")


def keys(source: str, indent: int) -> list[str]:
    """The keys that stand at this indentation."""
    return re.findall(rf"^ {{{indent}}}(\w+) += ", source, re.MULTILINE)


FUNCTIONS = block(text("functions.tf"), "default = {")
MACHINES = sorted((ROOT / "statemachines").glob("*.asl.json"))


def test_every_function_is_a_folder_and_a_row() -> None:
    rows = keys(FUNCTIONS, 4)
    assert len(rows) == len(set(rows))
    assert sorted(rows) == function_names()


@pytest.mark.parametrize("machine", MACHINES, ids=lambda path: path.name)
def test_every_placeholder_is_a_function_a_machine_or_a_value(machine: Path) -> None:
    source = machine.read_text(encoding="utf-8")
    placeholders = set(re.findall(r"(?<!\$)\$\{(\w+)\}", source))
    assert placeholders
    machines = {f"{path.name.removesuffix('.asl.json')}_state_machine_arn" for path in MACHINES}
    values = {"jobs_table", "sweep_interval_seconds", "turns_table", "tool_arns"}
    assert placeholders <= {f"{name}_arn" for name in function_names()} | machines | values
    json.loads(source)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda path: path.name)
def test_role_of_a_machine_knows_its_tasks(machine: Path) -> None:
    used = set(
        re.findall(
            r'"arn:aws:states:::([a-z0-9-]+(?::[a-z0-9]+)?:[A-Za-z]+)',
            machine.read_text(encoding="utf-8"),
        )
    )
    known = re.findall(
        r'^    "([\w:-]+)" += \{ actions', text("modules/state_machine/main.tf"), re.MULTILINE
    )
    assert used
    assert used <= set(known)


def test_functions_get_the_variables_that_settings_ask_for() -> None:
    given = keys(block(text("functions.tf"), "environment = merge(\n    {"), 6)
    asked = {name.upper() for name in Settings._fields}
    # Which login's secret it is depends on the function.
    assert {*given, "DATABASE_SECRET_ARN"} == asked


def test_access_names_what_there_is_to_grant() -> None:
    tables = keys(block(text("tables.tf"), "tables = {"), 4)
    grants = {*tables, *keys(block(text("access.tf"), "grants = merge("), 6)}
    asked = set()
    for access in re.findall(r"access\s+= \{(.*?)\}", FUNCTIONS, re.DOTALL):
        asked |= set(re.findall(r'(\w+)\s+= "', access))
    assert asked
    assert asked <= grants


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_environment_sets_only_variables_that_there_are(environment: str) -> None:
    declared = set(re.findall(r'^variable "(\w+)"', text("variables.tf"), re.MULTILINE))
    values = text(f"environments/{environment}/terraform.tfvars")
    assert re.search(rf'^environment += "{environment}"$', values, re.MULTILINE)
    assert set(keys(values, 0)) <= declared


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_environment_has_a_state_of_its_own(environment: str) -> None:
    backend = text(f"environments/{environment}/backend.hcl")
    assert re.search(rf'^bucket += "chatbot-{environment}-terraform"$', backend, re.MULTILINE)
    assert "127.0.0.1" not in backend


def test_every_alarm_has_a_line_in_the_runbook() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = "".join(re.findall(r"^\| (`.*?) \|", readme, re.MULTILINE))
    runbook = set(re.findall(r"`([\w…-]+)`", rows))
    row = re.compile(r"^ +([a-z]+(?:-[a-z]+)+|throttled) += \{", re.MULTILINE)
    alarms = set(row.findall(text("alarms.tf")))
    machines = {"delete-source-failed", "end-ingestion-failed"}
    purges = {"purge-failed", "purge-timed-out", "purge-aborted"}
    assert len(alarms) > 10
    assert (alarms - {"timed-out"}) | machines | purges | {"errors-…"} == runbook
