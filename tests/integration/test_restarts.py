"""What a gateway that was killed still knows when it is started again."""

from pathlib import Path

from tests.integration.parity.gateway import Server, wait_until


def test_state_is_there_again_when_the_gateway_was_killed(tmp_path: Path) -> None:
    state = tmp_path / "state"
    environment = {"PERSIST_STATE": "1", "STATE_DIR": str(state), "SNAPSHOT_SECONDS": "0.2"}
    first = Server(["-m", "localstack.server"], tmp_path / "first", environment)
    table = {"TableName": "notes", "BillingMode": "PAY_PER_REQUEST"}
    first.client("dynamodb").create_table(
        **table,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
    )
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
