"""Rotation of secrets by their Lambda, in four steps, as Secrets Manager does it.

MiniStack copies the current value into a new version and never calls the Lambda, and does not know
CancelRotateSecret. Rotation on a schedule is not done here: RotateSecret is the only way in.
"""

import json
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import Any

from ministack.core.responses import error_response_json, json_response, new_uuid
from ministack.services import lambda_svc
from ministack.services import secretsmanager as stock

from localstack.additions.seam import replace, require

_log = logging.getLogger("secretsmanager")

Json = Any
Secret = dict[str, Any]

STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")


class StepFailed(Exception):
    """The rotation function answered a step with an error."""


def _refuse(message: str, code: str = "InvalidRequestException") -> Json:
    return error_response_json(code, message, 400)


def rotate_secret(data: Json) -> Json:
    """RotateSecret: the answer comes at once, the four steps follow.

    "If the AWSPENDING staging label is present but not attached to the same version as AWSCURRENT,
    then any later invocation of RotateSecret assumes that a previous rotation request is still in
    progress and returns an error." Without RotateImmediately only the testSecret step runs:
    "This test creates an AWSPENDING version of the secret and then removes it."
    """
    _, secret = stock._resolve(data.get("SecretId"))
    arn = data.get("RotationLambdaARN") or (secret or {}).get("RotationLambdaARN")
    if secret is None or secret.get("DeletedDate") or stock._is_replica(secret):
        return _stock_rotate(data)
    if not arn:
        return _refuse("No Lambda rotation function ARN is associated with this secret.")
    if not lambda_svc._get_func_record_for_ref(arn)[0]:
        return _refuse(f"The Lambda function {arn} does not exist.", "ResourceNotFoundException")
    pending, version = stock._find_stage_version(secret, "AWSPENDING")
    if pending and "AWSCURRENT" not in version["Stages"]:
        return _refuse("A previous rotation isn't complete. That rotation will be reattempted.")
    token = data.get("ClientRequestToken") or new_uuid()
    secret["RotationEnabled"] = True
    secret["RotationLambdaARN"] = arn
    secret["RotationRules"] = data.get("RotationRules") or secret.get("RotationRules")
    stock._remove_stage_everywhere(secret, "AWSPENDING")
    secret["Versions"][token] = {
        "SecretString": None,
        "SecretBinary": None,
        "CreatedDate": int(time.time()),
        "Stages": ["AWSPENDING"],
    }
    work = _rotate if data.get("RotateImmediately", True) else _try_out
    threading.Thread(
        target=copy_context().run, args=(work, secret, arn, token), daemon=True
    ).start()
    return json_response({"ARN": secret["ARN"], "Name": secret["Name"], "VersionId": token})


def _step(secret: Secret, arn: str, token: str, step: str) -> None:
    function, config, _ = lambda_svc._get_func_record_for_ref(arn)
    record = lambda_svc._execution_record_for_config(function, config)
    event = {"Step": step, "SecretId": secret["ARN"], "ClientRequestToken": token}
    answer = lambda_svc._execute_function_with_config_scope(record, event)
    if answer.get("error"):
        raise StepFailed(f"{step}: {answer.get('body')}")


def _rotate(secret: Secret, arn: str, token: str) -> None:
    """Run the four steps; a failed one leaves the version AWSPENDING, as on AWS."""
    try:
        for step in STEPS:
            if not secret["RotationEnabled"]:
                _log.warning("Rotation of %s was cancelled before %s", secret["Name"], step)
                return
            _step(secret, arn, token, step)
    except StepFailed as error:
        _log.warning("Rotation of %s failed at %s", secret["Name"], error)
        return
    if "AWSCURRENT" in secret["Versions"][token]["Stages"]:
        secret["LastRotatedDate"] = int(time.time())
        stock._remove_stage(secret, token, "AWSPENDING")
        stock._sync_replicas(secret)


