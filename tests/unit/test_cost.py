"""The arithmetic of the cost model, on round numbers, and its data files together."""

from pathlib import Path
from typing import Any

import pytest

from layers.build import function_names
from tests.benchmarks.cost import __main__ as cost
from tests.benchmarks.cost import record
from tests.benchmarks.cost.model import SECONDS, Model, binding, data, database_minimum, priced

recorded = pytest.mark.skipif(not record.RECORDED.exists(), reason=f"{record.RECORDED} is missing")
NOTHING: dict[str, Any] = {"functions": {}}
TURN = {
    "transitions": 4,
    "executions": 1,
    "dynamodb_write_units": 30,
    "rds_data_requests": 2,
    "websocket_frames_in": 1,
    "websocket_posts": 9,
    "sqs_requests": 1,
    "write_units_by_table": {"turns": 20, "usage": 10},
    "functions": {"answer": {"invocations": 1, "ms": 5000}},
}
RECORDED: dict[str, Any] = {
    "kinds": {
        "turn": TURN,
        "turn_with_knowledge": TURN,
        "connection": NOTHING,
        "request": {"rest_requests": 1, "functions": {}},
        "document": NOTHING,
        "run_without_changes": {"dynamodb_write_units": 1, "dynamodb_tasks": 2, "functions": {}},
    },
    "memory": {**dict.fromkeys(function_names(), 1024), "answer": 2048},
    "resources": {"aws_kms_key": 2, "aws_secretsmanager_secret": 3},
}
USE = {"peak_factor": 10, "knowledge_share": 0.5, "documents_per_turn": 0}
MODEL = Model(RECORDED, data("assumptions") | USE)


def test_one_turn_takes_what_was_recorded() -> None:
    amounts = MODEL.amounts("turn")
    assert amounts["lambda_gb_seconds"] == 10
    assert amounts["websocket_messages"] == 10
    assert amounts["sqs_requests"] == 3
    assert MODEL.amounts("run_without_changes")["dynamodb_write_units"] == 3


def test_knowledge_is_more_to_read_for_the_model() -> None:
    use = MODEL.assumptions
    more = MODEL.amounts("turn_with_knowledge")["model_input_tokens"]
    assert more - MODEL.amounts("turn")["model_input_tokens"] == use["knowledge_tokens"]


def test_month_grows_by_its_turns_over_what_stands() -> None:
    idle, some, more = (MODEL.month(turns) for turns in (0, 1000, 3000))
    assert idle["transitions"] == 0
    assert idle["keys"] == some["keys"] == 2
    assert some["transitions"] == 4000
    assert more["transitions"] == 3 * some["transitions"]
    assert some["lambda_requests"] - idle["lambda_requests"] == pytest.approx(1000)
    assert idle["aurora_acu_hours"] == some["aurora_acu_hours"] == 2 * 730


def test_database_grows_when_statements_ask_for_more_than_the_least() -> None:
    turns = 10 * SECONDS  # ten turns a second, of two statements
    wanted = 20 / MODEL.assumptions["statements_per_acu"] * 730
    assert MODEL.month(turns, "dev")["aurora_acu_hours"] == pytest.approx(wanted)


def test_sum_is_amounts_times_prices() -> None:
    assert priced({"a": 10, "b": 3, "c": 0}, {"a": 0.5, "b": 2}) == {"b": 6, "a": 5}
    with pytest.raises(KeyError):
        priced({"unheard of": 1}, {})


def test_quota_that_is_used_most_binds_first() -> None:
    quotas = [
        {"name": "executions", "limit": 300, "load": "executions_a_second"},
        {"name": "concurrency", "limit": 1000, "load": "lambda_concurrency"},
        {"name": "unused", "limit": 1, "load": "embedding_tokens_a_minute"},
    ]
    turns = 6 * SECONDS  # sixty a second at the peak, of five seconds
    first, second, third = binding(MODEL, turns, quotas)
    assert [each.name for each in (first, second)] == ["concurrency", "executions"]
    assert [each.share for each in (first, second)] == pytest.approx([0.3, 0.2])
    assert first.reached_at == pytest.approx(20 * SECONDS)
    assert (third.share, third.reached_at) == (0, float("inf"))


