"""What a chatbot may be; the statements run in tests/integration/database."""

import os
import subprocess
import sys
from typing import Any

import pytest

from functions.chatbots.handler import handler
from tests.unit.conftest import FakeDatabase
from tests.unit.rest import ALICE, WORKSPACE_A, Answer, event, send

PATH = f"/api/v1/workspaces/{WORKSPACE_A}/chatbots"
ROW = {"id": "0190cccc-0000-7000-8000-00000000000c", "version": 1, "name": "a"}


@pytest.fixture(autouse=True)
def stores(cloud: None, database: FakeDatabase) -> None:
    """Counters in DynamoDB, answers from the fake database."""


def ask(method: str, path: str, body: Any = None) -> Answer:
    return send(handler, event(method, path, body))


WRONG: dict[str, dict[str, Any]] = {
    "empty name": {"name": ""},
    "long name": {"name": "x" * 201},
    "long description": {"description": "x" * 2001},
    "long prompt": {"system_prompt": "x" * 20_001},
    "unknown model": {"model_id": "anthropic.claude-opus"},
    "model of no region": {"model_id": "anthropic.claude-sonnet-4-20250514-v1:0"},
    "hot": {"temperature": 1.01},
    "cold": {"temperature": -0.1},
    "temperature as text": {"temperature": "0.5"},
    "temperature null": {"temperature": None},
    "top_p too large": {"top_p": 2},
    "no tokens": {"max_tokens": 0},
    "too many tokens": {"max_tokens": 64_001},
    "half a token": {"max_tokens": 1.5},
    "unknown tool": {"tools": ["rm_rf"]},
    "tools as text": {"tools": "web_search"},
    "no round": {"max_tool_rounds": 0},
    "11 rounds": {"max_tool_rounds": 11},
    "top_k 0": {"knowledge": {"top_k": 0}},
    "top_k 21": {"knowledge": {"top_k": 21}},
    "sources without ids": {"knowledge": {"source_ids": ["all"]}},
    "unknown in knowledge": {"knowledge": {"depth": 1}},
    "knowledge null": {"knowledge": None},
    "switch as number": {"is_active": 1},
    "id": {"id": ROW["id"]},
    "workspace": {"workspace_id": WORKSPACE_A},
    "version": {"version": 7},
}


@pytest.mark.parametrize("name", WRONG)
def test_chatbot_is_refused_when_it_has(name: str, database: FakeDatabase) -> None:
    for method, path in (("POST", PATH), ("PATCH", f"{PATH}/{ROW['id']}")):
        answer = ask(method, path, {"name": "a"} | WRONG[name])
        assert answer.status == 422
        [field] = WRONG[name]
        assert answer.json["errors"][0]["loc"][1] == field
    assert database.asked == []


TEMPLATES = {
    "open tag": "{% if user %}",
    "open braces": "Hello {{ user.full_name",
    "unknown tag": "{% frobnicate %}",
    "unknown filter": "{{ user | frobnicate }}",
    "unknown test": "{{ user is frobnicated }}",
    "no expression": "{{ }}",
    "loads another": "{% include 'other' %}",
    "extends another": "{% extends 'other' %}",
    "imports another": "{% import 'other' as other %}",
    "a block twice": "{% block a %}{% endblock %}{% block a %}{% endblock %}",
    "deep": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_prompt_is_refused_when_it_does_not_compile(name: str, database: FakeDatabase) -> None:
    answer = ask("POST", PATH, {"name": "a", "system_prompt": TEMPLATES[name]})
    assert answer.status == 422
    assert answer.json["errors"][0]["loc"] == ["body", "system_prompt"]
    assert database.asked == []


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "Plain { text } with %} and }}",
        "{{ user.full_name }} at {{ workspace.name }}, {{ now.year }}",
        "{% for i in range(10 ** 12) %}{% endfor %}",
        "{{ 'x' * 10 ** 12 }}",
        "{{ 'x' | center(10 ** 12) }}",
        "{{ 9 ** 9 ** 9 ** 9 }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ 7 * 7 }}\n",
    ],
)
def test_prompt_is_only_compiled_and_stored_as_it_is(prompt: str, database: FakeDatabase) -> None:
    database.answers = [ROW]
    assert ask("POST", PATH, {"name": "a", "system_prompt": prompt}).status == 201
    assert database.asked[0]["params"]["system_prompt"] == prompt


def test_routes_ask_for_their_permissions(database: FakeDatabase) -> None:
    one = f"{PATH}/{ROW['id']}"
    expected = {
        ("GET", PATH): "chatbots:read",
        ("GET", one): "chatbots:read",
        ("POST", PATH): "chatbots:write",
        ("PATCH", one): "chatbots:write",
        ("DELETE", one): "chatbots:write",
    }
    for (method, path), permission in expected.items():
        database.answers = [{**ROW, "items": [], "more": False} if path == PATH else ROW]
        body = {"name": "a"} if method in ("POST", "PATCH") else None
        assert ask(method, path, body).status < 300
        asked = database.asked.pop()
        assert (asked["permission"], asked["workspace_id"]) == (permission, WORKSPACE_A)
        assert asked["caller"] == ALICE


def test_pydantic_and_jinja2_stay_out_of_a_request_without_a_body() -> None:
    code = "import sys, functions.chatbots.handler; print({'pydantic', 'jinja2'} & {*sys.modules})"
    path = os.pathsep.join(sys.path)
    answer = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert answer.stdout.strip() == "set()"


def test_models_are_listed_in_the_order_of_the_setting(database: FakeDatabase) -> None:
    path = f"/api/v1/workspaces/{WORKSPACE_A}/models"
    database.answers = [True] * 4
    whole = ask("GET", path).json
    assert whole["next_cursor"] is None
    assert [model["model_id"] for model in whole["items"]] == [
        "eu.anthropic.claude-sonnet-4-20250514-v1:0",
        "amazon.nova-lite-v1:0",
    ]
    assert whole["items"][1] == {
        "model_id": "amazon.nova-lite-v1:0",
        "name": "Amazon Nova Lite",
        "input_price": "0.06",
        "output_price": "0.24",
        "max_tokens": 10000,
    }
    assert database.asked[0]["permission"] == "chatbots:read"
    first = send(handler, event("GET", path, query={"limit": "1"})).json
    rest = send(handler, event("GET", path, query={"limit": "1", "cursor": first["next_cursor"]}))
    assert first["items"] + rest.json["items"] == whole["items"]
    assert rest.json["next_cursor"] is None
