"""The tool `web_search`: asks the search provider that the environment has, if it has one."""

import json
from typing import Any

from chatbot.aws import client
from chatbot.fetching import within
from chatbot.settings import settings
from chatbot.tool_calls import Call, ToolFailed, tool
from chatbot.tool_fetching import words_for_failures
from functions.tool_web_search import brave

# A provider is a module with `BASE_URL`, `connect` and `search`.
PROVIDERS = {"brave": brave}
COUNT = 5
SECONDS = 14


def run(call: Call) -> Any:
    """[{title, url, text}] of pages on the web. Raises `ToolFailed`."""
    provider = PROVIDERS.get(settings().web_search_provider)
    key = _key() if provider else None
    if provider is None or key is None:
        raise ToolFailed("Web search is not configured here: an administrator has to set it up.")
    base_url = settings().web_search_url or provider.BASE_URL
    with words_for_failures("The web search"):
        connected = provider.connect(base_url, key, within(SECONDS))
        found = provider.search(connected, call.input["query"], call.input.get("count", COUNT))
    return [page._asdict() for page in found] or "The web search found nothing."


def _key() -> str | None:
    secret = client("secretsmanager").get_secret_value(SecretId=settings().web_search_secret_arn)
    key: str | None = json.loads(secret["SecretString"])["api_key"]
    return key or None


handler = tool(run)
