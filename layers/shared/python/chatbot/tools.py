"""The registry: what `functions/tool_<name>/tool.json` say, packed into this layer at build.

A tool's file has `name`, `description` (for the model), `input_schema` (JSON Schema of an object),
`permission` (which the user needs), `timeout_seconds` (of one try), `requires_approval` (the user
is asked first; so for all that changes something).
"""

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

REGISTRY = Path(__file__).with_name("tools.json")


class Tool(NamedTuple):
    """A tool as its file describes it."""

    name: str
    description: str
    input_schema: dict[str, Any]
    permission: str
    timeout_seconds: int
    requires_approval: bool

    def shown(self) -> dict[str, Any]:
        """The tool as clients see it."""
        names = ("name", "description", "input_schema", "requires_approval")
        return {name: getattr(self, name) for name in names}


@cache
def registry() -> dict[str, Tool]:
    """All tools by name."""
    rows = json.loads(REGISTRY.read_text(encoding="utf-8"))
    return {row["name"]: Tool(**row) for row in rows}
