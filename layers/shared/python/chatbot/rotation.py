"""What Secrets Manager asks of a function that rotates a secret whose value is a JSON object.

It calls with `{"Step", "SecretId", "ClientRequestToken"}`, one step after the other, and any of
them again where it failed. The token is the id of the version that is to become the current one.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from chatbot import aws, log

Value = dict[str, Any]


def rotate(
    event: Mapping[str, str],
    renewed: Callable[[Value], Value],
    put_to_use: Callable[[Value], None] = lambda _: None,
) -> None:
    """Take one step: `renewed` makes the new value from the current one, `put_to_use` tells those
    who check it, last of all and right before the new version becomes the current one.

    `setSecret` does nothing: what is told then would be seconds ahead of the secret's readers.
    `testSecret` neither: Secrets Manager also calls it for versions without a value.
    """
    client = aws.client("secretsmanager")
    secret, token = event["SecretId"], event["ClientRequestToken"]

    def value(**version: str) -> Value:
        read: Value = json.loads(
            client.get_secret_value(SecretId=secret, **version)["SecretString"]
        )
        return read

    if event["Step"] == "createSecret":
        try:
            value(VersionId=token, VersionStage="AWSPENDING")
        except client.exceptions.ResourceNotFoundException:
            client.put_secret_value(
                SecretId=secret,
                ClientRequestToken=token,
                SecretString=json.dumps(renewed(value(VersionStage="AWSCURRENT"))),
                VersionStages=["AWSPENDING"],
            )
    elif event["Step"] == "finishSecret":
        stages: dict[str, list[str]] = client.describe_secret(SecretId=secret)["VersionIdsToStages"]
        current = next(version for version in stages if "AWSCURRENT" in stages[version])
        if current == token:
            return
        put_to_use(value(VersionId=token, VersionStage="AWSPENDING"))
        client.update_secret_version_stage(
            SecretId=secret,
            VersionStage="AWSCURRENT",
            MoveToVersionId=token,
            RemoveFromVersionId=current,
        )
        log.logger().info("secret rotated", code=log.Code.ROTATED, secret=secret)
