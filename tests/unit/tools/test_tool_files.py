"""The files `tool.json`: what the registry, the machine and the model rely on."""

import json
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest

from chatbot.permissions import Permission

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / "functions").glob("tool_*/tool.json"))
FIELDS = {
    "name", "description", "input_schema", "permission", "timeout_seconds", "requires_approval",
}  # fmt: skip


def read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def test_every_tool_has_a_file_and_a_handler() -> None:
    folders = sorted(path.name for path in (ROOT / "functions").glob("tool_*"))
    assert folders == [
        "tool_backlog_create", "tool_backlog_search", "tool_knowledge_search", "tool_web_search",
    ]  # fmt: skip
    assert [file.parent.name for file in FILES] == folders
    assert all((file.parent / "handler.py").exists() for file in FILES)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_file_says_all_that_there_is_to_say(file: Path) -> None:
    row = read(file)
    assert set(row) == FIELDS
    assert f"tool_{row['name']}" == file.parent.name
    assert row["permission"] in get_args(Permission.__value__)
    assert 1 <= row["timeout_seconds"] <= 60
    assert row["description"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_schema_is_one_and_closed(file: Path) -> None:
    schema = read(file)["input_schema"]
    jsonschema.Draft202012Validator.check_schema(schema)
    assert (schema["type"], schema["additionalProperties"]) == ("object", False)
    assert all(field["description"] for field in schema["properties"].values())


def test_what_changes_something_waits_for_an_approval_and_asks_for_a_right_to_write() -> None:
    changing = {row["name"]: row for row in map(read, FILES) if row["requires_approval"]}
    assert set(changing) == {"backlog_create"}
    assert changing["backlog_create"]["permission"] == "documents:write"


@pytest.mark.parametrize(
    ("asked", "fits"),
    [
        ({"project_key": "OPS", "summary": "Repair gate 3"}, True),
        ({"project_key": "OPS_2", "summary": "門", "priority": "Low"}, True),
        ({"project_key": "ops", "summary": "x"}, False),
        ({"project_key": "OPS/../X", "summary": "x"}, False),
        ({"project_key": "OPS", "summary": ""}, False),
        ({"project_key": "OPS", "summary": "  "}, False),
        ({"project_key": "OPS", "summary": "two\nlines"}, False),
        ({"project_key": "OPS", "summary": "x" * 256}, False),
        ({"project_key": "OPS", "summary": "x", "priority": "Urgent"}, False),
        ({"project_key": "OPS", "summary": "x", "projectId": 1}, False),
        ({"summary": "x"}, False),
    ],
)
def test_input_of_a_new_issue_is_checked(asked: dict[str, Any], fits: bool) -> None:
    file = next(file for file in FILES if file.parent.name == "tool_backlog_create")
    assert jsonschema.Draft202012Validator(read(file)["input_schema"]).is_valid(asked) is fits
