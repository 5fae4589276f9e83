"""GitLab's REST API, version 4: issues, merge requests, notes, wikis and a repository."""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode

from aiohttp import web

CORPUS = Path(__file__).parent / "corpus"
TOKEN = "glpat-local"  # noqa: S105  of a stand-in
SITE = "https://gitlab.kestrel-freight.example"
ME = "knowledge-bot"
MAX_PER_PAGE = 100
TOTALS_UP_TO = 10_000

type Parameters = Mapping[str, list[str]]
type Item = dict[str, Any]


class Missing(Exception):
    """A 404."""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Gitlab:
    """One project. `ignores_updated_after` makes it an old server, no `has_totals` a busy one."""

    def __init__(self) -> None:
        corpus = json.loads((CORPUS / "gitlab.json").read_text(encoding="utf-8"))
        self.project: Item = corpus["project"]
        self.path: str = self.project["path_with_namespace"]
        self.discussions: dict[str, list[Item]] = {
            kind: [self._discussion(kind, **item) for item in corpus[kind]]
            for kind in ("issues", "merge_requests")
        }
        self.wikis: dict[str, Item] = {page["slug"]: page for page in corpus["wikis"]}
        folder = CORPUS / "repository"
        files = {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        files["docs/depots.png"] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
        self.commits: list[tuple[str, dict[str, bytes]]] = []
        self._push(files)
        self.ignores_updated_after = False
        self.has_totals = True

    # --- What tests change ---

    def put(self, kind: str, iid: int, **fields: Any) -> None:
        """Make or change an issue or merge request."""
        fields = {"updated_at": _now(), **fields}
        for item in self.discussions[kind]:
            if item["iid"] == iid:
                item |= fields
                return
        self.discussions[kind].append(self._discussion(kind, iid=iid, **fields))

    def note(self, kind: str, iid: int, body: str, **fields: Any) -> None:
        """Add a note to an issue or merge request, which changes its time."""
        item = self._find(kind, iid)
        at = _now()
        note = {"id": 9000 + len(item["notes"]), "body": body, "author": {"name": "Ada Osei"}}
        item["notes"].append(
            {**note, "system": False, "created_at": at, "updated_at": at, **fields}
        )
        item["updated_at"] = at

    def delete(self, kind: str, iid: int) -> None:
        """Delete an issue or merge request."""
        self.discussions[kind].remove(self._find(kind, iid))

    def put_wiki(self, slug: str, title: str, content: str) -> None:
        """Write a wiki page."""
        self.wikis[slug] = {"slug": slug, "title": title, "content": content, "format": "markdown"}

    def delete_wiki(self, slug: str) -> None:
        """Delete a wiki page."""
        del self.wikis[slug]

    def commit(self, files: dict[str, str | None]) -> str:
        """Write files, or delete those that are null; returns the new commit."""
        new = dict(self.commits[-1][1])
        for path, text in files.items():
            if text is None:
                del new[path]
            else:
                new[path] = text.encode()
        return self._push(new)

    def force_push(self) -> None:
        """Forget all commits but the last one."""
        del self.commits[:-1]

    def configure(self, ignores_updated_after: bool = False, has_totals: bool = True) -> None:
        """Choose what kind of server it is."""
        self.ignores_updated_after, self.has_totals = ignores_updated_after, has_totals

    # --- What clients ask ---

    def answer(
        self, method: str, path: str, parameters: Parameters, headers: Mapping[str, str]
    ) -> web.Response:
        """The answer to a request; `path` is as it was sent, with its encoding."""
        if headers.get("PRIVATE-TOKEN") != TOKEN:
            return web.json_response({"message": "401 Unauthorized"}, status=401)
        given = {name: values[0] for name, values in parameters.items()}
        try:
            if method != "GET":
                raise Missing
            return self._answer([unquote(part) for part in path.split("/")], given)
        except Missing:
            return web.json_response({"message": "404 Not found"}, status=404)

    def _answer(self, parts: list[str], given: Mapping[str, str]) -> web.Response:
        if parts[:2] not in (["projects", self.path], ["projects", str(self.project["id"])]):
            raise Missing
        match parts[2:]:
            case []:
                return web.json_response(self.project)
            case ["issues" | "merge_requests" as kind]:
                return self._page(self._listed(kind, given), parts, given)
            case ["issues" | "merge_requests" as kind, iid]:
                return web.json_response(_shown(self._find(kind, int(iid))))
            case ["issues" | "merge_requests" as kind, iid, "notes"]:
                return self._page(_sorted(self._find(kind, int(iid))["notes"], given), parts, given)
            case ["wikis", *slug]:
                return self._wikis(slug, given)
            case ["repository", *rest]:
                return self._repository(rest, parts, given)
        raise Missing

    def _wikis(self, slug: list[str], given: Mapping[str, str]) -> web.Response:
        if slug:
            if slug[0] not in self.wikis:
                raise Missing
            return web.json_response(self.wikis[slug[0]])
        has_content = given.get("with_content") in {"1", "true"}
        hidden = set() if has_content else {"content"}
        return web.json_response(
            [
                {name: value for name, value in page.items() if name not in hidden}
                for page in self.wikis.values()
            ]
        )

    def _repository(
        self, rest: list[str], parts: list[str], given: Mapping[str, str]
    ) -> web.Response:
        match rest:
            case ["commits"]:
                self._files(given.get("ref_name", "HEAD"))
                commits = [{"id": sha, "title": "Change"} for sha, _ in reversed(self.commits)]
                return self._page(commits, parts, given)
            case ["tree"]:
                files = self._files(given.get("ref", "HEAD"))
                parents = (list(Path(path).parents)[:-1] for path in files)
                folders = {str(parent) for found in parents for parent in found}
                rows = [_entry(path, "tree") for path in sorted(folders)]
                rows += [_entry(path, "blob") for path in sorted(files)]
                if given.get("recursive") != "true":
                    rows = [row for row in rows if "/" not in row["path"]]
                return self._page(rows, parts, given)
            case ["files", path, "raw"]:
                files = self._files(given.get("ref", "HEAD"))
                if path not in files:
                    raise Missing
                return web.Response(body=files[path], content_type="text/plain")
            case ["compare"]:
                old, new = self._files(given["from"]), self._files(given["to"])
                return web.json_response(
                    {"commits": [], "diffs": _diffs(old, new), "compare_timeout": False}
                )
        raise Missing

    def _push(self, files: dict[str, bytes]) -> str:
        digest = hashlib.sha1(usedforsecurity=False)
        digest.update(str(len(self.commits)).encode())
        for path, content in sorted(files.items()):
            digest.update(path.encode() + content)
        self.commits.append((digest.hexdigest(), files))
        return digest.hexdigest()

    def _files(self, ref: str) -> dict[str, bytes]:
        if ref in {"HEAD", self.project["default_branch"]}:
            return self.commits[-1][1]
        for sha, files in self.commits:
            if sha == ref:
                return files
        raise Missing

    def _discussion(self, kind: str, iid: int, **fields: Any) -> Item:
        at = fields.get("updated_at") or _now()
        item = {
            "id": 40_000 + iid,
            "iid": iid,
            "title": f"Number {iid}",
            "description": "",
            "state": "opened",
            "labels": [],
            "author": {"username": "ada", "name": "Ada Osei"},
            "created_at": at,
            "updated_at": at,
            "web_url": f"{SITE}/{self.path}/-/{kind}/{iid}",
            "notes": [],
            **fields,
        }
        return {"confidential": False, **item} if kind == "issues" else item

    def _find(self, kind: str, iid: int) -> Item:
        for item in self.discussions[kind]:
            if item["iid"] == iid:
                return item
        raise Missing

    def _listed(self, kind: str, given: Mapping[str, str]) -> list[Item]:
        rows = self.discussions[kind]
        if given.get("scope", "created_by_me") != "all" and kind == "merge_requests":
            rows = [row for row in rows if row["author"]["username"] == ME]
        if given.get("scope") in {None, "created_by_me"} and kind == "issues":
            rows = [row for row in rows if row["author"]["username"] == ME]
        if (state := given.get("state", "all")) != "all":
            rows = [row for row in rows if row["state"] == state]
        after = given.get("updated_after")
        if after and not self.ignores_updated_after:
            since = datetime.fromisoformat(after)
            rows = [row for row in rows if datetime.fromisoformat(row["updated_at"]) >= since]
        return [_shown(row) for row in _sorted(rows, given)]

    def _page(self, rows: list[Any], parts: list[str], given: Mapping[str, str]) -> web.Response:
        number = int(given.get("page", 1))
        size = min(int(given.get("per_page", 20)), MAX_PER_PAGE)
        shown = rows[(number - 1) * size : number * size]
        headers = {"X-Page": str(number), "X-Per-Page": str(size), "RateLimit-Remaining": "500"}
        if self.has_totals and len(rows) <= TOTALS_UP_TO:
            headers["X-Total"] = str(len(rows))
        if number * size < len(rows):
            query = urlencode({**given, "page": number + 1, "per_page": size})
            # As behind a proxy that does not tell under which name it is asked.
            path = "/".join(part.replace("/", "%2F") for part in parts)
            headers["Link"] = f'<{SITE}/api/v4/{path}?{query}>; rel="next"'
        return web.json_response(shown, headers=headers)


def _shown(item: Item) -> Item:
    return {name: value for name, value in item.items() if name != "notes"}


def _sorted(rows: list[Item], given: Mapping[str, str]) -> list[Item]:
    order = given.get("order_by", "created_at")
    return sorted(
        rows,
        key=lambda row: (row[order], row.get("iid", row["id"])),
        reverse=given.get("sort", "desc") == "desc",
    )


def _entry(path: str, kind: str) -> Item:
    mode = "100644" if kind == "blob" else "040000"
    return {"name": path.rsplit("/", 1)[-1], "type": kind, "path": path, "mode": mode}


def _diffs(old: dict[str, bytes], new: dict[str, bytes]) -> list[Item]:
    gone = {path: content for path, content in old.items() if path not in new}
    diffs = []
    for path, content in new.items():
        if old.get(path) == content:
            continue
        source = next((name for name, was in gone.items() if was == content), None)
        if path not in old and source is not None:
            del gone[source]
        else:
            source = path
        diffs.append(_diff(source, path, new_file=path not in old and source == path))
    return diffs + [_diff(path, path, deleted_file=True) for path in gone]


def _diff(
    old_path: str, new_path: str, *, new_file: bool = False, deleted_file: bool = False
) -> Item:
    return {
        "old_path": old_path,
        "new_path": new_path,
        "a_mode": "100644",
        "b_mode": "0" if deleted_file else "100644",
        "new_file": new_file,
        "renamed_file": old_path != new_path,
        "deleted_file": deleted_file,
        "diff": "",
    }
