"""Chatbots: what a workspace's assistants are told, and which model answers for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chatbot.api import Api, Request
from chatbot.models import allowed_models
from chatbot.paging import Page

if TYPE_CHECKING:
    from functions.chatbots.bodies import ChatbotPatch, NewChatbot

api = Api("chatbots")

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


@api.get("/workspaces/<workspace_id>/models", "chatbots:read")
def models(request: Request, page: Page) -> Any:
    """List the models that the environment allows."""
    request.query("SELECT to_jsonb(true)")
    fields = ("model_id", "name", "input_price", "output_price", "max_tokens")
    return page.part([{f: getattr(m, f) for f in fields} for m in allowed_models().values()])


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
