"""The frames that a client sends: what they look like, and how they are read."""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from chatbot.errors import BadRequest

MAX_BYTES = 32 * 1024
MAX_MARK_LENGTH = 255

Id = Annotated[
    str,
    StringConstraints(
        pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$", to_lower=True
    ),
]


class _Frame(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


class Chat(_Frame):
    type: Literal["chat"]
    chatbot_id: Id
    content: Annotated[str, StringConstraints(min_length=1, max_length=24_000)]
    conversation_id: Id | None = None
    client_message_id: (
        Annotated[str, StringConstraints(min_length=1, max_length=MAX_MARK_LENGTH)] | None
    ) = None


class Open(_Frame):
    type: Literal["open"]
    conversation_id: Id


class Cancel(_Frame):
    type: Literal["cancel"]
    message_id: Id


class Resume(_Frame):
    type: Literal["resume"]
    message_id: Id
    after_seq: Annotated[int, Field(ge=0, lt=2**31)]


class Approve(_Frame):
    type: Literal["approve"]
    message_id: Id
    tool_use_id: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    approved: bool


class Ping(_Frame):
    type: Literal["ping"]


type Frame = Chat | Open | Cancel | Resume | Approve | Ping

_frame: TypeAdapter[Frame] = TypeAdapter(
    Annotated[Chat | Open | Cancel | Resume | Approve | Ping, Field(discriminator="type")]
)


def decode(event: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON object in a WebSocket event. Raises `BadRequest`."""
    try:
        body = event.get("body") or ""
        data = base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()
        value = json.loads(data.decode(), parse_constant=_refuse)
        # What cannot be encoded (lone surrogates) cannot be stored or sent either.
        json.dumps(value, ensure_ascii=False).encode()
    except (UnicodeError, binascii.Error, ValueError, RecursionError):
        raise BadRequest("A frame is a JSON object in UTF-8.") from None
    if not isinstance(value, dict):
        raise BadRequest("A frame is a JSON object.")
    return value


def check_size(event: Mapping[str, Any]) -> None:
    """Raise `BadRequest` for a frame that is too large, once it is known whose answer that is."""
    body = event["body"]
    size = len(base64.b64decode(body) if event.get("isBase64Encoded") else body.encode())
    if size > MAX_BYTES:
        raise BadRequest(f"A frame has at most {MAX_BYTES} bytes.")


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def parse(value: Mapping[str, Any]) -> Frame:
    """The frame that an object is. Raises `BadRequest` that names the first field at fault."""
    try:
        return _frame.validate_python(value)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        if fault["type"].startswith("union_tag"):
            raise BadRequest("The type of the frame is not known.") from None
        field = ".".join(str(part) for part in fault["loc"][1:])
        raise BadRequest(f"{field[:100]}: {fault['msg']}") from None


def mark(value: Mapping[str, Any]) -> dict[str, str]:
    """What an error frame says of the frame that it answers, be that frame wrong or not."""
    limits = {"client_message_id": MAX_MARK_LENGTH, "message_id": 36}
    return {
        name: value[name]
        for name, limit in limits.items()
        if isinstance(value.get(name), str) and len(value[name]) <= limit
    }
