"""The AsyncAPI document of the WebSocket, made of the frames that the functions declare."""

import tomllib
from typing import Any

from functions.ws_message import answers, frames
from layers.build import ROOT
from layers.schemas import Schema, describe, example

DESCRIPTION = """
Chat over one connection. Frames are JSON objects told apart by `type`, at most 32 KB each; API
Gateway's own have none. Open the connection with an access token (`?token=`) or with a ticket of
`POST /api/v1/auth/ws-ticket` (`?ticket=`); what does not hold is refused at the handshake.

- The frames of one answer count `seq` 1, 2, 3 … without gaps, and exactly one of them is final.
  A frame may come more than once: drop those with a `seq` that you have seen.
- The contents of the streaming frames, joined, are the content of the final one.
- After a lost connection send `resume` with the last `seq` that you have.
""".strip()

# Frames by name, beside the sentence in the docstring of each.
SENT = ("Chat", "Open", "Cancel", "Resume", "Approve", "Ping")
RECEIVED = ("Ack", "User", "Streaming", "Tool", "Final", "Pong", "Error", "Unserved")


def document() -> dict[str, Any]:
    """The whole document."""
    models = {name: getattr(frames, name) for name in SENT} | {
        name: getattr(answers, name) for name in RECEIVED
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    refs, schemas = describe(models)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Chatbot backend: WebSocket",
            "version": project["version"],
            "description": DESCRIPTION,
        },
        "defaultContentType": "application/json",
        "servers": {
            "websocket": {
                "host": "{host}",
                "pathname": "/ws",
                "protocol": "wss",
                "description": "The stage `ws` of the WebSocket API.",
                "variables": {"host": {"description": "The host of the environment."}},
            }
        },
        "channels": {
            "chat": {
                "address": "/",
                "description": "One connection of one user.",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in models},
                "bindings": {
                    "ws": {
                        "method": "GET",
                        "query": {
                            "type": "object",
                            "properties": {
                                "token": {"type": "string", "description": "An access token."},
                                "ticket": {"type": "string", "description": "Single use."},
                            },
                            "oneOf": [{"required": ["token"]}, {"required": ["ticket"]}],
                        },
                        "bindingVersion": "0.1.0",
                    }
                },
            }
        },
        "operations": {
            # As AsyncAPI has it, from the server's side: it receives what clients send.
            "receive": _operation("receive", SENT, "What a client sends."),
            "send": _operation("send", RECEIVED, "What a client gets."),
        },
        "components": {
            "messages": {
                name: {
                    "name": name,
                    "summary": " ".join((models[name].__doc__ or "").split()),
                    "payload": refs[name],
                    "examples": [{"payload": example(refs[name], schemas)}],
                }
                for name in models
            },
            "schemas": dict(sorted(schemas.items())),
        },
    }


def _operation(action: str, names: tuple[str, ...], summary: str) -> Schema:
    return {
        "action": action,
        "channel": {"$ref": "#/channels/chat"},
        "summary": summary,
        "messages": [{"$ref": f"#/channels/chat/messages/{name}"} for name in names],
    }
