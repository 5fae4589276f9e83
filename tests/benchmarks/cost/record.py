"""Count what a turn, a document and a connection ask of AWS, on the running local stack.

    STACK=test python -m tests.benchmarks.cost.record

writes `recorded.json`, by kind of work and for one of them: what came to the gateway
(`localstack/recording.py`), what the state machines and functions say of themselves, and how many
resources of each type stand, which cost something whether they are used or not.

Units of DynamoDB are counted as AWS does: a write a KiB begun, twice in a transaction, once more
for each index that the item is in; a read 4 KiB, half where it need not be consistent. An item that
an update changed is measured as it is afterwards. Milliseconds are this machine's.
"""

import json
import math
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

from localstack import terraform
from localstack.layout import current
from tests.e2e import sources
from tests.e2e.client import Tenant, sign_up
from tests.e2e.conftest import Stack, read_outputs

RECORDED = Path(__file__).parent / "recorded.json"
TIMES = 3
# 250 words in five seconds: what a large model writes.
ANSWER = "[[words 250]] [[pace 20]]"
_REPORT = re.compile(r"^REPORT .*\tDuration: ([0-9.]+) ms\t")
type Item = dict[str, Any]


def size(item: Item) -> int:
    """Bytes of an item or of a key: its names and values, without the types that wrap them."""
    return sum(len(name.encode()) + _value_size(value) for name, value in item.items())


def _value_size(value: Item) -> int:
    [(kind, held)] = value.items()
    if kind == "M":
        return 3 + size(held)
    if kind == "L":
        return 3 + sum(map(_value_size, held))
    return len(str(held).encode())


@dataclass
class Tables:
    """The tables' keys and indexes, and their items as they are now."""

    dynamodb: Any
    known: dict[str, Any] = field(default_factory=dict)

    def _table(self, name: str) -> Any:
        if name not in self.known:
            self.known[name] = self.dynamodb.describe_table(TableName=name)["Table"]
        return self.known[name]

    def _now(self, table: str, key: Item) -> Item:
        found = self.dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True)
        return {**key, **found.get("Item", {})}

    def write_units(self, action: Item) -> int:
        """Of one put, update, delete, or a check that changes nothing, outside a transaction."""
        table = self._table(action["TableName"])
        item = action.get("Item") or self._now(action["TableName"], action["Key"])
        units = max(1, math.ceil(size(item) / 1024))
        indexes = [
            index
            for index in table.get("GlobalSecondaryIndexes", [])
            if all(key["AttributeName"] in item for key in index["KeySchema"])
        ]
        return units * (1 + len(indexes)) if action.get("changes", True) else units

    def units(self, made: Item) -> tuple[Counter[str], float]:
        """Write units of one request by table, and its read units."""
        body, operation = made["body"], made["operation"]
        times, actions = 1, []
        match operation:
            case "PutItem" | "UpdateItem" | "DeleteItem":
                actions = [body]
            case "TransactWriteItems":
                times = 2
                actions = [
                    {**action, "changes": kind != "ConditionCheck"}
                    for each in body["TransactItems"]
                    for kind, action in each.items()
                ]
            case "BatchWriteItem":
                actions = [
                    {"TableName": table, **each.get("PutRequest", each.get("DeleteRequest"))}
                    for table, changes in body["RequestItems"].items()
                    for each in changes
                ]
            case "GetItem" | "Query" | "Scan" | "BatchGetItem":
                blocks = max(1, math.ceil(made["response_bytes"] / 4096))
                return Counter(), blocks * (1 if body.get("ConsistentRead") else 0.5)
            case _:
                raise LookupError(f"what does {operation} cost?")
        written: Counter[str] = Counter()
        for action in actions:
            table = action["TableName"].removeprefix("chatbot-local-")
            written[table] += times * self.write_units(action)
        return written, 0