def test_hot_partition_is_the_usage_of_the_largest_workspace() -> None:
    share = MODEL.assumptions["largest_workspace_share"]
    peak = MODEL.peak(SECONDS)
    assert peak["partition_writes_a_second"] == pytest.approx(10 * 10 * share)
    assert peak["table_writes_a_second"] == pytest.approx(10 * 20)


@recorded
def test_everything_that_was_recorded_has_a_price_and_every_quota_a_load() -> None:
    model, prices = Model.read(), data("prices")["usd"]
    for turns in (0, 1000, 10_000_000):
        paid = priced(model.month(turns), prices)
        assert min(paid.values()) > 0
    for quota in data("quotas")["quotas"]:
        assert model.peak(1000)[quota["load"]] > 0, quota["name"]
    assert set(model.works(1)) == set(model.recorded["kinds"])


@recorded
def test_recording_is_of_the_functions_that_there_are() -> None:
    kinds, command = (Model.read().recorded[name] for name in ("kinds", "command"))
    used = {name for kind in kinds.values() for name in kind["functions"]}
    assert used <= set(function_names()), f"record anew: {command}"
    assert {"authorizer", "chat_stream", "chat_end", "embed", "ws_message"} <= used


def test_bench_says_what_to_do_when_nothing_was_recorded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(record, "RECORDED", tmp_path / "recorded.json")
    cost.main()
    assert "python -m tests.benchmarks.cost.record" in capsys.readouterr().out


def test_least_capacity_is_the_environments() -> None:
    assert database_minimum("dev") == 0
    assert database_minimum("prod") == 2  # one unit on each of two instances


@pytest.mark.parametrize(
    ("item", "size"),
    [
        ({"id": {"S": "abc"}}, 5),
        ({"n": {"N": "12"}, "m": {"M": {"a": {"S": "é"}}}}, 3 + 1 + 3 + 3),
        ({"l": {"L": [{"S": "a"}, {"S": "b"}]}}, 1 + 3 + 2),
    ],
)
def test_item_is_as_large_as_its_names_and_values(item: record.Item, size: int) -> None:
    assert record.size(item) == size


class FakeDynamo:
    """One table with an index, and an item of 1,500 bytes."""

    def describe_table(self, **_: Any) -> Any:
        keys = [{"AttributeName": "owner"}, {"AttributeName": "at"}]
        return {"Table": {"GlobalSecondaryIndexes": [{"KeySchema": keys}]}}

    def get_item(self, **_: Any) -> Any:
        return {"Item": {"id": {"S": "1"}, "text": {"S": "x" * 1500}, "owner": {"S": "o"}}}


PUT = {"TableName": "t", "Item": {"id": {"S": "1"}, "owner": {"S": "o"}, "at": {"S": "1"}}}
UPDATE = {"TableName": "t", "Key": {"id": {"S": "1"}}, "UpdateExpression": "SET x = :x"}
CHECK = {"TableName": "t", "Key": {"id": {"S": "1"}}, "ConditionExpression": "x = :x"}


@pytest.mark.parametrize(
    ("operation", "body", "units"),
    [
        ("PutItem", PUT, 2),  # the item and its place in the index
        ("UpdateItem", UPDATE, 2),  # two KiB begun, in no index: `at` is missing
        ("TransactWriteItems", {"TransactItems": [{"Put": PUT}, {"Update": UPDATE}]}, 8),
        ("TransactWriteItems", {"TransactItems": [{"ConditionCheck": CHECK}]}, 4),
        ("TransactWriteItems", {"TransactItems": [{"Delete": {**PUT, **CHECK}}]}, 4),
        ("BatchWriteItem", {"RequestItems": {"t": [{"PutRequest": PUT}]}}, 2),
    ],
)
def test_write_units_are_counted_as_aws_does(operation: str, body: Any, units: int) -> None:
    tables = record.Tables(FakeDynamo())
    written, read = tables.units({"operation": operation, "body": body})
    assert (written, read) == ({"t": units}, 0)


@pytest.mark.parametrize(("consistent", "units"), [(True, 3), (False, 1.5)])
def test_read_units_are_4_kib_and_half_where_they_may_be_old(
    consistent: bool, units: float
) -> None:
    made = {"operation": "Query", "response_bytes": 9000, "body": {"ConsistentRead": consistent}}
    assert record.Tables(FakeDynamo()).units(made) == ({}, units)