def _try_out(secret: Secret, arn: str, token: str) -> None:
    """Run testSecret on a pending version that is taken away again."""
    try:
        _step(secret, arn, token, "testSecret")
    except StepFailed as error:
        _log.warning("The rotation of %s failed its test at %s", secret["Name"], error)
    stock._remove_stage(secret, token, "AWSPENDING")
    if not secret["Versions"][token]["Stages"]:
        del secret["Versions"][token]


def cancel_rotate_secret(data: Json) -> Json:
    """CancelRotateSecret: "Turns off automatic rotation, and if a rotation is currently in
    progress, cancels the rotation"; the staging labels stay as they are."""
    _, secret = stock._resolve(data.get("SecretId"))
    if secret is None:
        return _refuse(
            "Secrets Manager can't find the specified secret.", "ResourceNotFoundException"
        )
    if secret.get("DeletedDate"):
        return _refuse(
            "You can't perform this operation on the secret because it was marked for deletion."
        )
    secret["RotationEnabled"] = False
    pending, _ = stock._find_stage_version(secret, "AWSPENDING")
    shown = {"VersionId": pending} if pending else {}
    return json_response({"ARN": secret["ARN"], "Name": secret["Name"], **shown})


def get_secret_value(data: Json) -> Json:
    """GetSecretValue: a version that was never given a value is not found."""
    status, headers, body = _stock_get(data)
    if status == 200:
        found = json.loads(body)
        if "SecretString" not in found and "SecretBinary" not in found:
            stage = data.get("VersionStage", "AWSCURRENT")
            return _refuse(
                "Secrets Manager can't find the specified secret value for "
                + (
                    f"VersionId: {data['VersionId']}"
                    if data.get("VersionId")
                    else f"staging label: {stage}"
                ),
                "ResourceNotFoundException",
            )
    return status, headers, body


def describe_secret(data: Json) -> Json:
    """DescribeSecret, with LastRotatedDate."""
    status, headers, body = _stock_describe(data)
    _, secret = stock._resolve(data.get("SecretId"))
    if status != 200 or "LastRotatedDate" not in secret:
        return status, headers, body
    return json_response({**json.loads(body), "LastRotatedDate": secret["LastRotatedDate"]})


async def handle_request(
    method: str, path: str, headers: dict[str, str], body: bytes, query_params: Json
) -> Json:
    """MiniStack's dispatch and CancelRotateSecret."""
    if headers.get("x-amz-target") == "secretsmanager.CancelRotateSecret":
        return cancel_rotate_secret(json.loads(body))
    return await _stock_handle_request(method, path, headers, body, query_params)


_stock_rotate: Callable[[Json], Json]
_stock_get: Callable[[Json], Json]
_stock_describe: Callable[[Json], Json]
_stock_handle_request: Callable[..., Awaitable[Json]]


def install() -> None:
    """Put these in the place of MiniStack's; raises SeamMissing if it is not as pinned."""
    global _stock_rotate, _stock_get, _stock_describe, _stock_handle_request
    require(stock, "_resolve", "secret_id", "use_arn_scope")
    require(stock, "_find_stage_version", "secret", "stage")
    require(stock, "_remove_stage", "secret", "version_id", "stage")
    require(stock, "_remove_stage_everywhere", "secret", "stage", "except_version_id")
    require(stock, "_sync_replicas", "secret")
    require(stock, "_is_replica", "secret")
    require(lambda_svc, "_get_func_record_for_ref", "function_ref")
    require(lambda_svc, "_execution_record_for_config", "func", "config")
    require(lambda_svc, "_execute_function_with_config_scope", "func", "event")
    _stock_rotate = replace(stock, "_rotate_secret", rotate_secret)
    _stock_get = replace(stock, "_get_secret_value", get_secret_value)
    _stock_describe = replace(stock, "_describe_secret", describe_secret)
    _stock_handle_request = replace(stock, "handle_request", handle_request)
