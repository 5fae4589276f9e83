"""Rebuilds the search index from the embeddings in S3, by the `embed` function, without the model.

python -m localstack.reindex chatbot-dev-embed
"""

import sys
from typing import Any

import boto3

from localstack.migration import MigrationFailed, invoke


def reindex(function: str, session: boto3.Session | None = None) -> int:
    """How many documents were restored; the function is called until it has met them all."""
    restored = 0
    answer: dict[str, Any] = {"after": ""}
    while "after" in answer:
        answer = invoke(function, {"action": "reindex", "after": answer["after"]}, session)
        restored += answer["restored"]
    return restored


if __name__ == "__main__":
    try:
        print(f"{reindex(sys.argv[1])} documents restored")
    except MigrationFailed as error:
        raise SystemExit(str(error)) from error
