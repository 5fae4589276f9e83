"""What a month costs and which quota binds first, from what one turn and one document take.

Counts come from a recorded run (`recorded.json`, made by `record.py`), what they cost from
`prices.json`, how the product is used from `assumptions.json`, AWS's limits from `quotas.json`.
"""

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layers.build import ROOT

HERE = Path(__file__).parent
HOURS = 730
SECONDS = HOURS * 3600
type Amounts = dict[str, float]


def data(name: str) -> dict[str, Any]:
    """One of the data files beside this one."""
    found: dict[str, Any] = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    return found


def database_minimum(environment: str) -> float:
    """The capacity units that an environment's database never goes below, all instances."""
    text = (ROOT / f"terraform/environments/{environment}/terraform.tfvars").read_text("utf-8")
    least = re.search(r"min_capacity\s*=\s*([\d.]+)", text)
    instances = re.search(r"instances\s*=\s*\[(.*?)\]", text)
    assert least is not None, f"{environment} names no capacity"
    count = len(re.findall(r'"\w+"', instances[1])) if instances else 1
    return float(least[1]) * max(count, 1)


def snapshot_gib(recorded: dict[str, Any]) -> float:
    """The memory of the functions that start from snapshots where an environment pays for them."""
    text = (ROOT / "terraform/functions.tf").read_text(encoding="utf-8")
    rows = re.findall(r"^    (\w+) = \{\n(.*?)^    \}", text, re.DOTALL | re.MULTILINE)
    names = [name for name, body in rows if re.search(r"snap_start\s*= true", body)]
    return sum(float(recorded["memory"][name]) for name in names) / 1024


