"""Every state machine: the language, this project's rules for it, and its expressions."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import jsonata
import pytest
from statelint.linter import Linter

from chatbot.identifiers import created_at, now_ms, time_ms

ROOT = Path(__file__).parents[2]
MACHINES = sorted((ROOT / "statemachines").glob("*.asl.json"))
EXPRESSION = re.compile(r"\{% (.*) %\}", re.DOTALL)
FUNCTIONS = {path.parent.name for path in (ROOT / "functions").glob("*/handler.py")}
TOOLS = "{'web_search': 'arn:aws:lambda:eu-west-1:123456789012:function:tool_web_search'}"
VALUES = {
    "jobs_table": "jobs",
    "sweep_interval_seconds": "60",
    "turns_table": "turns",
    "tool_arns": TOOLS,
}


def template(path: Path) -> dict[str, Any]:
    machine: dict[str, Any] = json.loads(path.read_text())
    return machine


def rendered(path: Path) -> str:
    """The machine as Terraform renders it: ARNs of functions and machines, and values."""

    def value(placeholder: re.Match[str]) -> str:
        if placeholder[1] in VALUES:
            return VALUES[placeholder[1]]
        name = placeholder[1].removesuffix("_arn")
        if name.endswith("_state_machine"):
            machine = name.removesuffix("_state_machine")
            assert (ROOT / f"statemachines/{machine}.asl.json").exists()
            return f"arn:aws:states:eu-west-1:123456789012:stateMachine:{machine}"
        assert name in FUNCTIONS
        return f"arn:aws:lambda:eu-west-1:123456789012:function:{name}"

    return re.sub(r"(?<!\$)\$\{(\w+)\}", value, path.read_text())


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
    # "Seconds … you can also specify a JSONata expression" (Developer Guide, Wait state): the
    # linter takes only numbers; so of time-outs.
    known = re.compile(r'.*\.(Timeout)?Seconds is "\{% .* %\}" but should be an Integer')
    found = Linter.validate(rendered(machine))
    assert [fault for fault in found if not known.fullmatch(fault)] == []


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
    match task["TimeoutSeconds"]:
        case int(seconds):
            assert 0 < seconds <= 900
        case seconds:
            [expression] = expressions(seconds)
            assert expression in {
                "$states.input.timeout_seconds",
                "$states.input.approval_timeout_seconds",
            }
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
    "rounds": 1,
    "calls": [{"call": -101}],
    "call": -101,
    "tool": "web_search",
    "requires_approval": True,
    "timeout_seconds": 20,
    "approval_timeout_seconds": 600,
    "kind": "user",
    "id": "u",
    "cursor": "",
    "has_more": True,
    "workspace_id": "w",
    "source_id": "s",
    "provider": "slack",
    "config": {},
    "trigger": "schedule",
    "detail": {"name": "j", "executionArn": "e", "input": '{"source_id": "s"}'},
}
VARIABLES = {
    "source": {"workspace_id": "w", "source_id": "s", "provider": "slack", "config": {}},
    "job": {
        "id": "j",
        "at": 1,
        "created_at": "t",
        "trigger": "schedule",
        "sweep": False,
        "max_deleted_percent": 0,
    },
    "lock": {"source_id": {"S": "s"}, "holder": {"S": "f"}, "lease_until": {"N": "1"}},
    "page": {
        "has_more": True,
        "wait_seconds": 0,
        "retry_after_seconds": 0,
        "pages": 1,
        "counts": {"fetched": 1},
        "sweep_due": True,
    },
    "is_sweeping": True,
    "outcome": {"status": "succeeded", "error": "", "goes_on": False},
    "problem": {"Error": "BadInput", "Cause": '{"errorMessage": "no credentials"}'},
    "died": {"name": "j", "executionArn": "e", "status": "ABORTED"},
    "fetch": "arn:aws:lambda:eu-west-1:123456789012:function:ingest_slack",
}


def evaluate(expression: str, **variables: Any) -> Any:
    """The expression's value, with the functions that Step Functions adds."""
    frame = jsonata.Jsonata(expression)
    frame.register_lambda("uuid", lambda: str(uuid4()))
    frame.register_lambda("parse", json.loads)
    values = {
        **VARIABLES,
        **variables,
        "states": {
            "input": INPUTS,
            "result": {
                "Payload": {"message_id": "m", "request_id": "r"},
                "StatusCode": 200,
                "Item": {"source_id": {"S": "s"}},
            },
            "errorOutput": {"Error": "RetryLater", "Cause": "{}"},
            "context": {
                "Execution": {"Id": "e", "Name": "m", "Input": INPUTS},
                "Task": {"Token": "t"},
            },
        },
    }
    for name, value in values.items():
        frame.assign(name, value)
    return frame.evaluate(None)


def test_every_expression_has_a_value_when_evaluated(machine: Path) -> None:
    found = list(expressions(json.loads(rendered(machine))))
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


INGEST = json.loads(rendered(ROOT / "statemachines/ingest_source.asl.json"))["States"]


def following(choice: str, **variables: Any) -> tuple[str, dict[str, Any]]:
    """The state after a Choice with these variables, and what is assigned on the way."""
    state = INGEST[choice]
    for rule in state["Choices"]:
        [condition] = expressions(rule["Condition"])
        if evaluate(condition, **variables) is True:
            return rule["Next"], assigned(rule, **variables)
    return state["Default"], assigned(state, **variables)


