"""No secret is in the repository: `make lint` runs this with the plugins of `detect-secrets`.

    python -m tests.secrets_scan [--renew]

What looks like a secret and was judged to be none (a test's password, a name) stands in
`.secrets.baseline` by file and hash, whatever its line; anything else fails. `--renew` takes all
that is found now into the baseline: look at its diff before it is committed.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

from detect_secrets.core import baseline
from detect_secrets.core.potential_secret import PotentialSecret
from detect_secrets.core.secrets_collection import SecretsCollection
from detect_secrets.settings import default_settings

ROOT = Path(__file__).parents[1]
BASELINE = ".secrets.baseline"
# Hashes of packages, and documents that are made from sources that are looked at themselves.
GENERATED = {
    BASELINE,
    "functions/platform/static/asyncapi.json",
    "functions/platform/static/openapi.json",
    "localstack/lambda-requirements.txt",
    "localstack/requirements.txt",
    "terraform/checkov-requirements.txt",
    "terraform/.terraform.lock.hcl",
    "uv.lock",
}


def files(root: Path = ROOT) -> list[str]:
    """What is in the repository or would be added to it, and not generated; of a copy without
    its history, all but what `make` has put there."""
    if (root / ".git").exists():
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
        paths = {path for path in listed.stdout.split("\0") if path and (root / path).is_file()}
    else:
        found = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
        made = {".venv", ".local", ".build", ".terraform", "__pycache__"}
        paths = {path.as_posix() for path in found if made.isdisjoint(path.parts)}
    return sorted(paths - GENERATED)


def scan(paths: list[str], root: Path = ROOT) -> SecretsCollection:
    """What looks like a secret, by the path of its file."""
    found = SecretsCollection()
    with default_settings(), chdir(root):  # a secret is the same in every checkout
        found.scan_files(*paths, num_processors=2)
    return found


def unknown(found: SecretsCollection, known: SecretsCollection) -> Iterator[PotentialSecret]:
    """What is found and not known, by file, kind and hash."""
    for path, secret in found:
        if secret not in known.data.get(path, set()):
            yield secret


def main() -> None:
    """Exit code 1, and a line for each, where something was not judged yet. The secret itself is
    not printed: it would be in the log of a pipeline then."""
    parser = argparse.ArgumentParser(prog="python -m tests.secrets_scan")
    parser.add_argument("--renew", action="store_true", help="take all that is found as judged")
    renew = parser.parse_args().renew
    found = scan(files())
    if renew:
        with default_settings():
            baseline.save_to_file(found, str(ROOT / BASELINE))
        return
    known = baseline.load(json.loads((ROOT / BASELINE).read_text(encoding="utf-8")), BASELINE)
    new = sorted(unknown(found, known), key=lambda each: (each.filename, each.line_number))
    if new:
        lines = [f"{each.filename}:{each.line_number}: {each.type}" for each in new]
        sys.exit(
            "\n".join([*lines, "remove it, or judge it: python -m tests.secrets_scan --renew"])
        )


if __name__ == "__main__":
    main()
