"""Each measure of `layers/build.py` against cold starts, taken back alone."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

from layers.build import ROOT, function_names, host_architecture
from tests.benchmarks.cold_start.budgets import LAYERS

DEPENDENCIES = "dependencies"
_TRIM = json.loads((ROOT / "layers/dependencies/trim.json").read_text(encoding="utf-8"))


def import_path(folder: Path, name: str, dependencies: str = DEPENDENCIES) -> list[Path]:
    """Where a function's modules are found, in Lambda's order."""
    return [folder / name, folder / "shared/python", folder / dependencies / "python"]


def lay_out(folder: Path, names: list[str]) -> dict[str, dict[str, list[Path]]]:
    """Beside what `budgets.unpack` has laid out, the same without one measure at a time: the import
    paths of the functions by what they are without."""
    bare = folder / "bare"
    for each in (*LAYERS, *names):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(folder / each, bare / each, ignore=ignored)

    site = Path(importlib.util.find_spec("botocore").submodule_search_locations[0]).parent  # type: ignore[union-attr, index]
    for name, restored in {
        "whole_data": ["botocore/data"],
        "whole_packages": _TRIM["empty"],
    }.items():
        python = folder / name / "python"
        shutil.copytree(folder / DEPENDENCIES / "python", python)
        for path in restored:
            if (site / path).is_dir():
                shutil.rmtree(python / path)
                shutil.copytree(site / path, python / path)
            else:
                shutil.copyfile(site / path, python / path)
        _compile(python)

    return {
        "without byte code": {name: import_path(bare, name) for name in names},
        "with botocore's whole data": {n: import_path(folder, n, "whole_data") for n in names},
        "with the packages' own __init__.py": {
            n: import_path(folder, n, "whole_packages") for n in names
        },
    }


def _compile(python: Path) -> None:
    """As `layers.build` does; what is compiled already is compiled again, with its new source."""
    command = ["-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash"]
    subprocess.run([sys.executable, *command, str(python)], check=True)


def uploads() -> list[str]:
    """What one deployment of all functions uploads, with layers and with zips that hold it all."""
    zips = ROOT / ".build" / host_architecture()
    names = function_names()
    own = sum((zips / f"functions/{name}.zip").stat().st_size for name in names)
    layers = sum((zips / f"layers/{layer}.zip").stat().st_size for layer in LAYERS)
    alone, shared = (own + len(names) * layers) / 1e6, (own + layers) / 1e6
    return [
        f"uploaded by a deployment of all {len(names)} functions: {shared:.1f} MB, "
        f"{alone:.0f} MB without layers; after a change of our code alone: {own / 1e6:.1f} MB"
    ]