@dataclass
class Recording:
    """One kind of work, done `times`, and what it took."""

    stack: Stack
    work: Callable[[], None]
    times: int = TIMES

    def run(self) -> dict[str, Any]:
        """Counts for one."""
        gateway = self.stack.outputs["gateway_url"]
        self._settle()  # what went before is not of this kind
        since = time.time()
        requests.post(f"{gateway}/_recording", timeout=10).raise_for_status()
        for _ in range(self.times):
            self.work()
        self._settle()
        found = requests.delete(f"{gateway}/_recording", timeout=60).json()
        # Of the product's functions and of clients, not of the recording itself.
        made = [e for e in found["requests"] if e["by_function"] or e["service"] == "http"]
        counts: Counter[str] = Counter()
        for each in made:
            counts[_kind(each)] += 1
        tables, by_table = Tables(self.stack.client("dynamodb")), Counter[str]()
        for each in made:
            if each["service"] == "dynamodb" and each["status"] == 200:
                writes, reads = tables.units(each)
                counts["dynamodb_write_units"] += writes.total()
                by_table += writes
                counts["dynamodb_read_units"] += math.ceil(reads * 2)  # in halves until below
        counts["websocket_connections"] = found["sockets"]["opened"]
        counts["websocket_frames_in"] = found["sockets"]["in"]
        counts["websocket_frames_out"] = found["sockets"]["out"]
        counts += self._machines_work(since)
        functions, counts["log_bytes"] = self._functions(since)
        each_one = {name: count / self.times for name, count in sorted(counts.items()) if count}
        if "dynamodb_read_units" in each_one:
            each_one["dynamodb_read_units"] /= 2
        return {
            **{name: round(count, 2) for name, count in each_one.items()},
            "write_units_by_table": {
                name: round(count / self.times, 2) for name, count in by_table.items() if count
            },
            "functions": {
                name: {
                    "invocations": round(len(times) / self.times, 2),
                    "ms": round(sum(times) / self.times, 1),
                }
                for name, times in sorted(functions.items())
            },
        }

    def _machines(self) -> list[str]:
        return [
            machine["stateMachineArn"]
            for machine in self.stack.client("stepfunctions").list_state_machines()["stateMachines"]
        ]

    def _executions(self, machine: str) -> list[Any]:
        found: list[Any] = self.stack.client("stepfunctions").list_executions(
            stateMachineArn=machine
        )["executions"]
        return found

    def _settle(self) -> None:
        """Wait until nothing runs and no queue holds anything, not even delayed."""
        sqs = self.stack.client("sqs")
        queues = [q for q in sqs.list_queues()["QueueUrls"] if "dead-letter" not in q]

        def busy() -> bool:
            running = [
                each
                for machine in self._machines()
                for each in self._executions(machine)
                if each["status"] == "RUNNING"
            ]
            names = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")]
            waiting = [
                int(count)
                for url in queues
                for count in sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)[
                    "Attributes"
                ].values()
            ]
            return bool(running) or any(waiting)

        sources.until(lambda: not busy(), 180, pause=1)

    def _machines_work(self, since: float) -> Counter[str]:
        """Executions since a time, states entered, or entered again by a retry, and what machines
        ask of other services themselves."""
        client, counts = self.stack.client("stepfunctions"), Counter[str]()
        for machine in self._machines():
            for each in self._executions(machine):
                if each["startDate"].timestamp() < since:
                    continue
                counts["executions"] += 1
                pages = client.get_paginator("get_execution_history").paginate(
                    executionArn=each["executionArn"]
                )
                events = [event for page in pages for event in page["events"]]
                kinds = Counter(event["type"] for event in events)
                again = max(0, kinds["TaskScheduled"] - kinds["TaskStateEntered"])
                entered = sum(n for kind, n in kinds.items() if kind.endswith("StateEntered"))
                counts["transitions"] += entered + again
                for event in events:
                    asked = event.get("taskScheduledEventDetails", {}).get("resourceType", "lambda")
                    if asked != "lambda":
                        counts[f"{asked.rpartition(':')[2]}_tasks"] += 1
        return counts

    def _functions(self, since: float) -> tuple[dict[str, list[float]], int]:
        """Milliseconds of each invocation by function, and the bytes that were logged."""
        logs, found, logged = self.stack.client("logs"), {}, 0
        for group in logs.describe_log_groups(logGroupNamePrefix="/aws/lambda/")["logGroups"]:
            name = group["logGroupName"].rpartition("/")[2].removeprefix("chatbot-local-")
            pages = logs.get_paginator("filter_log_events").paginate(
                logGroupName=group["logGroupName"], startTime=int(since * 1000)
            )
            lines = [event["message"] for page in pages for event in page["events"]]
            logged += sum(len(line.encode()) + 26 for line in lines)  # as CloudWatch counts
            times = [float(m[1]) for m in map(_REPORT.match, lines) if m]
            if times:
                found[name.replace("-", "_")] = times
        return found, logged


