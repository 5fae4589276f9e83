"""Build the zips that Terraform deploys: one a function, and the two layers.

    python -m layers.build [--arch arm64|x86_64] [--out .build]

writes `<out>/<arch>/functions/<name>.zip` and `<out>/<arch>/layers/{dependencies,shared}.zip`.
The same sources give the same bytes, and what has not changed is not built again.

Byte code is compiled here, because a function's file system is read-only: without it a cold start
takes more than twice as long. It carries no date (`unchecked-hash`): zips have none to compare.
"""

import argparse
import gzip
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RUNTIME = (3, 12)
PLATFORMS = {"arm64": "aarch64-manylinux2014", "x86_64": "x86_64-manylinux2014"}
_HOSTS = {"aarch64": "arm64", "arm64": "arm64", "x86_64": "x86_64", "AMD64": "x86_64"}
_TRIM = ROOT / "layers/dependencies/trim.json"
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Archive:
    """A zip to build: its path below the output folder, and what goes into it."""

    path: str
    # Where Lambda unpacks it, so that byte code names files as they are found there.
    mounted_at: str
    # Everything that the bytes depend on, beside this file and the Python that compiles.
    inputs: str
    # Lays the files out in an empty folder.
    stage: Callable[[Path], None]


def host_architecture() -> str:
    """The Lambda architecture of this machine: `arm64` or `x86_64`."""
    return _HOSTS[platform.machine()]


def function_names(root: Path = ROOT) -> list[str]:
    """The functions: every folder under `functions/` that has a handler."""
    return sorted(path.parent.name for path in (root / "functions").glob("*/handler.py"))


