"""The tool `backlog_create`: creates an issue in a Backlog project that a chatbot may use.

Backlog knows no idempotency keys. A call is made once: the invocation's side marks it as begun and
never begins it again. Should Backlog's answer be lost all the same, the issue is looked for by the
reference that its description ends with; where that fails too, the model is told that nobody knows.
"""

import hashlib
from contextlib import suppress
from typing import Any

from chatbot import backlog
from chatbot.backlog import Issue, Project
from chatbot.errors import BadInput, Gone, RetryLater
from chatbot.fetching import RateLimited, Refused, TooLarge
from chatbot.tool_calls import Call, ToolFailed, tool
from chatbot.tool_fetching import MALFORMED, words_for_failures

SECONDS = 35
NEWEST = 100  # issues among which one is looked for: those of a page
PRIORITIES = {"High": 2, "Normal": 3, "Low": 4}  # the same in every space
UNKNOWN = (
    "Whether the issue was created is not known: Backlog's answer was lost."
    " Search for it before you ask for it again."
)


def run(call: Call) -> Any:
    """{key, summary, url} of the new issue. Raises `RetryLater`, `ToolFailed`."""
    project, reference = _project(call), _reference(call)
    with words_for_failures("Backlog"):
        number = project.id()
        issue = _find(project, number, reference)
        form = None if issue else _form(call, project, number, reference)
    if form is not None:
        with words_for_failures("No issue was created: Backlog"):
            issue = _create(project, form, reference)
    if issue is None:
        raise ToolFailed(UNKNOWN)
    return {"key": issue["issueKey"], "summary": issue["summary"], "url": project.url(issue)}


def _reference(call: Call) -> str:
    digest = hashlib.sha256(f"{call.message_id}/{call.tool_use_id}".encode()).hexdigest()
    return f"(Created from a chat, reference {digest[:16]}.)"


def _project(call: Call) -> Project:
    first, *others = backlog.projects(call, SECONDS)
    if others:
        raise ToolFailed(f"Name the source, too: {backlog.names([first, *others])}.")
    return first


def _form(call: Call, project: Project, number: int, reference: str) -> dict[str, Any]:
    kinds = project.client.get(f"projects/{project.key}/issueTypes").json()
    wanted = call.input.get("issue_type")
    fitting = [
        kind["id"]
        for kind in kinds
        if wanted is None or kind["name"].casefold() == wanted.casefold()
    ]
    if not fitting:
        known = ", ".join(kind["name"] for kind in kinds)
        raise ToolFailed(f"The project has no issue type {wanted!r}. It has {known}.")
    return {
        "projectId": number,
        "summary": call.input["summary"].strip(),
        "description": f"{call.input.get('description', '')}\n\n{reference}".strip(),
        "issueTypeId": fitting[0],
        "priorityId": PRIORITIES[call.input.get("priority", "Normal")],
    }


def _create(project: Project, form: dict[str, Any], reference: str) -> Issue | None:
    """The new issue; None where nobody knows. Raises what says that there is none."""
    with suppress(RetryLater):
        answer = project.client.create("issues", form)
        with suppress(Refused, *MALFORMED):
            issue: Issue = answer.json()
            if project.owns(issue) and isinstance(issue["summary"], str):
                return issue
    with suppress(RateLimited, RetryLater, BadInput, Gone, Refused, TooLarge, *MALFORMED):
        return _find(project, form["projectId"], reference)
    return None


def _find(project: Project, number: int, reference: str) -> Issue | None:
    """The issue that an earlier try has created."""
    parameters = {"projectId[]": number, "sort": "created", "order": "desc", "count": NEWEST}
    issues: list[Issue] = project.client.get("issues", parameters).json()
    return next((one for one in issues if reference in (one.get("description") or "")), None)


handler = tool(run)
