"""The tool `backlog_search`: finds issues in the Backlog projects that a chatbot may use."""

from itertools import groupby
from typing import Any

from chatbot import backlog
from chatbot.backlog import Issue, Project
from chatbot.tool_calls import Call, ToolFailed, tool
from chatbot.tool_fetching import words_for_failures

COUNT = 10
SECONDS = 22
MAX_PROJECTS = 10  # each takes a request
MAX_TEXT = 600


def run(call: Call) -> Any:
    """[{key, summary, status, assignee, updated, url, text}], newest change first.

    Raises `RetryLater`, `ToolFailed`.
    """
    asked = backlog.projects(call, SECONDS)
    if len(asked) > MAX_PROJECTS:
        raise ToolFailed(f"Name one of the projects: {backlog.names(asked)}.")
    count = call.input.get("count", COUNT)
    with words_for_failures("Backlog"):
        found = [
            _shown(project, issue)
            for _, projects in groupby(asked, key=lambda project: project.client)
            for project, issue in _search(list(projects), call.input["query"], count)
        ]
    newest = sorted(found, key=lambda issue: str(issue["updated"]), reverse=True)[:count]
    return newest or f"No issue fits, in {backlog.names(asked)}."


def _search(projects: list[Project], query: str, count: int) -> list[tuple[Project, Issue]]:
    """Issues of projects of one space."""
    parameters = {
        "projectId[]": [project.id() for project in projects],
        "keyword": query,
        "sort": "updated",
        "order": "desc",
        "count": count,
    }
    issues = projects[0].client.get("issues", parameters, patient=True).json()
    # Whatever the server sends, only what was asked for goes on.
    return [(project, issue) for issue in issues for project in projects if project.owns(issue)]


def _shown(project: Project, issue: Issue) -> dict[str, Any]:
    text = issue.get("description") or ""
    return {
        "key": issue["issueKey"],
        "summary": issue["summary"],
        "status": (issue.get("status") or {}).get("name"),
        "assignee": (issue.get("assignee") or {}).get("name"),
        "updated": issue.get("updated"),
        "url": project.url(issue),
        "text": text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…",
    }


handler = tool(run)