@dataclass(frozen=True)
class Model:
    """The counts of one of each kind of work, and how often each is done."""

    recorded: dict[str, Any]
    assumptions: dict[str, Any]

    @classmethod
    def read(cls) -> "Model":
        return cls(data("recorded"), data("assumptions"))

    def works(self, turns: float) -> dict[str, float]:
        """How often each kind of work is done for so many turns."""
        use = self.assumptions
        return {
            "turn": turns * (1 - use["knowledge_share"]),
            "turn_with_knowledge": turns * use["knowledge_share"],
            "connection": turns / use["turns_per_connection"],
            "request": turns * use["requests_per_turn"],
            "document": turns * use["documents_per_turn"],
            "run_without_changes": turns / use["turns_per_source"] * use["runs_per_source"],
        }

    def amounts(self, kind: str) -> Amounts:
        """What one piece of work takes, by the names of the prices."""
        one, memory = self.recorded["kinds"][kind], self.recorded["memory"]
        functions = one["functions"]
        found: Amounts = {
            "lambda_requests": sum(each["invocations"] for each in functions.values()),
            "lambda_gb_seconds": sum(
                each["ms"] / 1000 * memory[name] / 1024 for name, each in functions.items()
            ),
            "transitions": one.get("transitions", 0),
            # A state machine's own calls of DynamoDB pass no door; each is at least a unit.
            "dynamodb_write_units": one.get("dynamodb_write_units", 0)
            + one.get("dynamodb_tasks", 0),
            "dynamodb_read_units": one.get("dynamodb_read_units", 0),
            "rest_requests": one.get("rest_requests", 0),
            "websocket_messages": one.get("websocket_frames_in", 0) + one.get("websocket_posts", 0),
            "data_api_requests": one.get("rds_data_requests", 0),
            "s3_writes": one.get("s3_writes", 0),
            "s3_reads": one.get("s3_reads", 0),
            # Lambda takes a message from its queue and deletes it.
            "sqs_requests": 3 * one.get("sqs_requests", 0),
            "secret_requests": one.get("secretsmanager_requests", 0),
            "log_gb": one.get("log_bytes", 0) / 1e9,
        }
        use = self.assumptions
        found["traces"] = found["lambda_requests"] * use["traced_share"]
        if kind.startswith("turn"):
            knows = kind == "turn_with_knowledge"
            found["model_input_tokens"] = use["input_tokens"] + knows * use["knowledge_tokens"]
            found["model_output_tokens"] = use["output_tokens"]
        if kind == "document":
            found["embedding_tokens"] = use["document_tokens"]
        if kind == "connection":
            found["websocket_minutes"] = use["connection_minutes"]
        return found

    def standing(self, environment: str) -> Amounts:
        """What a month takes while nobody comes."""
        resources, use = self.recorded["resources"], self.assumptions
        runs = sum(use["schedules_per_month"].values())
        queues = resources.get("aws_lambda_event_source_mapping", 0) - 1  # without the stream
        text = (ROOT / f"terraform/environments/{environment}/terraform.tfvars").read_text("utf-8")
        snapshots = re.search(r"^snap_start\s*= true", text, re.MULTILINE)
        return {
            "aurora_acu_hours": database_minimum(environment) * HOURS,
            "keys": resources.get("aws_kms_key", 0),
            # And the master's, which RDS makes.
            "secrets": resources.get("aws_secretsmanager_secret", 0) + 1,
            "alarms": resources.get("aws_cloudwatch_metric_alarm", 0),
            "dashboards": resources.get("aws_cloudwatch_dashboard", 0),
            "sqs_requests": queues * use["queue_polls_per_month"],
            "scheduler_invocations": runs,
            "lambda_requests": runs,
            "snapshot_gb_seconds": snapshot_gib(self.recorded) * SECONDS if snapshots else 0,
        }

    def month(self, turns: float, environment: str = "prod") -> Amounts:
        """What a month with so many turns takes."""
        use = self.assumptions
        found = defaultdict(float, self.standing(environment))
        works = self.works(turns)
        for kind, times in works.items():
            for name, amount in self.amounts(kind).items():
                found[name] += amount * times
        used = found["data_api_requests"] / SECONDS / use["statements_per_acu"] * HOURS
        found["aurora_acu_hours"] = max(found["aurora_acu_hours"], used)
        stored = turns * use["bytes_per_turn"] / 1e9
        documents = works["document"] * use["bytes_per_document"] / 1e9
        found["scheduler_invocations"] += works["run_without_changes"]
        found.update(
            {
                "dynamodb_gb": stored,
                "dynamodb_backup_gb": stored,
                "aurora_gb": documents,
                "s3_gb": documents,
                "log_stored_gb": found["log_gb"] * use["log_retention_months"],
            }
        )
        return found

    def peak(self, turns: float) -> dict[str, float]:
        """What the busiest moment of such a month asks for, by the names of the quotas' loads."""
        use = self.assumptions
        rates = {kind: n / SECONDS * use["peak_factor"] for kind, n in self.works(turns).items()}
        second: defaultdict[str, float] = defaultdict(float)
        concurrency = usage_writes = 0.0
        for kind, rate in rates.items():
            for name, amount in self.amounts(kind).items():
                second[name] += amount * rate
            one = self.recorded["kinds"][kind]
            concurrency += rate * sum(each["ms"] / 1000 for each in one["functions"].values())
            second["executions"] += one.get("executions", 0) * rate
            for table, units in one.get("write_units_by_table", {}).items():
                second[f"writes to {table}"] += units * rate
                usage_writes += units * rate if table == "usage" else 0
        tables = [amount for name, amount in second.items() if name.startswith("writes to ")]
        model_turns = rates["turn"] + rates["turn_with_knowledge"]
        output = second["model_output_tokens"] * use["output_burndown"]
        return {
            "model_tokens_a_minute": 60 * (second["model_input_tokens"] + output),
            "model_requests_a_minute": 60 * model_turns,
            "embedding_tokens_a_minute": 60 * second["embedding_tokens"],
            "lambda_concurrency": concurrency,
            "gateway_requests_a_second": second["rest_requests"] + second["websocket_messages"],
            "connections_a_second": rates["connection"],
            "executions_a_second": second["executions"],
            "transitions_a_second": second["transitions"],
            "table_writes_a_second": max(tables, default=0),
            "partition_writes_a_second": usage_writes * use["largest_workspace_share"],
            "aurora_capacity": second["data_api_requests"] / use["statements_per_acu"],
        }


def priced(amounts: Amounts, prices: dict[str, float]) -> dict[str, float]:
    """USD by what is paid for, the dearest first. Raises `KeyError` for what has no price."""
    paid = {name: amount * prices[name] for name, amount in amounts.items() if amount}
    return dict(sorted(paid.items(), key=lambda item: -item[1]))


@dataclass(frozen=True)
class Held:
    """A quota and what part of it a month's peak takes; `reached_at` in turns a month."""

    name: str
    share: float
    reached_at: float


def binding(model: Model, turns: float, quotas: list[dict[str, Any]]) -> list[Held]:
    """The quotas, the one that binds first in front."""
    load = model.peak(turns)
    held = [
        Held(
            quota["name"],
            load[quota["load"]] / quota["limit"],
            turns * quota["limit"] / load[quota["load"]] if load[quota["load"]] else float("inf"),
        )
        for quota in quotas
    ]
    return sorted(held, key=lambda each: -each.share)