def _sources(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith("."):
            yield path


def _digest_of(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in _sources(folder):
        digest.update(f"{path.relative_to(folder)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _copy(folder: Path, target: Path) -> None:
    for path in _sources(folder):
        copy = target / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def _uv(*arguments: str) -> str:
    beside = Path(sys.executable).with_name("uv")
    command = str(beside) if beside.exists() else shutil.which("uv")
    if command is None:
        sys.exit("layers.build: uv is not installed; `pip install uv`, or run `make`, which does")
    result = subprocess.run(  # noqa: S603
        [command, *arguments], cwd=ROOT, check=False, capture_output=True, text=True
    )
    if result.returncode:
        sys.exit(f"layers.build: uv {arguments[0]} failed\n{result.stderr}")
    return result.stdout


def locked_requirements() -> str:
    """The group `lambda` of uv.lock, with versions and hashes, as pip reads it."""
    return _uv(
        "export", "--quiet", "--frozen", "--only-group", "lambda", "--no-emit-project",
        "--no-header", "--no-annotate",
    )  # fmt: skip


def _without_documentation(value: Any) -> Any:
    """A botocore model without its prose, which is most of what there is to parse.

    `clientContextParams` keep theirs: botocore asks for it.
    """
    if isinstance(value, dict):
        return {
            key: item if key == "clientContextParams" else _without_documentation(item)
            for key, item in value.items()
            if not (key == "documentation" and isinstance(item, str))
        }
    if isinstance(value, list):
        return [_without_documentation(item) for item in value]
    return value


def trim_botocore(botocore: Path, services: list[str], files: list[str]) -> None:
    """Cut botocore's data to `services`, unpacked and without documentation.

    `endpoints.json` keeps the same services only: botocore parses it whole for the first client.
    """
    data = botocore / "data"
    missing = set(services) - {path.name for path in data.iterdir()}
    if missing:
        sys.exit(f"layers.build: botocore knows no service {', '.join(sorted(missing))}")
    for path in list(data.iterdir()):
        if path.is_dir() and path.name not in services:
            shutil.rmtree(path)
        elif path.is_file() and path.name.removesuffix(".gz") not in files:
            path.unlink()
    for path in sorted(data.rglob("*.json*")):
        packed = path.suffix == ".gz"
        model = json.loads(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
        path.unlink()
        text = json.dumps(_without_documentation(model), separators=(",", ":"))
        path.with_name(path.name.removesuffix(".gz")).write_text(text, encoding="utf-8")
    prefixes = {
        json.loads(path.read_text(encoding="utf-8"))["metadata"]["endpointPrefix"]
        for path in data.glob("*/*/service-2.json")
    }
    endpoints = json.loads((data / "endpoints.json").read_text(encoding="utf-8"))
    for partition in endpoints["partitions"]:
        partition["services"] = {
            name: service
            for name, service in partition["services"].items()
            if name in prefixes or name in services
        }
    text = json.dumps(endpoints, separators=(",", ":"))
    (data / "endpoints.json").write_text(text, encoding="utf-8")


def _stage_dependencies(target: Path, arch: str, requirements: str) -> None:
    python = target / "python"
    listed = target / "requirements.txt"
    listed.write_text(requirements, encoding="utf-8")
    _uv(
        "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:",
        "--python", sys.executable, "--python-version", "{}.{}".format(*RUNTIME),
        "--python-platform", PLATFORMS[arch], "--target", str(python),
        # Not linked to uv's cache, as is usual: what is cut here would be cut there too.
        "--link-mode", "copy",
        "--requirement", str(listed),
    )  # fmt: skip
    listed.unlink()
    rules = json.loads(_TRIM.read_text(encoding="utf-8"))
    for pattern in rules["remove"]:
        for path in list(python.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for leftover in python.glob(".*"):
        leftover.unlink()
    # Packages whose submodules are imported by their own names. What stands in these files is not
    # used here and loads what is not either: asyncio and every resolver for the one in use,
    # botocore's writer of manuals, HTTP/2. A tenth of a cold start.
    for name in rules["empty"]:
        if not (python / name).stat().st_size:
            sys.exit(f"layers.build: {name} has nothing to leave out any more")
        (python / name).write_text("", encoding="utf-8")
    trim_botocore(python / "botocore", rules["botocore_services"], rules["botocore_files"])


def registry(root: Path = ROOT) -> str:
    """The registry of tools, in JSON: the files `tool.json` of all that are there."""
    files = sorted((root / "functions").glob("tool_*/tool.json"))
    return json.dumps([json.loads(path.read_text(encoding="utf-8")) for path in files], indent=1)


def _stage_shared(shared: Path, target: Path, tools: str) -> None:
    _copy(shared, target)
    (target / "python/chatbot/tools.json").write_text(tools, encoding="utf-8")


def archives(arch: str, root: Path = ROOT) -> list[Archive]:
    """Everything there is to build for an architecture, layers first."""
    requirements = locked_requirements()
    shared = root / "layers/shared"
    return [
        Archive(
            path="layers/dependencies.zip",
            mounted_at="/opt",
            inputs=f"{requirements}{_TRIM.read_text(encoding='utf-8')}{PLATFORMS[arch]}",
            stage=lambda target: _stage_dependencies(target, arch, requirements),
        ),
        Archive(
            path="layers/shared.zip",
            mounted_at="/opt",
            inputs=f"{_digest_of(shared)}{registry(root)}",
            stage=lambda target: _stage_shared(shared, target, registry(root)),
        ),
        *(
            with_documents(function_archive(name, root), root)
            if name == "platform"
            else function_archive(name, root)
            for name in function_names(root)
        ),
    ]


def function_archive(name: str, root: Path = ROOT) -> Archive:
    """The zip of one function: its folder, under the path that its handler is called by."""
    folder = root / "functions" / name
    return Archive(
        path=f"functions/{name}.zip",
        mounted_at="/var/task",
        inputs=_digest_of(folder),
        stage=lambda target: _copy(folder, target / "functions" / name),
    )


def with_documents(archive: Archive, root: Path = ROOT) -> Archive:
    """The zip of the function that serves the API's documents, with those of the sources as they
    are now."""

    def stage(target: Path) -> None:
        archive.stage(target)
        folder = target / "functions/platform/static"
        subprocess.run(  # noqa: S603
            [sys.executable, "-m", "layers.openapi", str(folder)],
            cwd=root,
            check=True,
            env={**os.environ, "PYTHONPATH": str(root / "layers/shared/python")},
        )

    generator = "".join(
        (root / f"layers/{name}.py").read_text(encoding="utf-8")
        for name in ("openapi", "asyncapi", "schemas")
    )
    described = f"{_digest_of(root / 'functions')}{_digest_of(root / 'layers/shared')}{generator}"
    return replace(archive, inputs=archive.inputs + described, stage=stage)


def write_zip(archive: Archive, target: Path) -> None:
    """Stage, compile and pack: sorted, one date, one mode, so the same files give the same bytes.

    The compiler runs in a process of its own with a fixed hash seed: how byte code is written down
    depends on what else its process has seen.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        stage = Path(folder) / "stage"
        stage.mkdir()
        archive.stage(stage)
        subprocess.run(  # noqa: S603
            [
                sys.executable, "-s", "-S", "-m", "compileall", "-q", "-f",
                "--invalidation-mode", "unchecked-hash",
                "-s", str(stage), "-p", archive.mounted_at, str(stage),
            ],
            check=True,
            env={"PATH": os.environ["PATH"], "PYTHONHASHSEED": "0"},
        )  # fmt: skip
        packed = Path(folder) / target.name
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as zip_file:
            for path in sorted(stage.rglob("*")):
                if path.is_file():
                    info = zipfile.ZipInfo(path.relative_to(stage).as_posix(), _ZIP_DATE)
                    info.compress_type = zipfile.ZIP_DEFLATED
                    info.external_attr = 0o644 << 16
                    zip_file.writestr(info, path.read_bytes())
        packed.replace(target)


def build(arch: str, out: Path, root: Path = ROOT) -> list[str]:
    """Build what is missing or has changed; remove zips of functions that are gone.

    Returns the paths, below `out/arch`, of the zips that were written.
    """
    folder = out / arch
    folder.mkdir(parents=True, exist_ok=True)
    known_file = folder / "fingerprints.json"
    known = json.loads(known_file.read_text(encoding="utf-8")) if known_file.exists() else {}
    compiler = f"{sys.version}{Path(__file__).read_text(encoding='utf-8')}"
    wanted = archives(arch, root)
    for stale in set(folder.glob("*/*.zip")) - {folder / archive.path for archive in wanted}:
        stale.unlink()
    built = []
    for archive in wanted:
        fingerprint = hashlib.sha256(f"{compiler}{archive.inputs}".encode()).hexdigest()
        target = folder / archive.path
        if known.get(archive.path) == fingerprint and target.exists():
            continue
        print(f"building {target}", file=sys.stderr, flush=True)
        write_zip(archive, target)
        built.append(archive.path)
        known[archive.path] = fingerprint
        written = folder / f"fingerprints.{os.getpid()}.json"
        written.write_text(json.dumps(known, indent=2, sort_keys=True), encoding="utf-8")
        written.replace(known_file)  # whole or not at all: another build may be reading it
    return built


def main() -> None:
    """Parse the command line and build."""
    parser = argparse.ArgumentParser(prog="python -m layers.build", description="Build the zips.")
    parser.add_argument("--arch", choices=sorted(PLATFORMS), default=host_architecture())
    parser.add_argument("--out", type=Path, default=ROOT / ".build")
    arguments = parser.parse_args()
    if sys.version_info[:2] != RUNTIME:
        sys.exit(f"layers.build: byte code is for Python 3.12, this is {platform.python_version()}")
    built = build(arguments.arch, arguments.out)
    print(f"{len(built)} zips built" if built else "nothing to build", file=sys.stderr)


if __name__ == "__main__":
    main()
