"""What clients send of a chatbot."""

from typing import Annotated

from pydantic import AfterValidator, Field

from chatbot.bodies import Body
from chatbot.models import allowed_models
from chatbot.settings import settings
from chatbot.tools import registry


def _template(source: str) -> str:
    if "{" in source:
        from chatbot import templates  # Jinja2 is for the few that need it

        templates.check(source)
    return source


def _allowed_model(model_id: str) -> str:
    if model_id not in allowed_models():
        raise ValueError("the model is not one that this environment allows")
    return model_id


def _known_tools(names: list[str]) -> list[str]:
    for name in names:
        if name not in registry():
            raise ValueError(f"there is no tool {name!r}")
    if len(set(names)) < len(names):
        raise ValueError("a tool is named twice")
    return names


def _default_model() -> str:
    return settings().bedrock_model_id


type Name = Annotated[str, Field(min_length=1, max_length=200)]
type Description = Annotated[str, Field(max_length=2_000)]
type SystemPrompt = Annotated[str, Field(max_length=20_000), AfterValidator(_template)]
type ModelId = Annotated[str, AfterValidator(_allowed_model)]
type Share = Annotated[float, Field(ge=0, le=1)]
type MaxTokens = Annotated[int, Field(ge=1, le=64_000)]
type Tools = Annotated[list[str], Field(max_length=32), AfterValidator(_known_tools)]
type ToolRounds = Annotated[int, Field(ge=1, le=10)]
type SourceId = Annotated[
    str, Field(pattern=r"^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$")
]


class Knowledge(Body):
    """`source_ids` limits a chatbot to some sources; absent, it searches all."""

    enabled: bool = False
    top_k: Annotated[int, Field(ge=1, le=20)] = 5
    source_ids: Annotated[list[SourceId], Field(max_length=100)] | None = None


class ChatbotPatch(Body):
    """What is null is taken away where it may be absent, and an error elsewhere."""

    name: Name = ""
    description: Description = ""
    system_prompt: SystemPrompt = ""
    model_id: ModelId = ""
    temperature: Share = 0.5
    top_p: Share | None = None
    max_tokens: MaxTokens = 4096
    tools: Tools = Field(default_factory=list)
    max_tool_rounds: ToolRounds = 5
    knowledge: Knowledge = Knowledge()
    guardrail_enabled: bool = False
    is_active: bool = True


class NewChatbot(ChatbotPatch):
    """All but the name has a default."""

    name: Name
    model_id: ModelId = Field(default_factory=_default_model)
