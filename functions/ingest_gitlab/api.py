"""GitLab's REST API: paths of a project, and pages by the header `Link`."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from chatbot.ingesting import Run

PAGE_SIZE = 100


def project(path: str, *parts: str) -> str:
    """The path of something in a project, each part encoded as one segment."""
    return "/".join(["projects", *(quote(part, safe="") for part in (path, *parts))])


def page(
    run: Run,
    path: str,
    parameters: Mapping[str, Any],
    following: str | None = None,
) -> tuple[list[Any], str | None]:
    """The items of a page, and the query of the next one as the server gives it, if there is one.

    Of its link only the query is used: behind some proxies the rest is wrong.
    """
    if following is None:
        answer = run.client.get(path, {**parameters, "per_page": PAGE_SIZE})
    else:
        answer = run.client.get(f"{path}?{following}")
    link = answer.link("next")
    return list(answer.json()), urlsplit(link).query if link else None


def site(run: Run, path: str) -> str:
    """The address of a project's pages, where the project itself does not tell."""
    return f"{run.client.base_url.removesuffix('/api/v4')}/{path}"