def assigned(state: Any, **variables: Any) -> Any:
    """What a state's Assign gives, expressions evaluated."""

    def value(template: Any) -> Any:
        if isinstance(template, dict):
            return {name: value(inner) for name, inner in template.items()}
        found = list(expressions(template))
        return evaluate(found[0], **variables) if found else template

    return value(state.get("Assign", {}))


def page(**fields: Any) -> dict[str, Any]:
    return {
        "has_more": False,
        "retry_after_seconds": 0,
        "pages": 1,
        "counts": {},
        "sweep_due": False,
        "error": None,
        **fields,
    }


def begun(minutes_ago: float = 0) -> dict[str, Any]:
    return {"id": "j", "at": now_ms() - int(minutes_ago * 60_000), "sweep": True}


@pytest.mark.parametrize(
    ("page_", "is_sweeping", "minutes", "state"),
    [
        (page(has_more=True), False, 0, "FetchPages"),
        (page(has_more=True, retry_after_seconds=5), False, 0, "WaitForRateLimit"),
        (page(has_more=True, pages=199), False, 29, "FetchPages"),
        (page(has_more=True, pages=200), False, 0, "FinishJob"),
        (page(has_more=True), False, 30.1, "FinishJob"),
        (page(has_more=True, retry_after_seconds=1200), False, 15, "FinishJob"),
        (page(), False, 40, "FinishJob"),
        (page(sweep_due=True), False, 0, "SweepDeleted"),
        (page(sweep_due=True), False, 40, "SweepDeleted"),
        (page(sweep_due=True, has_more=True), True, 0, "SweepDeleted"),
        (page(sweep_due=True), True, 0, "FinishJob"),
    ],
)
def test_run_goes_on_to_state_after_a_page(
    page_: dict[str, Any], is_sweeping: bool, minutes: float, state: str
) -> None:
    name, _ = following("HasMorePages", page=page_, is_sweeping=is_sweeping, job=begun(minutes))
    assert name == state


@pytest.mark.parametrize(
    ("page_", "status", "error", "goes_on"),
    [
        (page(), "succeeded", "", False),
        (page(error="the listing broke"), "partial", "the listing broke", False),
        (page(has_more=True, pages=200), "partial", "", True),
        (page(has_more=True, pages=200, retry_after_seconds=9), "partial", "", False),
    ],
)
def test_run_ends_as_its_last_page_says(
    page_: dict[str, Any], status: str, error: str, goes_on: bool
) -> None:
    name, given = following("HasMorePages", page=page_, is_sweeping=False, job=begun())
    assert name == "FinishJob"
    assert given["outcome"] == {"status": status, "error": error, "goes_on": goes_on}


def test_job_by_schedule_gets_an_id_in_the_order_of_time() -> None:
    before = now_ms()
    job = assigned(INGEST["NameJob"])["job"]
    assert UUID(job["id"]).version == 7
    assert before <= time_ms(job["id"]) == job["at"] <= now_ms()
    assert job["created_at"] == created_at(job["id"])


@pytest.mark.parametrize(
    ("lock", "state"),
    [
        ({}, "TakeLock"),
        ({"holder": {"S": "other"}, "lease_until": {"N": "1"}}, "TakeLock"),
        ({"holder": {"S": "other"}, "lease_until": {"N": "9" * 13}}, "AnotherRunIsOn"),
        ({"holder": {"S": "j"}, "lease_until": {"N": "9" * 13}}, "TakeLock"),
        ({"deleting": {"BOOL": True}}, "ResumeRemoval"),
    ],
)
def test_run_begins_only_on_a_free_source(lock: dict[str, Any], state: str) -> None:
    assert following("IsSourceFree", lock=lock, job=begun())[0] == state


@pytest.mark.parametrize(
    ("lock", "sweeps"),
    [
        ({}, True),
        ({"swept_at": {"N": "0"}}, True),
        ({"swept_at": {"N": str(10**13)}}, False),
    ],
)
def test_run_by_schedule_sweeps_when_the_last_sweep_is_old(
    lock: dict[str, Any], sweeps: bool
) -> None:
    job = begun() | {"sweep": False}
    assert assigned(INGEST["TakeLock"], lock=lock, job=job)["job"]["sweep"] is sweeps


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        ({"Error": "BadInput", "Cause": '{"errorMessage": "the token is wrong"}'}, "the token is"),
        ({"Error": "KeyError", "Cause": '{"errorMessage": "secret"}'}, "The run failed: KeyError."),
        ({"Error": "States.Timeout"}, "The run failed: States.Timeout."),
    ],
)
def test_failed_job_says_why_and_shows_only_texts_of_our_own(
    problem: dict[str, str], text: str
) -> None:
    items = INGEST["FailJob"]["Arguments"]["TransactItems"]
    for item in items:
        [expression] = expressions(item["Update"]["ExpressionAttributeValues"][":error"]["S"])
        assert evaluate(expression, problem=problem).startswith(text)


def test_unknown_provider_fails_the_job() -> None:
    name, given = following("WhichProvider", source={"provider": "jira"})
    assert name == "FailJob"
    assert given["problem"]["Error"] == "BadInput"


def test_every_ingestion_function_is_a_branch() -> None:
    branches = {
        assigned(rule)["fetch"].rpartition(":")[2] for rule in INGEST["WhichProvider"]["Choices"]
    }
    assert branches == {name for name in FUNCTIONS if name.startswith("ingest_")}
