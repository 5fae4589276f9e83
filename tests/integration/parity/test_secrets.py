"""Rotation of secrets: what AWS documents, where MiniStack as it comes does otherwise.

Quotations are from the Secrets Manager User Guide and API Reference.
"""

import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.integration.parity.gateway import Server, wait_until

# Without boto3: a function sees only its layers, and these have none.
ROTATION = """
import json
import os
import urllib.request

FAILING = ""


def call(action, **body):
    request = urllib.request.Request(
        os.environ["AWS_ENDPOINT_URL"],
        json.dumps(body).encode(),
        {
            "X-Amz-Target": f"secretsmanager.{action}",
            "Content-Type": "application/x-amz-json-1.1",
        },
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def handler(event, context):
    step, secret, token = event["Step"], event["SecretId"], event["ClientRequestToken"]
    print(f"step {step}")
    if step == FAILING:
        raise ValueError(step)
    stages = call("DescribeSecret", SecretId=secret)["VersionIdsToStages"]
    if "AWSPENDING" not in stages.get(token, []):
        raise ValueError("no stage for rotation")
    if step == "createSecret":
        call(
            "PutSecretValue",
            SecretId=secret,
            ClientRequestToken=token,
            SecretString="new",
            VersionStages=["AWSPENDING"],
        )
    if step == "finishSecret":
        current = next(each for each in stages if "AWSCURRENT" in stages[each])
        call(
            "UpdateSecretVersionStage",
            SecretId=secret,
            VersionStage="AWSCURRENT",
            MoveToVersionId=token,
            RemoveFromVersionId=current,
        )
"""
STEPS = ["createSecret", "setSecret", "testSecret", "finishSecret"]


def secret(server: Server, **value: str) -> str:
    """The name of a new secret."""
    name = f"parity-{uuid.uuid4().hex[:8]}"
    server.client("secretsmanager").create_secret(Name=name, **value)
    return name


def rotate(server: Server, name: str, source: str = ROTATION, **options: Any) -> tuple[str, str]:
    """Rotate a secret by a function of this source: (the function, the new version)."""
    function = server.function(source)
    arn = server.client("lambda").get_function(FunctionName=function)["Configuration"]
    answer = server.client("secretsmanager").rotate_secret(
        SecretId=name,
        RotationLambdaARN=arn["FunctionArn"],
        RotationRules={"AutomaticallyAfterDays": 30},
        **options,
    )
    return function, answer["VersionId"]


def steps(server: Server, function: str) -> list[str]:
    """The steps that a function was called with so far."""
    lines = [line.split() for line in server.lines(function) if line.startswith("step ")]
    return [words[1] for words in lines]


def test_rotation_calls_the_four_steps(server: Server) -> None:
    """ "During rotation, Secrets Manager calls the same function several times, each time with
    different parameters": createSecret, setSecret, testSecret, finishSecret; afterwards "the
    AWSCURRENT label is moved to the new version" and the old one is AWSPREVIOUS."""
    client = server.client("secretsmanager")
    name = secret(server, SecretString="old")
    before = client.get_secret_value(SecretId=name)["VersionId"]
    function, version = rotate(server, name)
    assert wait_until(lambda: "LastRotatedDate" in client.describe_secret(SecretId=name), 5)
    assert client.get_secret_value(SecretId=name)["SecretString"] == "new"
    described = client.describe_secret(SecretId=name)
    assert described["RotationEnabled"]
    assert described["VersionIdsToStages"] == {version: ["AWSCURRENT"], before: ["AWSPREVIOUS"]}
    assert wait_until(lambda: len(steps(server, function)) == len(STEPS))
    assert steps(server, function) == STEPS


def test_a_failed_step_leaves_the_old_value_and_blocks_rotation(server: Server) -> None:
    """ "If the AWSPENDING staging label is present but not attached to the same version as
    AWSCURRENT, then any later invocation of RotateSecret assumes that a previous rotation request
    is still in progress and returns an error." """
    client = server.client("secretsmanager")
    name = secret(server, SecretString="old")
    source = ROTATION.replace('FAILING = ""', 'FAILING = "testSecret"')
    function, version = rotate(server, name, source)
    assert wait_until(lambda: steps(server, function) == STEPS[:3], 5)
    assert client.get_secret_value(SecretId=name)["SecretString"] == "old"
    assert client.describe_secret(SecretId=name)["VersionIdsToStages"][version] == ["AWSPENDING"]
    with pytest.raises(ClientError) as refused:
        client.rotate_secret(SecretId=name)
    assert refused.value.response["Error"]["Code"] == "InvalidRequestException"


def test_rotation_later_is_only_tried_out(server: Server) -> None:
    """ "If you don't immediately rotate the secret, Secrets Manager tests the rotation
    configuration by running the testSecret step of the Lambda rotation function. This test creates
    an AWSPENDING version of the secret and then removes it." """
    client = server.client("secretsmanager")
    name = secret(server, SecretString="old")
    function, version = rotate(server, name, RotateImmediately=False)
    assert wait_until(lambda: steps(server, function) == ["testSecret"], 5)
    stages = client.describe_secret(SecretId=name)["VersionIdsToStages"]
    assert wait_until(
        lambda: version not in client.describe_secret(SecretId=name)["VersionIdsToStages"]
    ), stages
    assert client.get_secret_value(SecretId=name)["SecretString"] == "old"


def test_rotation_can_be_turned_off(server: Server) -> None:
    """CancelRotateSecret "turns off automatic rotation"."""
    client = server.client("secretsmanager")
    name = secret(server, SecretString="old")
    rotate(server, name, RotateImmediately=False)
    client.cancel_rotate_secret(SecretId=name)
    assert not client.describe_secret(SecretId=name)["RotationEnabled"]


def test_a_secret_without_a_value_is_not_found(server: Server) -> None:
    """GetSecretValue: "ResourceNotFoundException: Secrets Manager can't find the resource that you
    asked for", for a staging label that no value has."""
    with pytest.raises(ClientError) as refused:
        server.client("secretsmanager").get_secret_value(SecretId=secret(server))
    assert refused.value.response["Error"]["Code"] == "ResourceNotFoundException"
