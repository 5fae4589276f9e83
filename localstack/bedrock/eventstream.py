"""The framing of `application/vnd.amazon.eventstream`, as AWS's SDKs read it.

Prelude: total length, headers' length (both 32 bits, big-endian), their CRC-32; then headers,
payload, and the CRC-32 of all before. A header is a length-prefixed name, the type 7 (string) and a
value with a 16-bit length.
"""

import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any


def _header(name: str, value: str) -> bytes:
    key, text = name.encode(), value.encode()
    return bytes([len(key)]) + key + b"\x07" + struct.pack("!H", len(text)) + text


def _message(headers: Mapping[str, str], payload: Mapping[str, Any]) -> bytes:
    head = b"".join(_header(name, value) for name, value in headers.items())
    body = json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode()
    prelude = struct.pack("!II", 12 + len(head) + len(body) + 4, len(head))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + head + body
    return message + struct.pack("!I", zlib.crc32(message))


def event(kind: str, payload: Mapping[str, Any]) -> bytes:
    """One event, such as `contentBlockDelta`."""
    headers = {
        ":event-type": kind,
        ":content-type": "application/json",
        ":message-type": "event",
    }
    return _message(headers, payload)


def exception(kind: str, message: str, **fields: Any) -> bytes:
    """An error in the middle of a stream, such as `modelStreamErrorException`."""
    headers = {
        ":exception-type": kind,
        ":content-type": "application/json",
        ":message-type": "exception",
    }
    return _message(headers, {"message": message, **fields})
