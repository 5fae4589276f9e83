"""`make test`: every check, in two lanes side by side, and the coverage of all of them.

One lane brings a stack of its own up and runs the end-to-end tests on it, the other has the checks
that need none. A check's output is shown whole when it has ended.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STACK = "test"
_PYTHON = sys.executable
_CLI = (_PYTHON, "-m", "localstack.stack")
_output = threading.Lock()


@dataclass(frozen=True)
class Check:
    """Commands that run one after another until one fails."""

    name: str
    commands: Sequence[Sequence[str]]


def _pytest(name: str, *arguments: str) -> Check:
    command = (
        _PYTHON,
        "-m",
        "pytest",
        "-q",
        "--cov",
        "--cov-report=",
        "--cov-fail-under=0",
        *arguments,
    )
    return Check(name, [command])


STACK_LANE = (
    Check("stack", [(*_CLI, "remove"), (*_CLI, "up")]),
    _pytest("e2e", "-n", "4", "--ignore=tests/e2e/exclusive", "tests/e2e"),
    _pytest("e2e-exclusive", "tests/e2e/exclusive"),
    Check("drift", [(*_CLI, "drift")]),
)
OTHER_LANE = (
    Check("lint", [("make", "lint")]),
    _pytest("unit", "-n", "2", "tests/unit"),
    Check(
        "terraform",
        [
            (_PYTHON, "-m", "layers.build", "--arch", "arm64"),
            (*_CLI, "terraform", "init", "-backend=false", "-input=false", "-lockfile=readonly"),
            (*_CLI, "terraform", "test", "-no-color"),
        ],
    ),
    # Mostly waiting; the tests of a file share their servers.
    _pytest("integration", "-n", "3", "--dist", "loadfile", "tests/integration"),
)


def _run(check: Check) -> bool:
    started = time.monotonic()
    environment = {**os.environ, "STACK": STACK, "COVERAGE_FILE": f".coverage.{check.name}"}
    shown: list[str] = []
    passed = True
    for command in check.commands:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        shown.append(done.stdout)
        passed = done.returncode == 0
        if not passed:
            break
    verdict = "passed" if passed else "FAILED"
    with _output:
        print(f"\n=== {check.name}: {verdict} after {time.monotonic() - started:.0f} s")
        print("".join(shown).strip(), flush=True)
    return passed


def _run_lane(lane: Sequence[Check]) -> list[str]:
    """The names of the checks that failed; without a stack its tests are not tried."""
    failed = []
    for check in lane:
        if not _run(check):
            failed.append(check.name)
            if check.name == "stack":
                failed += [later.name for later in lane[1:]]
                break
    return failed


def _coverage() -> bool:
    tool = (_PYTHON, "-m", "coverage")
    combined = subprocess.run([*tool, "combine", "-q"], cwd=ROOT, check=False).returncode == 0
    report = subprocess.run([*tool, "report"], cwd=ROOT, check=False)
    return combined and report.returncode == 0


def main() -> None:
    """Exit code 1, and what failed on the last line, unless everything passed."""
    started = time.monotonic()
    for stale in ROOT.glob(".coverage*"):
        stale.unlink()
    names = ", ".join(check.name for check in (*STACK_LANE, *OTHER_LANE))
    # Both lanes need the interpreters of the stack's processes.
    subprocess.run([*_CLI, "install"], cwd=ROOT, check=True)
    print(f"two lanes side by side: {names}", flush=True)
    with ThreadPoolExecutor(2) as lanes:
        failed = [*chain(*lanes.map(_run_lane, (STACK_LANE, OTHER_LANE)))]
    print("\n=== coverage", flush=True)
    if not _coverage():
        failed.append("coverage")
    # After a failure the stack's logs stay, in .local/test/logs.
    subprocess.run(
        [*_CLI, "down" if failed else "remove"], cwd=ROOT, env={**os.environ, "STACK": STACK},
        check=False,
    )  # fmt: skip
    print(f"\n{time.monotonic() - started:.0f} s in all")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
