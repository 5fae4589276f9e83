"""Wiki pages: the list comes in one answer, without the texts."""

from typing import Any

from chatbot.ingesting import Run, Task
from chatbot.sweeping import LAST


def list_all(run: Run, key: str) -> list[Task]:
    run.items = {}
    pages = run.client.get("wikis", {"projectIdOrKey": key}).json()
    return [
        *(["wiki", f"{key}/wikis/{page['id']}", key, page["id"]] for page in pages),
        ["wikis_end", None, key],
    ]


def wiki(run: Run, external_id: str, key: str, number: int) -> None:
    page: dict[str, Any] = run.client.get(f"wikis/{number}").json()
    run.keep(
        external_id,
        f"{key} wiki: {page['name']}",
        f"{run.client.base_url.removesuffix('/api/v2')}/alias/wiki/{number}",
        f"# {page['name']}\n\n{page.get('content') or ''}",
        page.get("updated"),
    )


def end(run: Run, key: str) -> None:
    run.sweep(f"{key}/wikis/", f"{key}/wikis/{LAST}")
