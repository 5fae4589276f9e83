"""The feed of a project's activities: a rising id, and the only word of what was deleted."""

from typing import Any

from chatbot.ingesting import Run, Task

COUNT = 100
DEFAULT_COUNT = 20  # what a server sends that takes no count
ISSUE_CHANGED = {1, 2, 3}
ISSUE_DELETED = 4
WIKI_CHANGED = {5, 6}
WIKI_DELETED = 7
SEVERAL_CHANGED = 14
TYPES = sorted({*ISSUE_CHANGED, ISSUE_DELETED, *WIKI_CHANGED, WIKI_DELETED, SEVERAL_CHANGED})


def newest(run: Run, key: str) -> int:
    """The id of the last activity, 0 before there was any."""
    found = run.client.get(f"projects/{key}/activities", {"count": 1, "order": "desc"}).json()
    return max((activity["id"] for activity in found), default=0)


def list_page(
    run: Run, key: str, included: list[str], most: int | None = None, reached: int = 0
) -> list[Task]:
    """A page of what happened since the mark; the last one holds nothing new.

    Where a server sends the newest first all the same, and more than a page holds, we go down from
    there: `most` is the greatest id that is still to be read, `reached` the greatest that was.
    """
    mark = run.marks[f"{key} activities"]
    parameters = {"activityTypeId[]": TYPES, "minId": mark, "count": COUNT, "order": "asc"}
    if most is not None:
        parameters["maxId"] = most
    found = run.client.get(f"projects/{key}/activities", parameters).json()
    new = sorted((item for item in found if item["id"] > mark), key=lambda item: item["id"])
    if not new:
        run.marks[f"{key} activities"] = max(mark, reached)
        return []
    tasks: dict[str, Task] = {}
    for activity in new:
        for task in _tasks(key, activity):
            if task[0].split("_")[0] + "s" in included:
                tasks.pop(task[1], None)  # only the last of a document counts
                tasks[task[1]] = task
    run.items = {}
    lowest, reached = new[0]["id"], max(reached, new[-1]["id"])
    is_downward = len(new) == len(found) >= DEFAULT_COUNT and found[0]["id"] == new[-1]["id"]
    if is_downward and lowest > mark + 1 and (most is None or lowest <= most):
        return [*tasks.values(), ["activities", None, key, included, lowest - 1, reached]]
    run.marks[f"{key} activities"] = reached
    return [*tasks.values(), ["activities", None, key, included]]


def _tasks(key: str, activity: dict[str, Any]) -> list[Task]:
    kind, content = activity.get("type"), activity.get("content") or {}
    if kind == SEVERAL_CHANGED:
        numbers = [link["id"] for link in content.get("link") or [] if "id" in link]
        return [["issue", f"{key}/issues/{number}", key, number] for number in numbers]
    number = content.get("id")
    if number is None:
        return []
    if kind in ISSUE_CHANGED:
        return [["issue", f"{key}/issues/{number}", key, number]]
    if kind in WIKI_CHANGED:
        return [["wiki", f"{key}/wikis/{number}", key, number]]
    if kind == ISSUE_DELETED:
        return [["issue_gone", f"{key}/issues/{number}"]]
    return [["wiki_gone", f"{key}/wikis/{number}"]] if kind == WIKI_DELETED else []


def gone(run: Run, external_id: str) -> None:
    run.drop(external_id)
