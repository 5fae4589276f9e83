"""What a function may load before its first event, counted, not timed.

    python -m tests.benchmarks.cold_start.budgets [--renew]

prints what each function has of its budget; `--renew` writes `budgets.json` anew from what is
packed now, with a margin. A budget that has to grow says in its commit what for. A function's
`modules`, `byte_code` (bytes) and `zip` (bytes) have budgets; so have the layers' `zip` and
`unpacked` bytes, of which Lambda allows 250 MiB with the function. `first_client` is the data that
botocore parses for its first client, all services alike, and `service` the largest of a service.
"""

import argparse
import json
import math
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from layers.build import ROOT, build, function_names, host_architecture

HERE = Path(__file__).parent
BUDGETS = HERE / "budgets.json"
LAYERS = ("dependencies", "shared")
# Over what is packed now. Wheels differ a little between architectures, the interpreter's library
# between its patches; a function's own zip may grow, but not by a package that it carries along.
MARGINS = {"modules": 1.05, "byte_code": 1.05, "zip": 1.1, "unpacked": 1.1}
FUNCTION_ZIP = 100_000
type Counts = dict[str, dict[str, int]]


def unpack(folder: Path, names: list[str]) -> Path:
    """Build what has changed and lay layers and functions out as Lambda does; the zips' folder."""
    zips = ROOT / ".build" / host_architecture()
    build(host_architecture(), ROOT / ".build")
    for kind, each in (*(("layers", x) for x in LAYERS), *(("functions", x) for x in names)):
        with zipfile.ZipFile(zips / kind / f"{each}.zip") as packed:
            packed.extractall(folder / each)
    return zips


def imports(folder: Path, names: list[str]) -> dict[str, dict[str, Any]]:
    """What importing each of the unpacked functions loads; see `imports.py`."""
    python = getattr(sys, "_base_executable", sys.executable)
    printed = subprocess.run(
        [python, "-S", "-E", str(HERE / "imports.py"), str(folder), *names],
        env={"AWS_REGION": "eu-west-1", "PYTHONHASHSEED": "0"},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    lines = map(json.loads, printed.splitlines())
    return {line.pop("name"): line for line in lines}


def measure(folder: Path) -> tuple[Counts, dict[str, dict[str, Any]]]:
    """What has a budget, by function and layer, and all that the imports said."""
    names = function_names()
    zips = unpack(folder, names)
    found = imports(folder, names)
    counts: Counts = {
        name: {
            "modules": found[name]["modules"],
            "byte_code": found[name]["byte_code"],
            "zip": (zips / f"functions/{name}.zip").stat().st_size,
        }
        for name in names
    }
    for layer in LAYERS:
        files = [path.stat().st_size for path in (folder / layer).rglob("*") if path.is_file()]
        counts[f"layer {layer}"] = {
            "zip": (zips / f"layers/{layer}.zip").stat().st_size,
            "unpacked": sum(files),
        }
    data = folder / "dependencies/python/botocore/data"
    services = [
        sum(f.stat().st_size for f in d.rglob("*.json")) for d in data.iterdir() if d.is_dir()
    ]
    counts["botocore's data"] = {
        "first_client": sum(path.stat().st_size for path in data.glob("*.json")),
        "service": max(services),
    }
    return counts, found


def read() -> Counts:
    """The budgets."""
    budgets: Counts = json.loads(BUDGETS.read_text(encoding="utf-8"))
    return budgets


def passed(counts: Counts, budgets: Counts) -> list[str]:
    """What passes its budget or has none, and budgets of what is gone; a line each."""
    lines = [f"{name}: no budget" for name in counts.keys() - budgets.keys()]
    lines += [f"{name}: a budget of nothing" for name in budgets.keys() - counts.keys()]
    for name in counts.keys() & budgets.keys():
        for kind, budget in budgets[name].items():
            if counts[name][kind] > budget:
                lines.append(f"{name}: {counts[name][kind]} {kind}, budget {budget}")
    return sorted(lines)


def _renewed(counts: Counts) -> Counts:
    return {
        name: {
            kind: max(
                math.ceil(value * MARGINS.get(kind, 1.05)),
                FUNCTION_ZIP if kind == "zip" and "modules" in kinds else 0,
            )
            for kind, value in kinds.items()
        }
        for name, kinds in counts.items()
    }


def main(*, renew: bool = False) -> None:
    """Print what there is of what may be, or renew it first."""
    with TemporaryDirectory() as folder:
        counts, _ = measure(Path(folder))
    if renew:
        text = json.dumps(_renewed(counts), indent=2) + "\n"
        BUDGETS.write_text(text, encoding="utf-8")
    budgets = read()
    print("cold starts, counted; each value with what it has of its budget")
    for name, kinds in counts.items():
        shares = (
            f"{kind} {value:,} ({value / budgets.get(name, {}).get(kind, value):.0%})"
            for kind, value in kinds.items()
        )
        print(f"  {name:20}{', '.join(shares)}")
    print("\n".join(passed(counts, budgets)) or "  none passes its budget")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.cold_start.budgets")
    parser.add_argument("--renew", action="store_true", help="write budgets.json from what is now")
    main(renew=parser.parse_args().renew)
