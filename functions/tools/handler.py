"""Tools: what chatbots can be given, from the registry."""

from typing import Any

from chatbot.api import Api, Request
from chatbot.paging import Page
from chatbot.tools import registry

api = Api("tools")


@api.get("/workspaces/<workspace_id>/tools", "chatbots:read")
def index(request: Request, page: Page) -> Any:
    """List the tools that chatbots may use."""
    request.query("SELECT to_jsonb(true)")
    return page.part([tool.shown() for tool in registry().values()])


handler = api.handler
