"""One stage of a source in a process of its own, so that its peak of memory is its own.

python -m tests.benchmarks.ingestion.stage connector '<what the state machine sends>'
python -m tests.benchmarks.ingestion.stage embed '{"source_id": …}'

Prints {seconds, megabytes, counts or documents}. The connector is called as the state machine does
it, until there is no more, and then sweeps; `embed` gets the documents in batches of ten, as the
stream brings them.
"""

import json
import resource
import sys
import time
from collections.abc import Iterator
from itertools import batched
from typing import Any

from chatbot import documents, tables
from functions.embed import handler as embed
from functions.ingest_slack import handler as slack


class Context:
    """A Lambda's context: five minutes from now."""

    aws_request_id = "benchmark"

    def __init__(self) -> None:
        self._end = time.monotonic() + 300

    def get_remaining_time_in_millis(self) -> int:
        return int((self._end - time.monotonic()) * 1000)


def ingest(event: dict[str, Any]) -> dict[str, Any]:
    """A whole run. Returns its last answer."""
    for phase in ({}, {"phase": "sweep"}):
        answer: dict[str, Any] = {"has_more": True}
        while answer["has_more"]:
            answer = slack.handler({**event, **phase}, Context())
        if answer["error"]:
            raise SystemExit(answer["error"])
    return {"counts": answer["counts"]}


def embed_all(event: dict[str, Any]) -> dict[str, Any]:
    """What waits of a source. Returns how many documents there were."""
    count = 0
    for batch in batched(_records(event["source_id"]), 10):
        if embed.handler({"Records": list(batch)}, Context())["batchItemFailures"]:
            raise SystemExit("a document was not embedded")
        count += len(batch)
    return {"documents": count}


def _records(source_id: str) -> Iterator[dict[str, Any]]:
    """What the stream tells of new documents."""
    waiting = (row for row in documents.listed(source_id) if row["status"] == documents.PENDING)
    for number, row in enumerate(waiting):
        image = tables.pack(row)
        yield {
            "eventName": "INSERT",
            "dynamodb": {
                "Keys": {"document_id": image["document_id"]},
                "NewImage": image,
                "SequenceNumber": str(number),
            },
        }


STAGES = {"connector": ingest, "embed": embed_all}

if __name__ == "__main__":
    stage, given = sys.argv[1:]
    started = time.perf_counter()
    done = STAGES[stage](json.loads(given))
    done["seconds"] = time.perf_counter() - started
    done["megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(done))
