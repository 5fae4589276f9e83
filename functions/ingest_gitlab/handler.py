"""The state `FetchGitlab`: reads issues, merge requests, wikis and files of GitLab projects."""

from collections.abc import Callable, Mapping
from typing import Any

from chatbot.errors import Gone
from chatbot.fetching import Client, Refused
from chatbot.ingesting import Provider, Run, Task, ingest
from functions.ingest_gitlab import api, discussions, files, wikis

INCLUDE = ("issues", "merge_requests", "wikis", "files")


def connect(
    config: Mapping[str, Any], credentials: Mapping[str, str], remaining: Callable[[], float]
) -> Client:
    token = credentials["private_token"]
    return Client(
        config.get("base_url") or "https://gitlab.com/api/v4",
        remaining,
        headers={"PRIVATE-TOKEN": token},
        secrets=(token,),
    )


def start(run: Run) -> list[Task]:
    return [["project", None, path] for path in run.config["projects"]]


def project(run: Run, path: str) -> list[Task]:
    """What to read of a project: a part that is switched off there holds nothing."""
    try:
        found = run.client.get(api.project(path)).json()
    except (Gone, Refused):
        found = {}  # the parts will say whether it is the project that is missing
    included = run.config.get("include") or INCLUDE
    site = str(found.get("web_url") or api.site(run, path))
    tasks = [
        discussions.first(run, path, kind)
        for kind in ("issues", "merge_requests")
        if kind in included and not _is_off(found, kind)
    ]
    if "wikis" in included and not _is_off(found, "wiki"):
        tasks.append(["wikis", None, path, site, None])
    if "files" in included and not _is_off(found, "repository") and not found.get("empty_repo"):
        ref = run.config.get("ref") or found.get("default_branch") or "HEAD"
        tasks.append(["head", None, path, site, ref])
    return tasks


def _is_off(found: Mapping[str, Any], part: str) -> bool:
    level = found.get(f"{part}_access_level")
    return found.get(f"{part}_enabled") is False or level == "disabled"


PROVIDER = Provider(
    connect,
    start,
    {
        "project": project,
        "list": discussions.list_page,
        "discussion": discussions.discussion,
        "wikis": wikis.list_page,
        "wiki": wikis.wiki,
        "wikis_end": wikis.end,
        "head": files.head,
        "compare": files.compare,
        "tree": files.tree,
        "file": files.file,
        "file_gone": files.gone,
        "files_end": files.end,
    },
)


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """See `chatbot.ingesting.ingest`."""
    return ingest(event, context, PROVIDER)
