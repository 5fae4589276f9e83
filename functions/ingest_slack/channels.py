"""The channels that are read, and their histories: the threads of each, newest first."""

import re
import time
from typing import Any

from chatbot.ingesting import Run, Task
from chatbot.sweeping import LAST
from functions.ingest_slack import api, threads

DAY_SECONDS = 86_400
TIMESTAMP = re.compile(r"\d+\.\d+")


def list_page(run: Run, cursor: str, types: str, found: list[str]) -> list[Task]:
    """A page of the channels: those that the bot is in, or those of the configuration."""
    wanted = run.config.get("channels")
    try:
        page = api.call(run, "conversations.list", cursor=cursor, types=types, limit=api.PAGE_SIZE)
    except api.MissingScope:
        if types == api.PUBLIC_TYPES:
            raise
        return [["channels", None, "", api.PUBLIC_TYPES, []]]
    tasks: list[Task] = []
    for channel in page["channels"]:
        if wanted and channel["id"] not in wanted:
            continue
        found = [*found, channel["id"]]
        tasks += _channel(run, channel)
    if following := api.next_cursor(page):
        return [*tasks, ["channels", None, following, types, found if wanted else []]]
    missing = [channel for channel in wanted or [] if channel not in found]
    return [*tasks, *(_history(run, channel, channel) for channel in missing)]


def _channel(run: Run, channel: dict[str, Any]) -> list[Task]:
    name = channel.get("name") or channel["id"]
    if channel.get("is_member", True):
        return [_history(run, channel["id"], name)]
    is_open = not channel.get("is_archived") and not channel.get("is_private")
    if is_open and run.config.get("join_public_channels"):
        return [["join", None, channel["id"], name]]
    if run.config.get("channels"):
        run.incomplete(f"the bot is not in the channel {channel['id']}")
    return []


def join(run: Run, channel: str, name: str) -> list[Task]:
    api.join(run, channel)
    return [_history(run, channel, name)]


def _history(run: Run, channel: str, name: str) -> Task:
    return ["history", None, channel, name, _oldest(run, channel), "", "", True]


def _oldest(run: Run, channel: str) -> str:
    """From where on a channel is read again: the reply window, or longer if it was not read."""
    mark = run.marks.get(channel)
    if run.is_full or mark is None:
        return ""
    days = run.config.get("reply_window_days", 14)
    return f"{min(time.time() - days * DAY_SECONDS, float(mark)):.6f}"


def history(
    run: Run, channel: str, name: str, oldest: str, cursor: str, newest: str, is_whole: bool
) -> list[Task]:
    """A page of a channel, newest first; after the last, what is missing in the window is gone."""
    page = api.call(
        run,
        "conversations.history",
        channel=channel,
        cursor=cursor,
        limit=api.page_size(run),
        oldest=oldest,
        inclusive="true" if oldest else "",
    )
    run.items = {}
    tasks: list[Task] = []
    for message in page["messages"]:
        ts = message.get("ts") if isinstance(message, dict) else None
        if not isinstance(ts, str) or not TIMESTAMP.fullmatch(ts):
            run.fetched("failed")
            is_whole = False  # nobody knows which document it was
            continue
        newest = max(newest or ts, ts, key=float)
        if threads.is_parent(message, include_bots=bool(run.config.get("include_bots"))):
            external_id = f"{channel}__{ts}"
            run.items[external_id] = message
            tasks.append(["thread", external_id, channel, name, ts])
    if following := api.next_cursor(page):
        return [*tasks, ["history", None, channel, name, oldest, following, newest, is_whole]]
    return [*tasks, ["compare", None, channel, oldest, newest, is_whole]]


def compare(run: Run, channel: str, oldest: str, newest: str, is_whole: bool) -> None:
    """The end of a channel: history tells of no deletion, so the ids in the window are compared."""
    if is_whole:
        run.sweep(f"{channel}__{oldest}", f"{channel}__{LAST}")
    if newest:
        run.marks[channel] = newest
