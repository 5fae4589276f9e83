"""The tool `knowledge_search`: looks up what the model asks for in the workspace's documents."""

from typing import Any

from chatbot import database, embeddings, opensearch
from chatbot.errors import RetryLater, ServiceUnavailable
from chatbot.tool_calls import Call, tool

COUNT = 5


def run(call: Call) -> Any:
    """[{title, url, text}] of the passages that fit best, in the sources that the chatbot may use.

    Raises `RetryLater`.
    """
    query = call.input["query"]
    (embedding,) = embeddings.embed([query])
    search = {"text": query, "embedding": embedding, "top_k": call.input.get("count", COUNT)}
    asked = {"chatbot_id": call.chatbot_id, "search": search}
    workspace_id = call.principal.workspace_id
    try:
        search |= opensearch.hits(workspace_id, search | {"source_ids": call.source_ids})
        found = database.query(call.principal, FIND, asked, workspace_id=workspace_id)
    except ServiceUnavailable as error:
        raise RetryLater(str(error)) from None
    return [
        {"title": passage["title"], "url": passage["url"], "text": passage["content"]}
        for passage in found or []
    ] or "Nothing in the workspace's documents fits."


# Without a row, and so without an answer, where the chatbot is gone.
FIND = """
SELECT app.find(jsonb_strip_nulls(jsonb_build_object('source_ids', knowledge -> 'source_ids'))
    || ($1 -> 'search'))
FROM app.chatbots
WHERE workspace_id = app.workspace_id() AND id = ($1 ->> 'chatbot_id')::uuid
"""

handler = tool(run)
