"""Calls the `migrate` function, on AWS or on the local stack, wherever the environment leads.

python -m localstack.migration chatbot-dev-migrate up
python -m localstack.migration chatbot-dev-migrate down '{"steps": 1}'
python -m localstack.migration --new NAME          a pair of files for a new migration
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

_FOLDER = Path(__file__).resolve().parent.parent / "functions/migrate/migrations"
_UP = "-- {name}: expand first, contract in a later release, so that old code lives with it.\n"
_DOWN = "-- Takes {name} back.\n"


class MigrationFailed(Exception):
    """The function raised: its error's type and message."""


def invoke(function: str, event: dict[str, Any], session: boto3.Session | None = None) -> Any:
    """The function's answer. Raises `MigrationFailed`, or botocore's errors."""
    config = Config(read_timeout=900, retries={"total_max_attempts": 1})
    client = (session or boto3.Session()).client("lambda", config=config)
    answer = client.invoke(FunctionName=function, Payload=json.dumps(event).encode())
    payload = json.loads(answer["Payload"].read())
    if "FunctionError" in answer:
        raise MigrationFailed(f"{payload.get('errorType')}: {payload.get('errorMessage')}")
    return payload


def create_files(name: str) -> list[Path]:
    """The next number's `.up.sql` and `.down.sql`."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise SystemExit(
            "A migration's name has lower-case letters, digits and underscores: make "
            "migration NAME=add_labels"
        )
    number = 1 + max((int(path.name[:4]) for path in _FOLDER.glob("[0-9]*.up.sql")), default=0)
    files = []
    for direction, text in (("up", _UP), ("down", _DOWN)):
        path = _FOLDER / f"{number:04}_{name}.{direction}.sql"
        path.write_text(text.format(name=path.name.split(".")[0]), encoding="utf-8")
        files.append(path)
    return files


def main(arguments: list[str]) -> None:
    """See the module's text."""
    if arguments[:1] == ["--new"]:
        for path in create_files(arguments[1] if len(arguments) > 1 else ""):
            print(path.relative_to(Path.cwd()))
        return
    function, action, *rest = arguments
    try:
        answer = invoke(function, {"action": action, **json.loads(rest[0] if rest else "{}")})
    except MigrationFailed as error:
        raise SystemExit(str(error)) from error
    print(json.dumps(answer, indent=2))


if __name__ == "__main__":
    main(sys.argv[1:])
