"""Chatbots: what a workspace's assistants are told, and which model answers for them."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from chatbot.api import Api, Body, Request
from chatbot.models import allowed_models
from chatbot.paging import Page
from chatbot.settings import settings

api = Api("chatbots")


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
    if names:
        raise ValueError(f"there is no tool {names[0]!r}")
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
    max_tokens: MaxTokens = 1024
    tools: Tools = Field(default_factory=list)
    max_tool_rounds: ToolRounds = 5
    knowledge: Knowledge = Knowledge()
    guardrail_enabled: bool = False
    is_active: bool = True


class NewChatbot(ChatbotPatch):
    """All but the name has a default."""

    name: Name
    model_id: ModelId = Field(default_factory=_default_model)


PATH = "/workspaces/<workspace_id>/chatbots"


@api.get(PATH, "chatbots:read")
def index(request: Request, page: Page) -> Any:
    """List the chatbots of a workspace."""
    return page.answer(request.query(LIST, page.params))


@api.post(PATH, "chatbots:write", status=201, idempotent=True)
def create(request: Request, body: NewChatbot) -> Any:
    """Make a chatbot."""
    return request.query(INSERT, body.model_dump(mode="json"))


@api.get(f"{PATH}/<chatbot_id>", "chatbots:read")
def read(request: Request, chatbot_id: str) -> Any:
    """Read a chatbot."""
    return request.query(SELECT, {"id": chatbot_id})


@api.patch(f"{PATH}/<chatbot_id>", "chatbots:write")
def update(request: Request, chatbot_id: str, body: ChatbotPatch) -> Any:
    """Change a chatbot."""
    return request.query(UPDATE, {"id": chatbot_id, "changes": body.changes()})


@api.delete(f"{PATH}/<chatbot_id>", "chatbots:write", status=204)
def delete(request: Request, chatbot_id: str) -> None:
    """Delete a chatbot. Its conversations stay, and take no further message."""
    request.query(DELETE, {"id": chatbot_id})


LIST = """
SELECT app.page(array_agg(item ORDER BY created_at DESC, id DESC), ($1 ->> 'limit')::int)
FROM (
    SELECT created_at, id, jsonb_strip_nulls(app.json(bot)) AS item
    FROM app.chatbots AS bot
    WHERE workspace_id = app.workspace_id() AND ($1 -> 'after' IS NULL OR (created_at, id)
        < (($1 #>> '{after,created_at}')::timestamptz, ($1 #>> '{after,id}')::uuid))
    ORDER BY created_at DESC, id DESC
    LIMIT ($1 ->> 'limit')::int + 1
) AS listed
"""
SELECT = """
SELECT jsonb_strip_nulls(app.json(bot)) FROM app.chatbots AS bot
WHERE workspace_id = app.workspace_id() AND id = ($1 ->> 'id')::uuid
"""
INSERT = """
INSERT INTO app.chatbots AS bot (name, description, system_prompt, model_id, temperature, top_p,
    max_tokens, tools, max_tool_rounds, knowledge, guardrail_enabled, is_active)
SELECT name, description, system_prompt, model_id, temperature, top_p,
    max_tokens, tools, max_tool_rounds, jsonb_strip_nulls(knowledge), guardrail_enabled, is_active
FROM jsonb_populate_record(NULL::app.chatbots, $1)
RETURNING jsonb_strip_nulls(app.json(bot))
"""
UPDATE = """
UPDATE app.chatbots AS bot
SET (name, description, system_prompt, model_id, temperature, top_p,
    max_tokens, tools, max_tool_rounds, knowledge, guardrail_enabled, is_active) = (
    SELECT name, description, system_prompt, model_id, temperature, top_p,
        max_tokens, tools, max_tool_rounds, jsonb_strip_nulls(bot.knowledge || knowledge),
        guardrail_enabled, is_active
    FROM jsonb_populate_record(bot, $1 -> 'changes'))
WHERE workspace_id = app.workspace_id() AND id = ($1 ->> 'id')::uuid
RETURNING jsonb_strip_nulls(app.json(bot))
"""
DELETE = """
DELETE FROM app.chatbots
WHERE workspace_id = app.workspace_id() AND id = ($1 ->> 'id')::uuid
RETURNING to_jsonb(id)
"""

handler = api.handler
