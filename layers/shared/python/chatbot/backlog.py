"""Backlog, as tools use it: the projects of the connected sources that a chatbot may use.

Source: https://developer.nulab.com/docs/backlog/.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from chatbot import database, sources
from chatbot.errors import RetryLater, ServiceUnavailable
from chatbot.fetching import Client, within
from chatbot.tool_calls import Call, ToolFailed
from chatbot.tool_fetching import words_for_failures

type Issue = dict[str, Any]


class Project(NamedTuple):
    """A project of a source: `key`, and the client that knows its space."""

    key: str
    source: str
    client: Client

    def id(self) -> int:
        """Its number, which the API asks for elsewhere. Raises as `Client.get` does."""
        number: int = self.client.get(f"projects/{self.key}").json()["id"]
        return number

    def owns(self, issue: Issue) -> bool:
        return str(issue["issueKey"]).startswith(f"{self.key}-")

    def url(self, issue: Issue) -> str:
        """The page of an issue."""
        return f"{self.client.base_url.removesuffix('/api/v2')}/view/{issue['issueKey']}"


def projects(call: Call, seconds: float) -> list[Project]:
    """The projects that a call may be about, by its input's `project_key` and `source`; those of
    one source side by side.

    They are those of the workspace's enabled Backlog sources among which the chatbot may look.
    Requests to them have so many seconds in all. Raises `ToolFailed` where there are none, with
    those that there are; `RetryLater`.
    """
    remaining = within(seconds)
    found: list[Project] = []
    known: list[tuple[str, str]] = []
    for row in _sources(call):
        named = [(key, row["name"]) for key in row["config"]["projects"]]
        asked = [one for one in named if _is_meant(call, *one)]
        known += named
        if asked:
            client = _connect(row, remaining)
            found += [Project(*one, client) for one in asked]
    if not known:
        raise ToolFailed("No Backlog source is connected that this chatbot may use.")
    if not found:
        raise ToolFailed(f"There is no such project. There are {_names(known)}.")
    return found


def names(projects: Sequence[Project]) -> str:
    """Projects and their sources, as a model can name them."""
    return _names([(project.key, project.source) for project in projects])


def _names(projects: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{key} (source {source!r})" for key, source in projects)


def _is_meant(call: Call, key: str, source: str) -> bool:
    wanted = call.input.get("project_key", key), call.input.get("source", source)
    return wanted == (key, source)


def _sources(call: Call) -> list[dict[str, Any]]:
    asked = {"chatbot_id": call.chatbot_id}
    workspace_id = call.principal.workspace_id
    try:
        rows = database.query(call.principal, SOURCES, asked, workspace_id=workspace_id)
    except ServiceUnavailable as error:
        raise RetryLater(str(error)) from None
    return rows or []


def _connect(row: dict[str, Any], remaining: Callable[[], float]) -> Client:
    with words_for_failures(f"The source {row['name']!r}"):
        key = sources.credentials(row["id"])["api_key"]
        url = row["config"]["base_url"]
        return Client(url, remaining, params={"apiKey": key}, secrets=(key,), reserve=1)


SOURCES = """
SELECT jsonb_agg(jsonb_build_object('id', source.id, 'name', source.name, 'config', source.config)
    ORDER BY source.created_at, source.id)
FROM app.chatbots AS chatbot
JOIN app.sources AS source ON source.workspace_id = chatbot.workspace_id
WHERE chatbot.workspace_id = app.workspace_id() AND chatbot.id = ($1 ->> 'chatbot_id')::uuid
    AND source.provider = 'backlog' AND source.is_enabled
    AND (nullif(chatbot.knowledge -> 'source_ids', 'null') IS NULL
        OR source.id IN (SELECT jsonb_array_elements_text(
            nullif(chatbot.knowledge -> 'source_ids', 'null'))::uuid))
"""