def _kind(made: Item) -> str:
    service, operation = made["service"], made["operation"]
    if service == "http":
        return "rest_requests"
    if service == "execute-api":
        return "websocket_posts"
    if service == "s3":
        return "s3_reads" if operation.startswith(("GET", "HEAD")) else "s3_writes"
    return f"{service.replace('-', '_')}_requests"


def resources() -> dict[str, int]:
    """How many resources of each type the root has, as the local stack was applied."""
    listed = terraform.run(current(), "state", "list").stdout
    kinds = re.findall(r"(?:^|\.)(aws_\w+)\.\w+(?:\[[^\]]*\])?$", listed, re.MULTILINE)
    return dict(sorted(Counter(kinds).items()))


def _turns(tenant: Tenant, chat: Any) -> Callable[[], None]:
    def turn() -> None:
        chat.ask(tenant.chatbot_id, f"Tell me about the depot. {ANSWER}").check()

    return turn


def _text(number: int) -> str:
    sentence = (
        "The gate of depot {n} opens at six in the morning and closes when the last lorry left. "
    )
    return "".join(sentence.format(n=number * 100 + line) for line in range(36))


def main() -> None:
    """Record on the stack that `STACK` names, and write what one of each takes."""
    stack = Stack(read_outputs())
    tenant = sign_up(stack.outputs["api_url"], stack.outputs["websocket_url"])
    kinds: dict[str, Any] = {}
    standing = resources()

    def connection() -> None:
        with tenant.chat() as other:
            other.send({"type": "ping"})
            other.receive()

    # Before another socket is open, whose `$disconnect` would be counted with these.
    kinds["connection"] = Recording(stack, connection).run()
    bots = f"{tenant.path}/chatbots/{tenant.chatbot_id}"
    kinds["request"] = Recording(stack, lambda: tenant.rest.ok("GET", bots)).run()
    with tenant.chat() as chat:
        chat.ask(tenant.chatbot_id, "[[words 5]]")  # warm
        kinds["turn"] = Recording(stack, _turns(tenant, chat)).run()
        numbers = iter(range(1000))

        def document() -> None:
            body = {"title": "Gates", "content": _text(next(numbers))}
            made = tenant.rest.ok("POST", f"{tenant.path}/documents", body)
            key = {"document_id": {"S": made["id"]}}
            sources.until(
                lambda: (
                    stack.client("dynamodb").get_item(
                        TableName="chatbot-local-documents", Key=key, ConsistentRead=True
                    )["Item"]["status"]["S"]
                    == "embedded"
                ),
                60,
            )

        document()
        kinds["document"] = Recording(stack, document).run()
        knowledge = {"knowledge": {"enabled": True, "top_k": 5}}
        tenant.rest.ok("PATCH", f"{tenant.path}/chatbots/{tenant.chatbot_id}", knowledge)
        chat.ask(tenant.chatbot_id, "[[words 5]]")
        kinds["turn_with_knowledge"] = Recording(stack, _turns(tenant, chat)).run()

    source = sources.connect(tenant, stack, "gitlab", config={"projects": ["platform/tracker"]})
    source.run()

    def synced() -> None:
        source.sync()

    kinds["run_without_changes"] = Recording(stack, synced, 1).run()

    lambdas = stack.client("lambda").get_paginator("list_functions").paginate()
    recorded = {
        "recorded_on": datetime.now(UTC).date().isoformat(),
        "command": "STACK=test python -m tests.benchmarks.cost.record",
        "answer": ANSWER,
        "kinds": kinds,
        "memory": {
            each["FunctionName"].removeprefix("chatbot-local-").replace("-", "_"): each[
                "MemorySize"
            ]
            for page in lambdas
            for each in page["Functions"]
        },
        "resources": standing,
    }
    RECORDED.write_text(json.dumps(recorded, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
