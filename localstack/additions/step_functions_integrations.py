"""Calls of a state machine to services that the local stack serves itself.

The Data API needs nothing here: MiniStack forwards aws-sdk:rdsdata to whatever handler serves
"rds-data". It has no Bedrock runtime for state machines: calls go to the stand-in named by
AWS_ENDPOINT_URL_BEDROCK_RUNTIME, by botocore, which reads that variable.
"""

import json
from typing import Any

import botocore.session
from botocore import xform_name
from botocore.exceptions import ClientError
from botocore.response import StreamingBody
from ministack.services import stepfunctions as stock

from localstack.additions.seam import replace, require

Json = Any

_SDK_PREFIX = "arn:aws:states:::aws-sdk:bedrockruntime:"
_INVOKE_MODEL = "arn:aws:states:::bedrock:invokeModel"


def _call(action: str, arguments: Json) -> Json:
    """The answer of a Bedrock runtime action, with the names that state machines see.

    Raises the service's error with its prefix, as BedrockRuntime.ThrottlingException.
    """
    client = botocore.session.get_session().create_client(
        "bedrock-runtime",
        region_name=stock.get_region(),
        aws_access_key_id="local",
        aws_secret_access_key="local",  # noqa: S106 - the stand-in checks no signature
    )
    operation = client.meta.service_model.operation_model(f"{action[0].upper()}{action[1:]}")
    try:
        answer = getattr(client, xform_name(action))(
            **stock._sdk_json_param_value(arguments, operation.input_shape)
        )
    except ClientError as error:
        raise stock._ExecutionError(
            f"BedrockRuntime.{error.response['Error']['Code']}", error.response["Error"]["Message"]
        ) from None
    del answer["ResponseMetadata"]
    for name, value in answer.items():
        if isinstance(value, StreamingBody):
            answer[name] = value.read().decode()
    return stock._convert_keys_to_sfn_convention(answer)


def invoke_aws_sdk_integration(resource: str, input_data: Json) -> Json:
    """The result of an aws-sdk task."""
    if resource.startswith(_SDK_PREFIX):
        return _call(resource.removeprefix(_SDK_PREFIX), input_data)
    return _stock_aws_sdk(resource, input_data)


def _invoke_model(_: str, input_data: Json) -> Json:
    """bedrock:invokeModel: Body is JSON on both sides, where the API has text."""
    answer = _call("invokeModel", {**input_data, "Body": json.dumps(input_data["Body"])})
    return {**answer, "Body": json.loads(answer["Body"])}


_stock_aws_sdk: Any


def install() -> None:
    """Add the Bedrock runtime to what state machines can call; called by step_functions."""
    global _stock_aws_sdk
    require(stock, "_sdk_json_param_value", "value", "shape")
    require(stock, "_convert_keys_to_sfn_convention", "obj")
    _stock_aws_sdk = replace(stock, "_invoke_aws_sdk_integration", invoke_aws_sdk_integration)
    stock._SERVICE_DISPATCH[_INVOKE_MODEL] = _invoke_model
