"""The interpreters of the stack, apart from the checkout's own: MiniStack pins its botocore, and a
Lambda may see nothing but its layers."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from localstack.layout import LAMBDA_VENV, MINISTACK_VENV, ROOT, StackError, clean_environment

_REQUIREMENTS = {
    MINISTACK_VENV: ROOT / "localstack/requirements.txt",
    LAMBDA_VENV: ROOT / "localstack/lambda-requirements.txt",
}


def _uv() -> str:
    own = Path(sys.prefix) / "bin/uv"
    found = str(own) if own.exists() else shutil.which("uv")
    if found is None:
        raise StackError("uv is missing: run make, which installs it.")
    return found


def python_of(venv: Path) -> Path:
    return venv / "bin/python"


def missing() -> list[Path]:
    """The environments that are not there, or not of these requirements."""
    return [
        venv
        for venv, requirements in _REQUIREMENTS.items()
        if not python_of(venv).exists() or _stamp(venv) != _digest(requirements)
    ]


def _stamp(venv: Path) -> str | None:
    file = venv / ".requirements"
    return file.read_text(encoding="utf-8") if file.exists() else None


def _digest(requirements: Path) -> str:
    return hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()


def install(venv: Path) -> None:
    """Make one environment anew. Raises `StackError` with the installer's last words."""
    requirements = _REQUIREMENTS[venv]
    shutil.rmtree(venv, ignore_errors=True)
    _run(_uv(), "venv", "--quiet", "--python", sys.executable, str(venv))
    _run(
        _uv(), "pip", "install", "--quiet", "--require-hashes", "--compile-bytecode",
        "--python", str(python_of(venv)), "-r", str(requirements),
    )  # fmt: skip
    (venv / ".requirements").write_text(_digest(requirements), encoding="utf-8")


def _run(*command: str) -> None:
    done = subprocess.run(
        command, env=clean_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise StackError(f"{' '.join(command[:3])} failed: {done.stderr.strip()[-600:]}")
