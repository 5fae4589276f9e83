"""Brave Search: one GET with the key in a header; limits by the second and the month, at most 20
results, 400 characters and 50 words.

Source: https://api-dashboard.search.brave.com/api-reference/web/search/get.
"""

import json
from collections.abc import Callable

from chatbot.fetching import Client
from functions.tool_web_search.results import Result, result

BASE_URL = "https://api.search.brave.com/res/v1"
MAX_BYTES = 2 * 1024 * 1024
MAX_WORDS = 50


def connect(base_url: str, key: str, remaining: Callable[[], float]) -> Client:
    headers = {"X-Subscription-Token": key, "Accept": "application/json"}
    return Client(base_url, remaining, headers=headers, secrets=(key,), reserve=1)


def search(client: Client, query: str, count: int) -> list[Result]:
    """Pages, best first. Raises what `Client.get` does, and what a strange answer leads to."""
    asked = {
        "q": " ".join(query.split()[:MAX_WORDS]),
        "count": count,
        "text_decorations": "false",
        "result_filter": "web",
    }
    answer = client.get("web/search", asked, max_bytes=MAX_BYTES, patient=True)
    found = json.loads(answer.body.decode(errors="replace"))
    pages = (found.get("web") or {}).get("results") or []
    results = (result(page["title"], page["url"], page.get("description")) for page in pages)
    return [page for page in results if page is not None][:count]
