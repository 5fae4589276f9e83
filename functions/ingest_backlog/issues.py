"""Issues, each with its comments a document."""

from datetime import UTC, datetime, timedelta
from typing import Any

from chatbot.errors import Gone
from chatbot.ingesting import Run, Task

COUNT = 100
DEFAULT_COUNT = 20  # what a server sends that takes no count
# Rows of the last page that the next one has to begin with.
SHARED = 10
# Read again before the mark: rows of one second come in any order, and some only later.
OVERLAP = timedelta(minutes=5)


def first(run: Run, key: str, number: int) -> Task:
    """The first page of what was updated since the mark; of all, in a full listing.

    The server filters by the day only, of a time zone that we do not know, hence a day less.
    """
    mark = _time(run.marks.get(f"{key} issues"))
    if run.is_full or mark is None:
        return ["issues", None, key, number, None, None, 0, []]
    since = (mark - timedelta(days=1)).date().isoformat()
    return ["issues", None, key, number, since, (mark - OVERLAP).isoformat(), 0, []]


def list_page(
    run: Run,
    key: str,
    number: int,
    since: str | None,
    floor: str | None,
    offset: int,
    known: list[list[Any]],
) -> list[Task]:
    """A page, oldest change first; the last one holds nothing new.

    An issue that is changed while we read moves to the end, and the offsets behind it shift. So a
    page has to begin with rows of the one before, `known`; if it does not, we go back.
    """
    parameters: dict[str, Any] = {
        "projectId[]": number,
        "sort": "updated",
        "order": "asc",
        "offset": offset,
        "count": COUNT,
    }
    if since:
        parameters["updatedSince"] = since
    items = run.client.get("issues", parameters).json()
    rows = [_row(item) for item in items]
    if offset and known and (not rows or rows[0] not in known):
        back = max(0, offset - max(1, len(known) // 2))
        return [["issues", None, key, number, since, floor, back, known]]
    run.items = {}
    tasks: list[Task] = []
    for item, row in zip(items, rows, strict=True):
        if row in known:
            continue
        if row[0] is None:
            run.fetched("failed")
            continue
        updated, earliest = _time(row[1]), _time(floor)
        if updated:
            # A time to come, by a wrong clock, would hide all that changes until then.
            mark, reached = _time(run.marks.get(f"{key} issues")), min(updated, datetime.now(UTC))
            run.marks[f"{key} issues"] = max(mark or reached, reached).isoformat()
        external_id = f"{key}/issues/{row[0]}"
        is_old = updated is not None and earliest is not None and updated < earliest
        if is_old or (not run.is_full and run.is_seen(external_id)):
            continue
        run.items[external_id] = item
        tasks.append(["issue", external_id, key, row[0]])
    if all(row in known for row in rows):
        return tasks
    shared = min(SHARED, len(rows) // 2)
    onward = offset + len(rows) - shared
    following = rows if shared else []
    return [*tasks, ["issues", None, key, number, since, floor, onward, following]]


def issue(run: Run, external_id: str, key: str, number: int) -> None:
    """A document of summary, description and comments. Raises `Gone`."""
    item = run.items.get(external_id) or run.client.get(f"issues/{number}").json()
    issue_key = item["issueKey"]
    if not issue_key.startswith(f"{key}-"):
        raise Gone("moved to another project")
    parts = [f"# {issue_key} {item['summary']}", _facts(item), item.get("description") or ""]
    for comment in _comments(run, number):
        if (comment.get("content") or "").strip():
            said = comment["content"]
            parts.append(f"{_name(comment)} ({comment.get('created', '')}):\n{said}")
    run.keep(
        external_id,
        f"{issue_key} {item['summary']}",
        f"{run.client.base_url.removesuffix('/api/v2')}/view/{issue_key}",
        "\n\n".join(part for part in parts if part),
        item.get("updated"),
    )


def _comments(run: Run, number: int) -> list[dict[str, Any]]:
    def read(least: int | None) -> tuple[list[dict[str, Any]], int | None]:
        parameters = {"count": COUNT, "order": "asc", **({"minId": least} if least else {})}
        found = run.client.get(f"issues/{number}/comments", parameters).json()
        # Whether the least id is itself among them, the documentation leaves open.
        new = [item for item in found if least is None or item["id"] > least]
        has_more = bool(new) and len(found) >= DEFAULT_COUNT
        return new, max(item["id"] for item in new) if has_more else None

    comments = {item["id"]: item for item in run.gather(read)}
    return [comments[key] for key in sorted(comments)]


def _facts(item: dict[str, Any]) -> str:
    facts = [
        f"{label}: {(item.get(name) or {}).get('name')}"
        for label, name in (
            ("Type", "issueType"),
            ("Status", "status"),
            ("Priority", "priority"),
            ("Assignee", "assignee"),
        )
        if (item.get(name) or {}).get("name")
    ]
    facts.append(f"Author: {_name(item)} ({item.get('created', '')})")
    return "\n".join(facts)


def _name(item: dict[str, Any]) -> str:
    return str((item.get("createdUser") or {}).get("name") or "unknown")


def _row(item: Any) -> list[Any]:
    """What tells a row of one page from those of another: id and time of change."""
    if not isinstance(item, dict) or not isinstance(item.get("id"), int):
        return [None, None]
    return [item["id"], item.get("updated")]


def _time(text: Any) -> datetime | None:
    """A time, or None for what is none: such a row is read each time."""
    try:
        at = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
