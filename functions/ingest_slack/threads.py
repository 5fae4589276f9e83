"""A thread as a document: its messages in order, with names and times, and its permalink."""

import html
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from chatbot.errors import Gone
from chatbot.fetching import Refused
from chatbot.ingesting import Run
from functions.ingest_slack import api

MAX_TITLE = 80
MAX_NAMES = 5_000  # that are remembered
SKIPPED = {
    "bot_add",
    "bot_remove",
    "channel_archive",
    "channel_convert_to_private",
    "channel_join",
    "channel_leave",
    "channel_name",
    "channel_purpose",
    "channel_topic",
    "channel_unarchive",
    "group_archive",
    "group_join",
    "group_leave",
    "group_name",
    "group_purpose",
    "group_topic",
    "group_unarchive",
    "pinned_item",
    "unpinned_item",
}
# What is left of a deleted parent that has replies.
TOMBSTONE = "tombstone"
_MARKUP = re.compile(r"<([@#!]?)([^|>]*)(?:\|([^>]*))?>")


def is_bot(message: dict[str, Any]) -> bool:
    return bool(message.get("bot_id")) or message.get("subtype") == "bot_message"


def is_parent(message: dict[str, Any], *, include_bots: bool) -> bool:
    """Whether a message of a channel's history begins a thread that is wanted."""
    if message.get("subtype") in SKIPPED or message.get("hidden"):
        return message.get("subtype") == TOMBSTONE
    if message.get("thread_ts", message["ts"]) != message["ts"]:
        return False  # a reply that was also sent to the channel: it is in its thread
    # People answer to bots, too.
    return include_bots or not is_bot(message) or bool(message.get("reply_count"))


def thread(run: Run, external_id: str, channel: str, name: str, ts: str) -> None:
    """A thread with all of its replies, which are read again however old the parent is."""
    message = run.items.get(external_id)
    if message is None or message.get("reply_count") or message.get("thread_ts"):
        messages = replies(run, channel, ts)
    else:
        messages = [message]
    run.keep(external_id, *document(run, channel, name, ts, messages))


def replies(run: Run, channel: str, ts: str) -> list[dict[str, Any]]:
    """The messages of a thread, each once: every page begins with the parent. Raises `Gone`."""

    def read(cursor: str | None) -> tuple[list[dict[str, Any]], str | None]:
        page = api.call(
            run,
            "conversations.replies",
            channel=channel,
            ts=ts,
            cursor=cursor or "",
            limit=api.page_size(run),
        )
        return page["messages"], api.next_cursor(page) or None

    messages = {message["ts"]: message for message in run.gather(read)}
    if ts not in messages:
        raise Gone(f"the thread {ts} is gone")
    return [messages[key] for key in sorted(messages, key=float)]


def document(
    run: Run, channel: str, name: str, ts: str, messages: list[dict[str, Any]]
) -> tuple[str, str, str, str]:
    """The document's title, URL, text and time of the last change."""
    include_bots = bool(run.config.get("include_bots"))
    parts, said, changed = [], [], [float(ts)]
    for message in messages:
        if message.get("subtype") in {*SKIPPED, TOMBSTONE}:
            continue
        if is_bot(message) and not include_bots:
            continue
        changed.append(float((message.get("edited") or message)["ts"]))
        said.append(_plain(run, _text(message)).strip())
        parts.append(f"{_author(run, message)} ({_time(float(message['ts']))}):\n{said[-1]}")
    if not any(said):
        raise Gone("nothing is left of the thread")
    title = next(filter(None, said)).splitlines()[0]
    short = title if len(title) <= MAX_TITLE else title[: MAX_TITLE - 3].rstrip() + "..."
    return (
        f"#{name}: {short}",
        _permalink(run, channel, ts),
        "\n\n".join(parts),
        _time(max(changed)),
    )


def _text(message: dict[str, Any]) -> str:
    """What is said, with what attachments and files are called."""
    pieces = [message.get("text") or ""]
    for attachment in message.get("attachments") or []:
        pieces += [attachment.get(key) or "" for key in ("title", "text")]
        if not pieces[0]:
            pieces.append(attachment.get("fallback") or "")
    pieces += [f"[{file['title']}]" for file in message.get("files") or [] if file.get("title")]
    return "\n".join(piece for piece in pieces if piece)


def _plain(run: Run, text: str) -> str:
    """Slack's markup as plain text: names for ids, labels with their addresses."""

    def shown(match: re.Match[str]) -> str:
        kind, target, label = match.groups()
        match kind:
            case "@":
                return f"@{label or _user(run, target)}"
            case "#":
                return f"#{label or target}"
            case "!":
                return f"@{label or target.split('^')[0]}"
        return f"{label} ({target})" if label and label != target else str(target)

    return html.unescape(_MARKUP.sub(shown, text))


def _author(run: Run, message: dict[str, Any]) -> str:
    profile = message.get("user_profile") or message.get("bot_profile") or {}
    given = profile.get("real_name") or profile.get("name") or message.get("username")
    return str(given or _user(run, message.get("user") or message.get("bot_id") or "unknown"))


def _user(run: Run, user: str) -> str:
    """A user's name; the id, where Slack does not tell."""
    names: dict[str, str] = run.memory.setdefault("names", {})
    if user not in names:
        try:
            found = api.call(run, "users.info", user=user, patient=True)["user"]
        except (Gone, Refused, api.MissingScope, KeyError):
            found = {}
        profile = found.get("profile") or {}
        given = (profile.get("real_name"), found.get("real_name"), profile.get("display_name"))
        name = str(next(filter(None, given), found.get("name") or user))
        if len(names) >= MAX_NAMES:
            return name
        names[user] = name
    return names[user]


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _permalink(run: Run, channel: str, ts: str) -> str:
    """As `chat.getPermalink` makes it; that method is asked only if the address is unknown."""
    if "site" not in run.memory:
        try:
            run.memory["site"] = api.call(run, "auth.test", patient=True).get("url")
        except (Gone, Refused, api.MissingScope):
            run.memory["site"] = None
    if run.memory["site"]:
        return f"{run.memory['site'].rstrip('/')}/archives/{channel}/p{ts.replace('.', '')}"
    try:
        return str(api.call(run, "chat.getPermalink", channel=channel, message_ts=ts)["permalink"])
    except (Gone, Refused, api.MissingScope, KeyError):
        parts = urlsplit(run.client.base_url)
        return f"{parts.scheme}://{parts.netloc}/archives/{channel}/p{ts.replace('.', '')}"
