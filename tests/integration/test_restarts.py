"""What a gateway that was killed still knows when it is started again."""

import json
from pathlib import Path

from tests.integration.parity.gateway import Server, wait_until

NOTES = {
    "TableName": "notes",
    "BillingMode": "PAY_PER_REQUEST",
    "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
    "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
}


def test_state_is_there_again_when_the_gateway_was_killed(tmp_path: Path) -> None:
    state = tmp_path / "state"
    environment = {"PERSIST_STATE": "1", "STATE_DIR": str(state), "SNAPSHOT_SECONDS": "0.2"}
    first = Server(["-m", "localstack.server"], tmp_path / "first", environment)
    first.client("dynamodb").create_table(**NOTES)
    item = {"id": {"S": "kept-note"}}
    first.client("dynamodb").put_item(TableName="notes", Item=item)
    saved = state / "dynamodb.json"
    assert wait_until(lambda: saved.exists() and "kept-note" in saved.read_text(encoding="utf-8"))
    first.process.kill()
    first.stop()
    second = Server(["-m", "localstack.server"], tmp_path / "second", environment)
    try:
        found = second.client("dynamodb").get_item(TableName="notes", Key=item)["Item"]
    finally:
        second.stop()
    assert found == item


def test_new_records_are_delivered_when_the_stream_was_saved_before_its_readers_place(
    tmp_path: Path,
) -> None:
    state, seen = tmp_path / "state", tmp_path / "seen"
    environment = {"PERSIST_STATE": "1", "STATE_DIR": str(state), "SNAPSHOT_SECONDS": "0.2"}
    tables, functions = state / "dynamodb.json", state / "lambda.json"
    first = Server(["-m", "localstack.server"], tmp_path / "first", environment)
    stream = {"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"}
    created = first.client("dynamodb").create_table(**NOTES, StreamSpecification=stream)
    function = first.function(
        f"""
        def handler(event, context):
            with open("{seen}", "a") as file:
                for record in event["Records"]:
                    print(record["dynamodb"]["Keys"]["id"]["S"], file=file)
        """
    )
    arn = created["TableDescription"]["LatestStreamArn"]
    first.client("lambda").create_event_source_mapping(
        FunctionName=function, EventSourceArn=arn, StartingPosition="TRIM_HORIZON"
    )
    assert wait_until(lambda: tables.exists() and "notes" in tables.read_text(encoding="utf-8"))
    before = tables.read_bytes()
    for note in ("one", "two"):
        first.client("dynamodb").put_item(TableName="notes", Item={"id": {"S": note}})

    def places() -> list[int]:
        saved = json.loads(functions.read_text(encoding="utf-8"))
        return [*saved["payload"]["dynamodb_stream_positions"]["data"].values()]

    assert wait_until(lambda: 2 in places())
    first.process.kill()
    first.stop()
    tables.write_bytes(before)
    second = Server(["-m", "localstack.server"], tmp_path / "second", environment)
    try:
        second.client("dynamodb").put_item(TableName="notes", Item={"id": {"S": "three"}})
        assert wait_until(lambda: "three" in seen.read_text(encoding="utf-8"))
    finally:
        second.stop()
