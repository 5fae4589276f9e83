"""What the functions load before their first event, counted against budgets: never timed."""

import ast
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from layers.build import ROOT, function_names
from tests.benchmarks.cold_start import budgets

type Measured = tuple[budgets.Counts, dict[str, dict[str, Any]]]
SOURCES = [
    path
    for folder in ("functions", "layers/shared/python")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "random" in path.read_text(encoding="utf-8")
]


@pytest.fixture(scope="module")
def measured() -> Iterator[Measured]:
    """Everything as it is packed, built where it has changed."""
    with TemporaryDirectory() as folder:
        yield budgets.measure(Path(folder))


def test_everything_keeps_within_its_budget(measured: Measured) -> None:
    counts, _ = measured
    renew = "python -m tests.benchmarks.cold_start.budgets --renew"
    assert budgets.passed(counts, budgets.read()) == [], f"if it has to be so: {renew}"


@pytest.mark.parametrize("name", function_names())
def test_packed_modules_come_compiled(name: str, measured: Measured) -> None:
    """Without byte code a cold start takes more than twice as long."""
    assert measured[1][name]["uncompiled"] == []


@pytest.mark.parametrize("name", function_names())
def test_no_client_is_made_before_the_first_event(name: str, measured: Measured) -> None:
    """A snapshot of an initialized function (SnapStart) would be restored with connections that
    are dead and credentials that have expired."""
    assert measured[1][name]["clients"] == 0


@pytest.mark.parametrize("path", [*SOURCES], ids=lambda path: str(path.relative_to(ROOT)))
def test_chance_comes_from_the_operating_system(path: Path) -> None:
    """Environments that start from one snapshot would else draw the same numbers: retries that
    are spread at random would come all at once again, and identifiers twice."""
    drawn = [
        node.attr
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "random"
    ]
    assert set(drawn) <= {"SystemRandom"}


BUDGETS: budgets.Counts = {"f": {"modules": 10, "byte_code": 500}}


@pytest.mark.parametrize(
    ("counts", "line"),
    [
        ({"f": {"modules": 11, "byte_code": 500}}, "f: 11 modules, budget 10"),
        ({"f": {"modules": 10, "byte_code": 501}}, "f: 501 byte_code, budget 500"),
        ({"f": {"modules": 1, "byte_code": 1}, "g": {"modules": 1}}, "g: no budget"),
        ({}, "f: a budget of nothing"),
    ],
)
def test_budget_is_passed_when(counts: budgets.Counts, line: str) -> None:
    assert budgets.passed(counts, BUDGETS) == [line]


def test_import_of_a_large_package_passes_a_functions_budget(tmp_path: Path) -> None:
    """Tried with the one that no function uses at import: pydantic, in the smallest of them."""
    budgets.unpack(tmp_path, ["ws_disconnect"])
    handler = tmp_path / "ws_disconnect/functions/ws_disconnect/handler.py"
    compiled = handler.parent / "__pycache__/handler.cpython-312.pyc"
    compiled.unlink()
    handler.write_text(f"import pydantic\n{handler.read_text(encoding='utf-8')}", encoding="utf-8")
    found = budgets.imports(tmp_path, ["ws_disconnect"])["ws_disconnect"]
    budget = budgets.read()["ws_disconnect"]
    assert found["modules"] > budget["modules"]
    assert found["byte_code"] > budget["byte_code"]
    assert found["uncompiled"] == ["functions.ws_disconnect.handler"]
