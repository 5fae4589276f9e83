"""The state `FetchBacklog`: reads issues and wikis of Backlog projects."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from chatbot.errors import Gone
from chatbot.fetching import Client, Refused
from chatbot.ingesting import Provider, Run, Task, ingest
from functions.ingest_backlog import activities, issues, wikis

INCLUDE = ("issues", "wikis")


def connect(
    config: Mapping[str, Any], credentials: Mapping[str, str], remaining: Callable[[], float]
) -> Client:
    key = credentials["api_key"]
    return Client(config["base_url"], remaining, params={"apiKey": key}, secrets=(key,))


def start(run: Run) -> list[Task]:
    return [["project", None, key] for key in run.config["projects"]]


def project(run: Run, key: str) -> list[Task]:
    """Lists all, or follows the activities and then lists what was updated since.

    The feed of activities is marked before anything is read, so that it misses nothing.
    """
    number = run.client.get(f"projects/{key}").json()["id"]
    included = run.config.get("include") or INCLUDE
    mark = run.marks.get(f"{key} activities")
    tasks: list[Task] = []
    if run.is_full or mark is None:
        with suppress(Gone, Refused):  # no feed: the listings alone then tell what is there
            run.marks[f"{key} activities"] = activities.newest(run, key)
        if "wikis" in included:
            tasks.append(["wikis", None, key])
    else:
        tasks.append(["activities", None, key, list(included)])
    if "issues" in included:
        tasks.append(issues.first(run, key, number))
    return tasks


PROVIDER = Provider(
    connect,
    start,
    {
        "project": project,
        "activities": activities.list_page,
        "issue_gone": activities.gone,
        "wiki_gone": activities.gone,
        "issues": issues.list_page,
        "issue": issues.issue,
        "wikis": wikis.list_all,
        "wiki": wikis.wiki,
        "wikis_end": wikis.end,
    },
)


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """See `chatbot.ingesting.ingest`."""
    return ingest(event, context, PROVIDER)
