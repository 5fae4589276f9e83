"""Slack's Web API: channels, threads and people, errors with HTTP 200, cursors."""

import base64
import json
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

CORPUS = Path(__file__).parent / "corpus/slack.json"
WORDS = Path(__file__).parents[1] / "bedrock/words.txt"
TOKEN = "xoxb-local"  # noqa: S105  of a stand-in
SITE = "https://kestrel-freight.slack.com/"
MAX_LIMIT = 999

type Parameters = Mapping[str, list[str]]


class NotOk(Exception):
    """An answer of `ok: false`."""


class Slack:
    """`page_cap` limits what any page holds; with `empty_pages` every other page is empty."""

    def __init__(self) -> None:
        corpus = json.loads(CORPUS.read_text(encoding="utf-8"))
        self.users: dict[str, dict[str, Any]] = {user["id"]: user for user in corpus["users"]}
        self.channels: dict[str, dict[str, Any]] = {
            channel["id"]: channel for channel in corpus["channels"]
        }
        self.messages: dict[str, list[dict[str, Any]]] = {name: [] for name in self.channels}
        for message in corpus["messages"]:
            channel = message.pop("channel")
            self.messages[channel].append({"type": "message", **message})
        self.page_cap = MAX_LIMIT
        self.empty_pages = False

    def post(
        self, channel: str, text: str, user: str = "U01ADA", ts: str = "", **fields: Any
    ) -> str:
        """Write a message, or with `thread_ts` a reply; returns its `ts`."""
        if not ts:
            ts, taken = f"{time.time():.6f}", {message["ts"] for message in self.messages[channel]}
            while ts in taken:
                ts = f"{float(ts) + 0.000001:.6f}"
        message = {"type": "message", "user": user, "text": text, "ts": ts, **fields}
        self.messages[channel].append(message)
        return ts

    def fill(self, channel: str, count: int) -> None:
        """Have a channel hold so many threads instead, every tenth with two replies, and each of
        words of its own."""
        words = WORDS.read_text(encoding="utf-8").split()
        self.messages[channel] = []
        for number in range(count):
            said = random.Random(number).choices(words, k=120)  # noqa: S311  no secret
            ts = f"{1_700_000_000 + 60 * number}.000100"
            self.post(channel, f"Note {number}: {' '.join(said)}.", ts=ts)
            for reply in range(2 if number % 10 == 0 else 0):
                at = f"{1_700_000_001 + 60 * number + reply}.000100"
                self.post(channel, f"Reply {reply} to {number}.", ts=at, thread_ts=ts)

    def edit(self, channel: str, ts: str, text: str) -> None:
        """Change a message."""
        message = self._message(channel, ts)
        message["text"] = text
        message["edited"] = {"user": message["user"], "ts": f"{time.time():.6f}"}

    def delete(self, channel: str, ts: str) -> None:
        """Delete a message; a parent with replies leaves a tombstone, others nothing."""
        message = self._message(channel, ts)
        if self._replies(channel, ts):
            message |= {"subtype": "tombstone", "hidden": True, "text": "This message was deleted."}
        else:
            self.messages[channel].remove(message)

    def configure(self, page_cap: int = MAX_LIMIT, empty_pages: bool = False) -> None:
        """Choose how pages are cut."""
        self.page_cap, self.empty_pages = page_cap, empty_pages

    def answer(
        self, method: str, path: str, parameters: Parameters, headers: Mapping[str, str]
    ) -> web.Response:
        """The answer of the method that is named by the path."""
        try:
            if headers.get("Authorization") != f"Bearer {TOKEN}":
                raise NotOk("invalid_auth")
            call = getattr(self, f"_{path.replace('.', '_')}", None)
            if (
                "." not in path
                or call is None
                or (path == "conversations.join") != (method == "POST")
            ):
                raise NotOk("unknown_method")
            given = {name: values[0] for name, values in parameters.items()}
            return web.json_response({"ok": True, **call(given)})
        except NotOk as error:
            return web.json_response({"ok": False, "error": str(error)})

    def _auth_test(self, _: Mapping[str, str]) -> dict[str, Any]:
        return {"url": SITE, "team": "Kestrel Freight", "user": "knowledge", "bot_id": "B01KNOW"}

    def _chat_getPermalink(self, given: Mapping[str, str]) -> dict[str, Any]:  # noqa: N802  its name
        channel, ts = given["channel"], given["message_ts"]
        return {"permalink": f"{SITE}archives/{channel}/p{ts.replace('.', '')}", "channel": channel}

    def _users_info(self, given: Mapping[str, str]) -> dict[str, Any]:
        if given.get("user") not in self.users:
            raise NotOk("user_not_found")
        return {"user": self.users[given["user"]]}

    def _conversations_list(self, given: Mapping[str, str]) -> dict[str, Any]:
        types = given.get("types", "public_channel").split(",")
        kinds = {"public_channel": False, "private_channel": True}
        shown = [
            channel
            for channel in self.channels.values()
            if any(kinds.get(kind) == channel["is_private"] for kind in types)
            and (channel["is_member"] or not channel["is_private"])
        ]
        page, following = self._page(shown, given, 100)
        return {"channels": page, "response_metadata": {"next_cursor": following}}

    def _conversations_join(self, given: Mapping[str, str]) -> dict[str, Any]:
        channel = self.channels.get(given["channel"])
        if channel is None or channel["is_private"]:
            raise NotOk("channel_not_found")
        channel["is_member"] = True
        return {"channel": channel}

    def _conversations_history(self, given: Mapping[str, str]) -> dict[str, Any]:
        channel = self._readable(given)
        replies = self._threads(channel)
        oldest, latest = float(given.get("oldest", 0)), float(given.get("latest", "inf"))
        inclusive = given.get("inclusive") in {"true", "1"}

        def is_inside(at: float) -> bool:
            return oldest < at < latest or (inclusive and at in {oldest, latest})

        shown = [
            message
            for message in self.messages[channel]
            if is_inside(float(message["ts"]))
            and (
                message.get("thread_ts", message["ts"]) == message["ts"]
                or message.get("subtype") == "thread_broadcast"
            )
        ]
        shown.sort(key=lambda message: float(message["ts"]), reverse=True)
        page, following = self._page(shown, given, 100)
        return {
            "messages": [_shown(message, replies.get(message["ts"])) for message in page],
            "has_more": bool(following),
            "response_metadata": {"next_cursor": following},
        }

    def _conversations_replies(self, given: Mapping[str, str]) -> dict[str, Any]:
        channel = self._readable(given)
        parent = self._message(channel, given["ts"])
        replies = self._replies(channel, given["ts"])
        page, following = self._page(replies, given, 1000)
        return {
            "messages": [_shown(parent, replies), *page],  # the parent is in every page
            "has_more": bool(following),
            "response_metadata": {"next_cursor": following},
        }

    def _readable(self, given: Mapping[str, str]) -> str:
        channel = self.channels.get(given.get("channel", ""))
        if channel is None or (channel["is_private"] and not channel["is_member"]):
            raise NotOk("channel_not_found")
        if not channel["is_member"]:
            raise NotOk("not_in_channel")
        return str(channel["id"])

    def _message(self, channel: str, ts: str) -> dict[str, Any]:
        for message in self.messages[channel]:
            if message["ts"] == ts:
                return message
        raise NotOk("thread_not_found")

    def _replies(self, channel: str, ts: str) -> list[dict[str, Any]]:
        replies = [
            message
            for message in self.messages[channel]
            if message.get("thread_ts") == ts and message["ts"] != ts
        ]
        return sorted(replies, key=lambda message: float(message["ts"]))

    def _threads(self, channel: str) -> dict[str, list[dict[str, Any]]]:
        """The replies of each thread, oldest first."""
        threads: dict[str, list[dict[str, Any]]] = {}
        for message in sorted(self.messages[channel], key=lambda message: float(message["ts"])):
            if message.get("thread_ts", message["ts"]) != message["ts"]:
                threads.setdefault(message["thread_ts"], []).append(message)
        return threads

    def _page(
        self, rows: list[dict[str, Any]], given: Mapping[str, str], default: int
    ) -> tuple[list[dict[str, Any]], str]:
        """A page and the cursor of the next. A cursor names the last row, so nothing shifts."""
        limit = min(int(given.get("limit", default)), self.page_cap)
        start, was_empty = 0, True
        if cursor := given.get("cursor"):
            try:
                last, was_empty = json.loads(base64.b64decode(cursor))
            except ValueError:
                raise NotOk("invalid_cursor") from None
            keys = [_key(row) for row in rows]
            start = keys.index(last) + 1 if last in keys else 0
        if start >= len(rows):
            return [], ""
        if self.empty_pages and not was_empty:
            return [], _cursor(_key(rows[start - 1]), True)
        page = rows[start : start + limit]
        is_last = start + limit >= len(rows)
        return page, "" if is_last else _cursor(_key(page[-1]), not self.empty_pages)


def _shown(message: dict[str, Any], replies: list[dict[str, Any]] | None) -> dict[str, Any]:
    if not replies:
        return message
    return {
        **message,
        "thread_ts": message["ts"],
        "reply_count": len(replies),
        "latest_reply": replies[-1]["ts"],
    }


def _key(row: dict[str, Any]) -> str:
    return str(row.get("ts") or row["id"])


def _cursor(last: str, was_empty: bool) -> str:
    return base64.b64encode(json.dumps([last, was_empty]).encode()).decode()
