"""The rotation of signing keys, by the steps that Secrets Manager takes, on a fake of it."""

import json
import time
import uuid
from types import SimpleNamespace
from typing import Any

import pytest

from chatbot import aws, tokens
from functions.rotate_signing_key.handler import handler
from tests.unit.conftest import SIGNING_SECRET

STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")


@pytest.fixture(autouse=True)
def stores(cloud: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_keys", tokens.SigningKeys())


def step(name: str, token: str) -> None:
    event = {"Step": name, "SecretId": "signing", "ClientRequestToken": token}
    handler(event, SimpleNamespace(aws_request_id="r"))


def rotate() -> dict[str, Any]:
    """A whole rotation, each step taken twice: what the secret holds then."""
    token = str(uuid.uuid4())
    for name in STEPS:
        step(name, token)
        step(name, token)
    # moto gives who names no stage the first value, Secrets Manager the current one.
    aws.client("secretsmanager").put_secret_value(
        SecretId="signing", SecretString=json.dumps(value())
    )
    return value()


def value() -> dict[str, Any]:
    client = aws.client("secretsmanager")
    found = client.get_secret_value(SecretId="signing", VersionStage="AWSCURRENT")
    read: dict[str, Any] = json.loads(found["SecretString"])
    return read


def test_rotation_keeps_the_last_key_and_makes_the_next() -> None:
    first = rotate()
    assert first["current"] == "3"
    assert set(first["keys"]) == {"2", "3", "4"}
    assert first["keys"]["2"] == SIGNING_SECRET["keys"]["2"]
    assert len({*first["keys"].values()}) == 3
    second = rotate()
    assert second["current"] == "4"
    assert set(second["keys"]) == {"3", "4", "5"}
    assert second["keys"].items() >= {(kid, first["keys"][kid]) for kid in ("3", "4")}
    assert min(len(key) for key in second["keys"].values()) >= 64


def test_keys_are_as_they_were_when_the_last_step_is_not_taken() -> None:
    token = str(uuid.uuid4())
    for name in STEPS[:-1]:
        step(name, token)
    assert value() == SIGNING_SECRET


def test_tokens_of_both_keys_are_good_when_one_process_has_not_read_the_secret_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rotate()
    before = tokens.issue_access_token("u", 1)
    assert tokens.verify_access_token(before).user_id == "u"
    checker = tokens._keys  # it has just read the secret, so an unknown key is not looked up
    rotate()
    monkeypatch.setattr(tokens, "_keys", tokens.SigningKeys())
    after = tokens.issue_access_token("v", 1)
    assert tokens.verify_access_token(before).user_id == "u"
    monkeypatch.setattr(tokens, "_keys", checker)
    assert time.monotonic() - checker._loaded_at < tokens._RELOAD_SECONDS
    assert tokens.verify_access_token(after).user_id == "v"
