"""The seeded data, made through the product's own ways: an administrator, a workspace, a chatbot,
and three sources on the stand-ins of Slack, GitLab and Backlog.

The administrator comes from the `migrate` function, the rest from REST. Running it again changes
nothing.
"""

import time
from collections.abc import Mapping
from typing import Any

import requests

from localstack.layout import StackError

ADMINISTRATOR = {
    "email": "admin@example.com",
    "username": "admin",
    "full_name": "Local Administrator",
    "password": "local-administrator",
}
_WORKSPACE = {"name": "Demo", "slug": "demo"}
_CHATBOT = "Assistant"
_SOURCES: tuple[dict[str, Any], ...] = (
    {
        "provider": "slack",
        "name": "Team chat",
        "path": "/slack/api",
        "config": {},
        "credentials": {"bot_token": "xoxb-local"},
    },
    {
        "provider": "gitlab",
        "name": "Tracker",
        "path": "/gitlab/api/v4",
        "config": {"projects": ["platform/tracker"]},
        "credentials": {"private_token": "glpat-local"},
    },
    {
        "provider": "backlog",
        "name": "Operations",
        "path": "/backlog/api/v2",
        "config": {"projects": ["OPS"]},
        "credentials": {"api_key": "backlog-local"},
    },
)
_SCHEDULE = "rate(15 minutes)"
_INGESTION_SECONDS = 180
_PROMPT = "You are {{ chatbot.name }}, an assistant of {{ workspace.name }}. Be brief and kind."


class Api:
    """REST of one stack; raises `requests.HTTPError` for an answer that is no success."""

    def __init__(self, api_url: str) -> None:
        self._root = f"{api_url}/api/v1"
        self._session = requests.Session()
        self.token = ""

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._session.request(method, self._root + path, json=body, timeout=60)
        if not answer.ok:
            raise requests.HTTPError(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        return answer.json()

    def log_in(self, email: str, password: str) -> None:
        """Sign in; later calls carry the token."""
        self.token = self("POST", "/auth/login", {"email": email, "password": password})[
            "access_token"
        ]
        self._session.headers["Authorization"] = f"Bearer {self.token}"

    def find(self, path: str, name: str) -> dict[str, Any] | None:
        """The item of that name in a list, over all its pages."""
        cursor = ""
        while True:
            page = self("GET", f"{path}?limit=100{cursor}")
            for item in page["items"]:
                if item["name"] == name:
                    found: dict[str, Any] = item
                    return found
            if page["next_cursor"] is None:
                return None
            cursor = f"&cursor={page['next_cursor']}"


def seed(api_url: str) -> dict[str, str]:
    """The ids `workspace_id` and `chatbot_id`."""
    api = Api(api_url)
    api.log_in(ADMINISTRATOR["email"], ADMINISTRATOR["password"])
    workspace = api.find("/workspaces", _WORKSPACE["name"]) or api(
        "POST", "/workspaces", _WORKSPACE
    )
    chatbots = f"/workspaces/{workspace['id']}/chatbots"
    chatbot = api.find(chatbots, _CHATBOT) or api(
        "POST",
        chatbots,
        {
            "name": _CHATBOT,
            "description": "Answers anything.",
            "system_prompt": _PROMPT,
            "temperature": 0.7,
            "max_tokens": 4096,
            "knowledge": {"enabled": True},
        },
    )
    return {"workspace_id": workspace["id"], "chatbot_id": chatbot["id"]}


def seed_sources(api_url: str, workspace_id: str, providers_url: str) -> None:
    """Three sources, read and searchable. Raises `StackError` for a run that fails."""
    api = Api(api_url)
    api.log_in(ADMINISTRATOR["email"], ADMINISTRATOR["password"])
    path = f"/workspaces/{workspace_id}/sources"
    sources = [_source(api, path, wanted, providers_url) for wanted in _SOURCES]
    for source in sources:
        if source["last_synced_at"] is None and source["status"] != "running":
            api("POST", f"{path}/{source['id']}/sync")
    deadline = time.monotonic() + _INGESTION_SECONDS
    for source in sources:
        while not _is_searchable(api("GET", f"{path}/{source['id']}")):
            if time.monotonic() > deadline:
                raise StackError(f"The source {source['name']!r} is not read: see make logs.")
            time.sleep(0.5)


def _source(api: Api, path: str, wanted: Mapping[str, Any], providers_url: str) -> Any:
    return api.find(path, wanted["name"]) or api(
        "POST",
        path,
        {
            "provider": wanted["provider"],
            "name": wanted["name"],
            "config": {"base_url": f"{providers_url}{wanted['path']}", **wanted["config"]},
            "credentials": wanted["credentials"],
            "schedule": _SCHEDULE,
        },
    )


def _is_searchable(source: Mapping[str, Any]) -> bool:
    if source["status"] == "failed":
        raise StackError(f"The source {source['name']!r} failed: {source['last_error']}")
    return source["last_synced_at"] is not None and source["health"]["pending"] == 0
