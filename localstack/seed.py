"""The seeded data, made through the product's own ways: an administrator, a workspace, a chatbot.

The administrator comes from the `migrate` function, the rest from REST. Running it again changes
nothing.
"""

from typing import Any

import requests

ADMINISTRATOR = {
    "email": "admin@example.com",
    "username": "admin",
    "full_name": "Local Administrator",
    "password": "local-administrator",
}
_WORKSPACE = {"name": "Demo", "slug": "demo"}
_CHATBOT = "Assistant"
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
        },
    )
    return {"workspace_id": workspace["id"], "chatbot_id": chatbot["id"]}
