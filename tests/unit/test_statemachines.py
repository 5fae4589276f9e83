"""Every state machine: the language, this project's rules for it, and its expressions."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonata
import pytest
from statelint.linter import Linter

ROOT = Path(__file__).parents[2]
MACHINES = sorted((ROOT / "statemachines").glob("*.asl.json"))
EXPRESSION = re.compile(r"\{% (.*) %\}", re.DOTALL)
FUNCTIONS = {path.parent.name for path in (ROOT / "functions").glob("*/handler.py")}


def template(path: Path) -> dict[str, Any]:
    machine: dict[str, Any] = json.loads(path.read_text())
    return machine


def rendered(path: Path) -> str:
    """The machine as Terraform renders it: an ARN for every `${<function>_arn}`."""

    def arn(placeholder: re.Match[str]) -> str:
        name = placeholder[1].removesuffix("_arn")
        assert name in FUNCTIONS
        return f"arn:aws:lambda:eu-west-1:123456789012:function:{name}"

    return re.sub(r"(?<!\$)\$\{(\w+)\}", arn, path.read_text())


def states(machine: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """All states by name, those of maps and branches too."""
    for name, state in machine["States"].items():
        yield name, state
        for inner in [state.get("ItemProcessor"), *state.get("Branches", [])]:
            if inner:
                yield from states(inner)


def tasks() -> list[Any]:
    return [
        pytest.param(state, id=f"{path.name}:{name}")
        for path in MACHINES
        for name, state in states(template(path))
        if state["Type"] == "Task"
    ]


def expressions(value: Any) -> Iterator[str]:
    match value:
        case dict():
            for inner in value.values():
                yield from expressions(inner)
        case list():
            for inner in value:
                yield from expressions(inner)
        case str() if "{%" in value:
            match = EXPRESSION.fullmatch(value)
            assert match, f"not one whole expression with its spaces: {value}"
            yield match[1]


@pytest.fixture(params=MACHINES, ids=lambda path: path.name)
def machine(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_language_is_right_when_rendered(machine: Path) -> None:
    assert Linter.validate(rendered(machine)) == []


def test_names_are_pascal_case_and_short(machine: Path) -> None:
    for name, state in states(template(machine)):
        assert re.fullmatch(r"([A-Z][a-z0-9]+)+", name)
        assert len(name) <= 80
        if state["Type"] == "Choice":
            assert re.match(r"(Did|Does|Do|Has|Have|Is|Are|Should|Was|Which|How)[A-Z]", name)


def test_failures_never_end_in_success(machine: Path) -> None:
    for _, state in states(template(machine)):
        for catch in state.get("Catch", []):
            target = template(machine)["States"].get(catch["Next"])
            assert target is None or target["Type"] != "Succeed"


@pytest.mark.parametrize("task", tasks())
def test_task_has_a_time_out_retries_of_named_errors_and_a_catch(task: dict[str, Any]) -> None:
    assert 0 < task["TimeoutSeconds"] <= 900
    for retry in task["Retry"]:
        assert "States.ALL" not in retry["ErrorEquals"]
        assert retry["JitterStrategy"] == "FULL"
        assert retry["BackoffRate"] > 1
        assert retry["MaxDelaySeconds"] * retry["MaxAttempts"] < 60
    assert task["Retry"]
    assert task["Catch"][-1]["ErrorEquals"] == ["States.ALL"]


INPUTS = {
    "message_id": "m",
    "conversation_id": "c",
    "request_id": "r",
    "status": "failed",
    "kind": "user",
    "id": "u",
    "cursor": "",
    "has_more": True,
}


def evaluate(expression: str) -> Any:
    frame = jsonata.Jsonata(expression)
    values = {
        "states": {
            "input": INPUTS,
            "result": {"Payload": {"message_id": "m", "request_id": "r"}, "StatusCode": 200},
            "errorOutput": {"Error": "RetryLater", "Cause": "{}"},
            "context": {"Execution": {"Name": "m", "Input": INPUTS}},
        }
    }
    for name, value in values.items():
        frame.assign(name, value)
    return frame.evaluate(None)


def test_every_expression_has_a_value_when_evaluated(machine: Path) -> None:
    found = list(expressions(template(machine)))
    assert found
    for expression in found:
        assert evaluate(expression) is not None, expression


def test_turn_fails_when_chat_end_says_so() -> None:
    choice = template(ROOT / "statemachines/chat.asl.json")["States"]["DidTurnFail"]["Choices"][0]
    condition = EXPRESSION.fullmatch(choice["Condition"])
    assert condition
    assert evaluate(condition[1]) is True
    assert evaluate(condition[1].replace("'failed'", "'completed'")) is False


def test_catch_hands_on_what_chat_end_needs() -> None:
    stream = template(ROOT / "statemachines/chat.asl.json")["States"]["StreamAnswer"]
    output = {
        name: evaluate(next(expressions(value)))
        for name, value in stream["Catch"][0]["Output"].items()
    }
    assert output == {"message_id": "m", "request_id": "r", "error": "RetryLater"}


@pytest.mark.parametrize(
    ("kind", "waits"),
    [("conversation", False), ("user", True), ("workspace", True), ("due", False)],
)
def test_purge_waits_for_requests_when_others_may_still_write(kind: str, waits: bool) -> None:
    states = template(ROOT / "statemachines/purge.asl.json")["States"]
    condition = EXPRESSION.fullmatch(states["ShouldWaitForRequests"]["Choices"][0]["Condition"])
    assert condition
    frame = jsonata.Jsonata(condition[1])
    frame.assign("states", {"input": {"kind": kind}})
    assert frame.evaluate(None) is waits
    assert states["WaitForRequests"]["Seconds"] > 29  # API Gateway's longest request


def test_retries_leave_time_to_end_the_turn_within_a_minute() -> None:
    """At most: the lease outlives every wait, and all waits together leave time for the calls."""
    from chatbot import turns

    stream = template(ROOT / "statemachines/chat.asl.json")["States"]["StreamAnswer"]
    for retry in stream["Retry"]:
        waits = [
            min(retry["IntervalSeconds"] * retry["BackoffRate"] ** n, retry["MaxDelaySeconds"])
            for n in range(retry["MaxAttempts"])
        ]
        assert sum(waits) <= 15
        assert max(waits) < turns.LEASE_MS / 1000
