"""Issues and merge requests, each with its notes a document."""

from datetime import UTC, datetime, timedelta
from typing import Any

from chatbot.errors import Gone
from chatbot.ingesting import Run, Task
from functions.ingest_gitlab import api

# Read again before the mark: rows of the same second come in any order, and some only later.
OVERLAP = timedelta(seconds=60)
# The same between two pages, where the rows that were just read are known.
PAGE_OVERLAP = timedelta(seconds=1)
_SIGNS = {"issues": "#", "merge_requests": "!"}


def first(run: Run, path: str, kind: str) -> Task:
    """The first page of what was updated since the mark; of all, in a full listing."""
    mark = _time(run.marks.get(f"{path} {kind}"))
    since = None if run.is_full or mark is None else _text(mark - OVERLAP)
    return ["list", None, path, kind, since, None, False, []]


def list_page(
    run: Run,
    path: str,
    kind: str,
    since: str | None,
    following: str | None,
    is_unfiltered: bool,
    known: list[list[Any]],
) -> list[Task]:
    """A page, oldest change first, of what changed at `since` or later.

    A row that changes while we read moves to the end, and the numbered pages behind it shift; so
    the next page is asked for by the time of the last row. Numbers are followed only where time
    leads nowhere: on old servers, which ignore `updated_after`, and in a page of one time.
    """
    parameters = {"scope": "all", "state": "all", "order_by": "updated_at", "sort": "asc"}
    if since:
        parameters["updated_after"] = since
    items, link = api.page(run, api.project(path, kind), parameters, following)
    run.items = {}
    tasks: list[Task] = []
    rows: list[list[Any]] = []
    from_time, last = _time(since), _time(since)
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("iid"), int):
            run.fetched("failed")
            continue
        at = _time(item.get("updated_at"))
        if at and from_time and at < from_time:
            is_unfiltered = True
            continue
        last = max(last or at, at) if at else last
        rows.append([item["iid"], item.get("updated_at")])
        if rows[-1] not in known:
            external_id = f"{path}/-/{kind}/{item['iid']}"
            run.items[external_id] = item
            tasks.append(["discussion", external_id, path, kind, item["iid"]])
    if last:
        # May move ahead of the tasks: they are in the same checkpoint.
        # A time to come, by a wrong clock, would hide all that changes until then.
        mark, reached = _time(run.marks.get(f"{path} {kind}")), min(last, datetime.now(UTC))
        run.marks[f"{path} {kind}"] = _text(max(mark or reached, reached))
    if link is None:
        return tasks
    onward = last - PAGE_OVERLAP if last else None
    if is_unfiltered or onward is None or (from_time and onward <= from_time):
        return [*tasks, ["list", None, path, kind, since, link, is_unfiltered, rows]]
    return [*tasks, ["list", None, path, kind, _text(onward), None, False, rows]]


def discussion(run: Run, external_id: str, path: str, kind: str, iid: int) -> None:
    """A document of title, description and what people noted. Raises `Gone`."""
    item = run.items.get(external_id) or run.client.get(api.project(path, kind, str(iid))).json()
    shows_confidential = bool(run.config.get("include_confidential"))
    if item.get("confidential") and not shows_confidential:
        raise Gone("confidential, and not to be read")
    parts = [f"# {item['title']}", _facts(item), item.get("description") or ""]
    for note in _notes(run, api.project(path, kind, str(iid), "notes")):
        body = (note.get("body") or "").strip()
        is_hidden = (note.get("confidential") or note.get("internal")) and not shows_confidential
        if body and not note.get("system") and not is_hidden:
            parts.append(f"{_author(note)} ({note.get('created_at', '')}):\n{body}")
    run.keep(
        external_id,
        f"{path}{_SIGNS[kind]}{iid}: {item['title']}",
        item.get("web_url") or f"{api.site(run, path)}/-/{kind}/{iid}",
        "\n\n".join(part for part in parts if part),
        item.get("updated_at"),
    )


def _notes(run: Run, path: str) -> list[dict[str, Any]]:
    """All notes of an issue or merge request, in the order in which they were written."""
    parameters = {"order_by": "updated_at", "sort": "asc"}
    found = run.gather(lambda link: api.page(run, path, parameters, link))
    notes = {note["id"]: note for note in found}
    return sorted(notes.values(), key=lambda note: (note.get("created_at") or "", note["id"]))


def _facts(item: dict[str, Any]) -> str:
    labels = [
        label if isinstance(label, str) else label["name"] for label in item.get("labels") or []
    ]
    facts = [
        f"State: {item['state']}" if item.get("state") else "",
        f"Author: {_author(item)} ({item.get('created_at', '')})",
        f"Labels: {', '.join(labels)}" if labels else "",
    ]
    return "\n".join(fact for fact in facts if fact)


def _author(item: dict[str, Any]) -> str:
    author = item.get("author") or {}
    return str(author.get("name") or author.get("username") or "unknown")


def _time(text: Any) -> datetime | None:
    """A time, or None for what is none: such a row is read each time."""
    try:
        at = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
