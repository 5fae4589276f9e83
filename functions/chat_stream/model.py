"""Reads a model's stream in a thread, so that whoever waits for it can do other things too."""

import queue
import threading
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from chatbot.aws import session
from functions.chat_stream.tool_use import MAX_INPUT_BYTES, Use

_TEMPORARY = {
    "throttlingexception",
    "modelstreamerrorexception",
    "internalserverexception",
    "serviceunavailableexception",
    "modeltimeoutexception",
    "modelnotreadyexception",
    "modelerrorexception",
}
_STOP_REASONS = {
    "end_turn": "end_turn",
    "max_tokens": "max_tokens",
    "stop_sequence": "stop_sequence",
    "guardrail_intervened": "guardrail_intervened",
    "content_filtered": "guardrail_intervened",
    "model_context_window_exceeded": "max_tokens",
    "tool_use": "tool_use",
}


class Text(NamedTuple):
    """The next piece of the answer; empty where the model writes something else."""

    text: str


class Stop(NamedTuple):
    """The model has said all that it will; `reason` is the contract's, or `tool_use`."""

    reason: str


class Usage(NamedTuple):
    """What the model counted. Tokens read from the cache and written to it are input tokens too."""

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0


class Broken(NamedTuple):
    """The stream ended with an error, by its code in lower case."""

    code: str

    @property
    def is_temporary(self) -> bool:
        return self.code in _TEMPORARY


class Closed(NamedTuple):
    """The stream ended, and nothing follows."""


type Event = Text | Use | Stop | Usage | Broken | Closed


class Reader:
    """One `ConverseStream` call. Events come by `next`, the last is `Broken` or `Closed`."""

    def __init__(self, request: dict[str, Any]) -> None:
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._stream: Any = None
        self._use: Use | None = None
        # A daemon: where the model is silent, the call cannot be broken off, only left behind.
        threading.Thread(target=self._read, args=(request,), daemon=True).start()

    def next(self, seconds: float) -> Event | None:
        """The next event, or None where none comes within that time."""
        try:
            return self._events.get(timeout=seconds)
        except queue.Empty:
            return None

    def stop(self) -> None:
        """Ask the model for nothing more."""
        self._stopped.set()
        if self._stream is not None:
            # Closing would wait for the thread's read to return; shutting the socket ends it.
            with suppress(RuntimeError, ValueError):
                self._stream._raw_stream.shutdown()

    def _read(self, request: dict[str, Any]) -> None:
        try:
            self._stream = _bedrock().converse_stream(**request)["stream"]
            for event in self._stream:
                if self._stopped.is_set():
                    break
                self._take(event)
            self._events.put(Closed())
        except ClientError as error:
            self._events.put(Broken(error.response["Error"]["Code"].lower()))
        except (BotoCoreError, HTTPError, OSError):
            self._events.put(Broken("serviceunavailableexception"))
        except Exception as error:  # noqa: BLE001  a thread's exception would be seen by nobody
            self._events.put(Broken(type(error).__name__.lower()))
        finally:
            if self._stream is not None:
                self._stream.close()

    def _take(self, event: dict[str, Any]) -> None:
        match event:
            case {"contentBlockDelta": {"delta": {"text": str(text)}}}:
                # What is no Unicode text (half a surrogate pair) could not be stored.
                self._events.put(Text(text.encode("utf-8", "replace").decode()))
            case {"contentBlockStart": {"start": {"toolUse": {"toolUseId": key, "name": name}}}}:
                self._use = Use(str(key), str(name), "")
            case {"contentBlockDelta": {"delta": {"toolUse": {"input": str(text)}}}} if self._use:
                if len(self._use.text) <= MAX_INPUT_BYTES:  # longer ones are refused anyway
                    self._use = self._use._replace(text=self._use.text + text)
                self._events.put(Text(""))
            case {"contentBlockStop": _} if self._use:
                self._events.put(self._use)
                self._use = None
            case {"messageStop": {"stopReason": str(reason)}}:
                self._events.put(Stop(_STOP_REASONS.get(reason, "end_turn")))
            case {"metadata": {"usage": dict(usage)}}:
                read = usage.get("cacheReadInputTokens", 0)
                written = usage.get("cacheWriteInputTokens", 0)
                asked = usage["inputTokens"] + read + written  # Bedrock counts them apart
                self._events.put(Usage(asked, usage["outputTokens"], read, written))


@cache
def _bedrock() -> Any:
    # No retries: they would hide a throttled model for minutes. A long read time-out: how long a
    # model may be silent is decided by whoever waits for it.
    config = Config(
        connect_timeout=5,
        read_timeout=120,
        retries={"mode": "standard", "total_max_attempts": 1},
        tcp_keepalive=True,
    )
    return session().create_client("bedrock-runtime", config=config)
