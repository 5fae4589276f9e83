"""What Bedrock refuses, with its words.

Shapes, required and unknown fields, lengths and ranges come from botocore's model of the service;
what the model does not say (roles, blank text, tools) is checked here as Converse checks it.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import botocore.session
from botocore.model import Shape
from botocore.validate import ParamValidator

MAX_OUTPUT_TOKENS = 64_000
# These refuse `temperature` and `topP` together.
_ONE_SAMPLING_FIELD = re.compile(r"claude-(?:opus|sonnet|haiku)-(?:4-[1-9](?!\d)|[5-9])")
_MODEL = re.compile(
    r"arn:aws[a-z-]*:bedrock:.+|[a-z0-9-]+(?:\.[a-z0-9-]+)+(?::\d+)?(?::[a-z0-9]+)?"
)


class Invalid(Exception):
    """A `ValidationException`; its text is the message."""


@cache
def _input_shape(operation: str) -> Shape:
    service = botocore.session.Session().get_service_model("bedrock-runtime")
    shape = service.operation_model(operation).input_shape
    if shape is None:
        raise TypeError(f"botocore knows no input of {operation}")
    return shape


def check_model(model_id: str) -> None:
    if not _MODEL.fullmatch(model_id):
        raise Invalid("The provided model identifier is invalid.")


def check_conversation(operation: str, model_id: str, body: Mapping[str, Any]) -> None:
    """Raise `Invalid` if Bedrock would. `operation` is `Converse` or `ConverseStream`."""
    check_model(model_id)
    report = ParamValidator().validate({"modelId": model_id, **body}, _input_shape(operation))
    if report.has_errors():
        raise Invalid(report.generate_report())
    messages = body.get("messages") or []
    if not messages:
        raise Invalid("The messages field is empty. Add a message and try again.")
    _check_system(body.get("system") or [])
    _check_roles(messages)
    for position, message in enumerate(messages):
        _check_content(position, message["content"])
    _check_tools(messages, bool((body.get("toolConfig") or {}).get("tools")))
    _check_inference(model_id, body.get("inferenceConfig") or {})


def _check_system(blocks: Sequence[Mapping[str, Any]]) -> None:
    for position, block in enumerate(blocks):
        if "text" in block and not block["text"].strip():
            raise Invalid(
                f"The text field in the SystemContentBlock object at system.{position} is blank. "
                "Add text to the text field, and try again."
            )


def _check_roles(messages: Sequence[Mapping[str, Any]]) -> None:
    if messages[0]["role"] != "user":
        raise Invalid(
            "A conversation must start with a user message. Try again with a conversation that "
            "starts with a user message."
        )
    for before, message in pairwise(messages):
        if before["role"] == message["role"]:
            raise Invalid(
                "A conversation must alternate between user and assistant roles. Make sure the "
                "conversation alternates between user and assistant roles and try again."
            )
    if messages[-1]["role"] != "user":
        raise Invalid(
            "This model does not support assistant message prefill. The conversation must end "
            "with a user message."
        )


def _check_content(position: int, content: Sequence[Mapping[str, Any]]) -> None:
    if not content:
        raise Invalid(
            f"The content field in the Message object at messages.{position} is empty. Add a "
            "ContentBlock object to the content field and try again."
        )
    for index, block in enumerate(content):
        if "text" in block and not block["text"].strip():
            raise Invalid(
                f"The text field in the ContentBlock object at messages.{position}.content.{index} "
                "is blank. Add text to the text field, and try again."
            )


def _identifiers(message: Mapping[str, Any], kind: str) -> list[str]:
    return [block[kind]["toolUseId"] for block in message["content"] if kind in block]


def _check_tools(messages: Sequence[Mapping[str, Any]], has_tools: bool) -> None:
    asked: list[str] = []
    for position, message in enumerate(messages):
        uses, results = _identifiers(message, "toolUse"), _identifiers(message, "toolResult")
        if (uses or results) and not has_tools:
            raise Invalid(
                "The toolConfig field must be defined when using toolUse and toolResult content "
                "blocks."
            )
        if (uses and message["role"] == "user") or (results and message["role"] == "assistant"):
            raise Invalid(f"A tool block stands in the wrong role at messages.{position}.content.")
        if len(set(uses)) != len(uses):
            raise Invalid(
                f"The toolUse blocks at messages.{position}.content contain duplicate Ids."
            )
        missing = [identifier for identifier in asked if identifier not in results]
        if missing:
            raise Invalid(
                f"Expected toolResult blocks at messages.{position}.content for the following "
                f"Ids: {', '.join(missing)}"
            )
        if len(results) > len(asked):
            raise Invalid(
                f"The number of toolResult blocks at messages.{position}.content exceeds the "
                "number of toolUse blocks of previous turn."
            )
        asked = uses


def _check_inference(model_id: str, inference: Mapping[str, Any]) -> None:
    if inference.get("maxTokens", 1) > MAX_OUTPUT_TOKENS:
        raise Invalid(
            "The maximum tokens you requested exceeds the model limit of "
            f"{MAX_OUTPUT_TOKENS}. Try again with a maximum tokens value that is lower than "
            f"{MAX_OUTPUT_TOKENS}."
        )
    for name, top in (("temperature", 1), ("topP", 1)):
        if not 0 <= inference.get(name, 0) <= top:
            raise Invalid(f"{name} must be between 0 and {top}.")
    if _ONE_SAMPLING_FIELD.search(model_id) and {"temperature", "topP"} <= set(inference):
        raise Invalid(
            "The model returned the following errors: `temperature` and `top_p` cannot both be "
            "specified for this model. Please use only one."
        )
