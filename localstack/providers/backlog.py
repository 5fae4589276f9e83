"""Backlog's API, version 2: issues with comments, wikis, and the feed of activities."""

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

CORPUS = Path(__file__).parent / "corpus/backlog.json"
API_KEY = "backlog-local"
MAX_COUNT = 100
ISSUE_TYPES = [{"id": 2, "name": "Task"}, {"id": 1, "name": "Bug"}, {"id": 3, "name": "Request"}]
PRIORITIES = [{"id": 2, "name": "High"}, {"id": 3, "name": "Normal"}, {"id": 4, "name": "Low"}]

type Parameters = Mapping[str, list[str]]
type Item = dict[str, Any]


class Missing(Exception):
    """A 404."""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


class Backlog:
    """One project; its issues are found by id or by key. With `newest_first` the feed comes so
    whatever is asked."""

    def __init__(self) -> None:
        corpus = json.loads(CORPUS.read_text(encoding="utf-8"))
        self.project: Item = corpus["project"]
        self.key: str = self.project["projectKey"]
        self.issues: dict[int, Item] = {}
        self.wikis: dict[int, Item] = {}
        self.activities: list[Item] = []
        self.newest_first = False
        for issue in corpus["issues"]:
            self.put_issue(**issue)
        for page in corpus["wikis"]:
            self.put_wiki(**page)

    # --- What tests change ---

    def put_issue(self, number: int, comments: list[Item] | None = None, **fields: Any) -> None:
        """Make or change the issue of a number in its project."""
        at = fields.get("updated") or _now()
        known = 1000 + number in self.issues
        issue = self.issues.setdefault(
            1000 + number,
            {
                "id": 1000 + number,
                "projectId": self.project["id"],
                "issueKey": f"{self.key}-{number}",
                "keyId": number,
                "issueType": {"id": 1, "name": "Task"},
                "summary": f"Number {number}",
                "description": "",
                "status": {"id": 1, "name": "Open"},
                "priority": {"id": 3, "name": "Normal"},
                "assignee": None,
                "createdUser": {"id": 7, "name": "Kenji Mori"},
                "created": at,
                "comments": [],
            },
        )
        issue |= {"updated": at, **fields}
        for comment in comments or []:
            issue["comments"].append({"id": 50_000 + self._next(), "created": at, **comment})
        self._happened(2 if known else 1, {"id": issue["id"], "key_id": number})

    def comment(self, number: int, content: str | None) -> None:
        """Comment an issue, which changes its time; without content it is a change of a field."""
        issue = self.issues[1000 + number]
        change = [] if content else [{"field": "status", "newValue": "Closed"}]
        issue["comments"].append(
            {
                "id": 50_000 + self._next(),
                "content": content,
                "changeLog": change,
                "createdUser": {"id": 8, "name": "Lena Brandt"},
                "created": _now(),
            }
        )
        issue["updated"] = _now()
        self._happened(3, {"id": issue["id"], "key_id": number})

    def change_several(self, numbers: list[int], status: str) -> None:
        """Change several issues at once; the feed tells of it in one activity."""
        for number in numbers:
            self.issues[1000 + number] |= {"status": {"id": 4, "name": status}, "updated": _now()}
        link = [{"id": 1000 + number, "key_id": number} for number in numbers]
        self._happened(14, {"tx_id": 1, "link": link})

    def delete_issue(self, number: int) -> None:
        """Delete an issue."""
        del self.issues[1000 + number]
        self._happened(4, {"id": 1000 + number, "key_id": number})

    def put_wiki(self, number: int, name: str, content: str, **fields: Any) -> None:
        """Make or change a wiki page."""
        known = number in self.wikis
        self.wikis[number] = {
            "id": number,
            "projectId": self.project["id"],
            "name": name,
            "content": content,
            "updated": _now(),
            **fields,
        }
        self._happened(6 if known else 5, {"id": number, "name": name})

    def delete_wiki(self, number: int) -> None:
        """Delete a wiki page."""
        page = self.wikis.pop(number)
        self._happened(7, {"id": number, "name": page["name"]})

    def _next(self) -> int:
        return sum(len(issue["comments"]) for issue in self.issues.values())

    def _happened(self, kind: int, content: Item) -> None:
        self.activities.append(
            {
                "id": len(self.activities) + 1,
                "type": kind,
                "project": self.project,
                "content": content,
                "created": _now(),
            }
        )

    # --- What clients ask ---

    def answer(
        self, method: str, path: str, parameters: Parameters, _: Mapping[str, str]
    ) -> web.Response:
        """The answer to a request, with what is left of the limit."""
        headers = {
            "X-RateLimit-Limit": "600",
            "X-RateLimit-Remaining": "599",
            "X-RateLimit-Reset": str(int(time.time()) + 60),
        }
        if parameters.get("apiKey") != [API_KEY]:
            error = {"message": "Authentication failure.", "code": 11, "moreInfo": ""}
            return web.json_response({"errors": [error]}, status=401, headers=headers)
        try:
            if (method, path) == ("POST", "issues"):
                return self._create(parameters, headers)
            if method != "GET":
                raise Missing
            return web.json_response(self._answer(path.split("/"), parameters), headers=headers)
        except Missing:
            error = {"message": f"No such {path}.", "code": 6, "moreInfo": ""}
            return web.json_response({"errors": [error]}, status=404, headers=headers)

    def _create(self, given: Parameters, headers: Mapping[str, str]) -> web.Response:
        missing = [
            name
            for name in ("projectId", "summary", "issueTypeId", "priorityId")
            if not _first(given, name, "")
        ]
        kinds = [
            kind for kind in ISSUE_TYPES if str(kind["id"]) == _first(given, "issueTypeId", "")
        ]
        if missing or not kinds or _first(given, "projectId", "") != str(self.project["id"]):
            error = {"message": f"Invalid {missing}.", "code": 7, "moreInfo": ""}
            return web.json_response({"errors": [error]}, status=400, headers=headers)
        number = max(issue["keyId"] for issue in self.issues.values()) + 1
        priority = next(
            one for one in PRIORITIES if str(one["id"]) == _first(given, "priorityId", "")
        )
        self.put_issue(
            number,
            summary=_first(given, "summary", ""),
            description=_first(given, "description", ""),
            issueType=kinds[0],
            priority=priority,
        )
        return web.json_response(_shown(self.issues[1000 + number]), status=201, headers=headers)

    def _answer(self, parts: list[str], given: Parameters) -> Any:
        match parts:
            case ["projects", key]:
                return self._project(key)
            case ["projects", key, "issueTypes"]:
                self._project(key)
                return ISSUE_TYPES
            case ["projects", key, "activities"]:
                self._project(key)
                kinds = {int(kind) for kind in given.get("activityTypeId[]", [])}
                rows = [row for row in self.activities if not kinds or row["type"] in kinds]
                order = {"order": ["desc"]} if self.newest_first else {}
                return _by_id(rows, {**given, **order})
            case ["issues"]:
                offset = int(_first(given, "offset", "0"))
                return [
                    _shown(issue) for issue in self._listed(given)[offset : offset + _count(given)]
                ]
            case ["issues", "count"]:
                return {"count": len(self._listed(given))}
            case ["issues", name]:
                return _shown(self._issue(name))
            case ["issues", name, "comments"]:
                return _by_id(self._issue(name)["comments"], given)
            case ["wikis"]:
                self._project(_first(given, "projectIdOrKey", ""))
                return [
                    {name: value for name, value in page.items() if name != "content"}
                    for page in self.wikis.values()
                ]
            case ["wikis", number] if number.isdigit() and int(number) in self.wikis:
                return self.wikis[int(number)]
        raise Missing

    def _project(self, key: str) -> Item:
        if key not in {self.key, str(self.project["id"])}:
            raise Missing
        return self.project

    def _issue(self, name: str) -> Item:
        for issue in self.issues.values():
            if name in {str(issue["id"]), issue["issueKey"]}:
                return issue
        raise Missing

    def _listed(self, given: Parameters) -> list[Item]:
        projects = given.get("projectId[]", [])
        since = _first(given, "updatedSince", "0000-00-00")
        words = _first(given, "keyword", "").casefold().split()
        rows = [
            issue
            for issue in self.issues.values()
            if (not projects or str(issue["projectId"]) in projects)
            and issue["updated"][:10] >= since  # by the day
            and all(
                word in f"{issue['summary']} {issue['description']}".casefold() for word in words
            )
        ]
        order = _first(given, "sort", "created")
        return sorted(
            rows,
            key=lambda row: (row[order], row["id"]),
            reverse=_first(given, "order", "desc") == "desc",
        )


def _first(given: Parameters, name: str, default: str) -> str:
    return given.get(name, [default])[0]


def _count(given: Parameters) -> int:
    return min(int(_first(given, "count", "20")), MAX_COUNT)


def _shown(issue: Item) -> Item:
    return {name: value for name, value in issue.items() if name != "comments"}


def _by_id(rows: list[Item], given: Parameters) -> list[Item]:
    least, most = int(_first(given, "minId", "0")), int(_first(given, "maxId", str(2**53)))
    shown = sorted((row for row in rows if least <= row["id"] <= most), key=lambda row: row["id"])
    if _first(given, "order", "desc") == "desc":
        shown.reverse()
    return shown[: _count(given)]
