"""Wiki pages. They bear no times, so all are listed each time, and one that is missing is gone."""

from typing import Any
from urllib.parse import quote

from chatbot.fetching import TooLarge
from chatbot.ingesting import Run, Task
from chatbot.sweeping import LAST
from functions.ingest_gitlab import api


def list_page(run: Run, path: str, site: str, following: str | None) -> list[Task]:
    try:
        items, link = api.page(run, api.project(path, "wikis"), {"with_content": 1}, following)
    except TooLarge:  # each page's text is then read by itself
        items, link = api.page(run, api.project(path, "wikis"), {}, following)
    run.items = {}
    tasks: list[Task] = []
    for item in items:
        external_id = f"{path}/-/wikis/{item['slug']}"
        run.items[external_id] = item
        tasks.append(["wiki", external_id, path, site, item["slug"]])
    return [*tasks, ["wikis", None, path, site, link] if link else ["wikis_end", None, path]]


def wiki(run: Run, external_id: str, path: str, site: str, slug: str) -> None:
    item: dict[str, Any] = run.items.get(external_id) or {}
    if item.get("content") is None:
        item = run.client.get(api.project(path, "wikis", slug)).json()
    title = item.get("title") or slug
    text = f"# {title}\n\n{item['content']}"
    run.keep(external_id, f"{path} wiki: {title}", f"{site}/-/wikis/{quote(slug)}", text, None)


def end(run: Run, path: str) -> None:
    run.sweep(f"{path}/-/wikis/", f"{path}/-/wikis/{LAST}")
