"""Files of a repository: all of them at first, then what changed since the commit last read."""

import re
from urllib.parse import quote

from chatbot.errors import Gone
from chatbot.fetching import Refused, TooLarge
from chatbot.ingesting import Run, Task
from chatbot.sweeping import LAST
from functions.ingest_gitlab import api

MAX_BYTES = 512 * 1024
# A comparison of more files than this may be cut off.
MAX_CHANGES = 1000
# Of these no text is to be expected, so they are not fetched at all.
BINARY = re.compile(
    r"\.(7z|avi|bin|bmp|bz2|class|dll|docx?|dylib|eot|exe|gif|gz|ico|jar|jpe?g|jks|keystore|mov|mp3|mp4"
    r"|o|otf|pdf|png|pptx?|pyc|so|sqlite|tar|tgz|tiff?|ttf|war|wasm|wav|webm|webp|woff2?|xlsx?|xz|zip)$",
    re.IGNORECASE,
)
_SYMBOLIC_LINK = "120000"


def head(run: Run, path: str, site: str, ref: str) -> list[Task]:
    """Where the branch is, before anything of it is read: what comes later, the next run finds."""
    parameters = {} if ref == "HEAD" else {"ref_name": ref}
    try:
        commits = run.client.get(_repository(path, "commits"), {**parameters, "per_page": 1}).json()
        sha = commits[0]["id"] if commits else None
    except (Gone, Refused):
        sha = None  # the tree will say whether there is a repository
    base = run.marks.get(f"{path} files")
    if run.is_full or not base or not sha:
        return [["tree", None, path, site, ref, sha, None]]
    if base == sha:
        return []
    return [["compare", None, path, site, ref, base, sha]]


def compare(run: Run, path: str, site: str, ref: str, base: str, sha: str) -> list[Task]:
    """What changed since; all files again if the old commit is gone or the answer is cut off."""
    parameters = {"from": base, "to": sha, "straight": "true"}
    try:
        found = run.client.get(_repository(path, "compare"), parameters).json()
    except (Gone, Refused, TooLarge):
        found = {"compare_timeout": True}
    if found.get("compare_timeout") or len(found["diffs"]) >= MAX_CHANGES:
        return [["tree", None, path, site, ref, sha, None]]
    stay = {change["new_path"] for change in found["diffs"] if not change.get("deleted_file")}
    tasks: list[Task] = []
    for change in found["diffs"]:
        old, new = change["old_path"], change["new_path"]
        is_moved = change.get("deleted_file") or change.get("renamed_file")
        if is_moved and old not in stay:
            tasks.append(["file_gone", _external_id(path, old)])
        if new in stay:
            tasks += _file(path, site, ref, new, change.get("b_mode"))
    run.marks[f"{path} files"] = sha
    return tasks


def tree(
    run: Run, path: str, site: str, ref: str, sha: str | None, following: str | None
) -> list[Task]:
    """A page of all files; after the last, what was not in any is gone."""
    parameters = {"recursive": "true", **({} if ref == "HEAD" else {"ref": ref})}
    items, link = api.page(run, _repository(path, "tree"), parameters, following)
    tasks: list[Task] = []
    for item in items:
        if item["type"] == "blob":
            tasks += _file(path, site, ref, item["path"], item.get("mode"))
    if link:
        return [*tasks, ["tree", None, path, site, ref, sha, link]]
    return [*tasks, ["files_end", None, path, sha]]


def _file(path: str, site: str, ref: str, name: str, mode: str | None) -> list[Task]:
    if BINARY.search(name) or mode == _SYMBOLIC_LINK:
        return []
    return [["file", _external_id(path, name), path, site, ref, name]]


def file(run: Run, external_id: str, path: str, site: str, ref: str, name: str) -> None:
    """A file as a document, unless it is binary, very large or empty. Raises `Gone`."""
    try:
        answer = run.client.get(
            f"{_repository(path, 'files', name)}/raw", {"ref": ref}, max_bytes=MAX_BYTES
        )
        text = "" if b"\0" in answer.body else answer.body.decode("utf-8-sig")
    except (TooLarge, UnicodeDecodeError):
        text = ""
    if not text.strip():
        raise Gone("no text")
    url = f"{site}/-/blob/{quote(ref)}/{quote(name)}"
    run.keep(external_id, f"{path}: {name}", url, text, None)


def gone(run: Run, external_id: str) -> None:
    run.drop(external_id)


def end(run: Run, path: str, sha: str | None) -> None:
    run.sweep(_external_id(path, ""), _external_id(path, LAST))
    if sha:
        run.marks[f"{path} files"] = sha


def _repository(path: str, *parts: str) -> str:
    return api.project(path, "repository", *parts)


def _external_id(path: str, name: str) -> str:
    return f"{path}/-/files/{name}"
