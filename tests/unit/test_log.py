"""Log lines: a code each, a literal message, and metrics in the form that CloudWatch reads."""

import ast
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatbot import log

ROOT = Path(__file__).parents[2]
SOURCES = [
    *sorted((ROOT / "functions").rglob("*.py")),
    *sorted((ROOT / "layers/shared/python/chatbot").rglob("*.py")),
]
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def _calls(source: str) -> Iterator[ast.Call]:
    """The calls that write a line: `log.logger().info(…)`, `logger().info(…)`."""
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in LEVELS
            and ast.unparse(node.func.value).endswith("logger()")
        ):
            yield node


def _faults(source: str) -> list[str]:
    wrong = []
    for call in _calls(source):
        codes = [ast.unparse(each.value) for each in call.keywords if each.arg == "code"]
        if not codes or not re.fullmatch(r"(log\.)?Code\.[A-Z_]+", codes[0]):
            wrong.append(f"no code: {ast.unparse(call)}")
        if len(call.args) != 1 or not isinstance(call.args[0], ast.Constant):
            wrong.append(f"the message is no literal: {ast.unparse(call)}")
    return wrong + [
        f"past the logger: {ast.unparse(node)}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
    ]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_line_has_a_code_and_a_literal_message(path: Path) -> None:
    assert _faults(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        'log.logger().info("done")',
        'log.logger().info("done", code="X001")',
        'log.logger().info(f"done {x}", code=log.Code.PURGED)',
        'log.logger().info("done %s", x, code=log.Code.PURGED)',
        'print("done")',
    ],
)
def test_line_is_a_fault_when_it_has_no_code_or_no_literal(line: str) -> None:
    assert _faults(line)


def test_every_code_is_used_and_none_twice() -> None:
    used = {
        each.removeprefix("log.").removeprefix("Code.")
        for path in SOURCES
        for call in _calls(path.read_text(encoding="utf-8"))
        for each in (ast.unparse(word.value) for word in call.keywords if word.arg == "code")
    }
    assert used == {code.name for code in log.Code}
    assert len({code.value for code in log.Code}) == len(log.Code)


def test_measure_writes_what_cloudwatch_takes_metrics_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = io.StringIO()
    monkeypatch.setattr(log.logger().registered_handler, "stream", written)
    log.bind("r-1", message_id="m-1")
    log.measure(TurnTime=1200, FailedTurns=0)
    line = json.loads(written.getvalue())
    [directive] = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "Chatbot"
    assert directive["Dimensions"] == [["environment"]]
    assert {each["Name"]: each["Unit"] for each in directive["Metrics"]} == {
        "TurnTime": "Milliseconds", "FailedTurns": "Count"
    }  # fmt: skip
    assert isinstance(line["_aws"]["Timestamp"], int)
    assert (line["TurnTime"], line["FailedTurns"], line["environment"]) == (1200, 0, "test")
    assert (line["request_id"], line["message_id"], line["code"]) == ("r-1", "m-1", "METRIC001")


def test_measure_is_refused_when_the_metric_is_not_known() -> None:
    with pytest.raises(KeyError):
        log.measure(Unknown=1)


@pytest.mark.parametrize("metric", sorted(log.METRICS))
def test_every_metric_is_measured_and_watched(metric: str) -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in SOURCES)
    shown = (ROOT / "terraform/dashboard.tf").read_text(encoding="utf-8")
    assert f"{metric}=" in code
    assert f'"{metric}"' in shown
