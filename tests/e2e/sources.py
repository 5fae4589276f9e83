"""Sources on the stand-ins of the providers, as a member of a workspace has them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests

from tests.e2e.client import Tenant
from tests.e2e.conftest import Stack

RUN_SECONDS = 90
CREDENTIALS = {
    "slack": {"bot_token": "xoxb-local"},
    "gitlab": {"private_token": "glpat-local"},
    "backlog": {"api_key": "backlog-local"},
}
PATHS = {"slack": "/slack/api", "gitlab": "/gitlab/api/v4", "backlog": "/backlog/api/v2"}
NEVER = "cron(0 0 1 1 ? 2199)"


def until[Found](look: Callable[[], Found], within: float, pause: float = 0.3) -> Found:
    """What `look` finds, asked again until it is true. Fails after `within` seconds."""
    deadline = time.monotonic() + within
    while not (found := look()):
        assert time.monotonic() < deadline, f"nothing within {within} s"
        time.sleep(pause)
    return found


@dataclass(slots=True)
class Source:
    """A source of a tenant, and the stand-in that it reads."""

    tenant: Tenant
    stack: Stack
    id: str

    @property
    def path(self) -> str:
        return f"{self.tenant.path}/sources/{self.id}"

    def read(self) -> Any:
        return self.tenant.rest.ok("GET", self.path)

    def job(self, job_id: str) -> Any:
        return self.tenant.rest.ok("GET", f"{self.tenant.path}/jobs/{job_id}")

    def sync(self) -> str:
        job_id: str = self.tenant.rest.ok("POST", f"{self.path}/sync")["job_id"]
        return job_id

    def end(self, job_id: str, within: float = RUN_SECONDS) -> Any:
        """The job, once it does not run any more."""
        return until(lambda: _ended(self.job(job_id)), within)

    def run(self) -> Any:
        """A whole run by hand, and all that it found embedded: its job."""
        job = self.end(self.sync())
        until(lambda: self.read()["health"]["pending"] == 0, RUN_SECONDS)
        return job

    def documents(self) -> dict[str, Any]:
        """All documents of the source by their external ids."""
        found: dict[str, Any] = {}
        query: dict[str, str] = {"source_id": self.id, "limit": "100"}
        while True:
            page = self.tenant.rest.ok("GET", f"{self.tenant.path}/documents", params=query)
            found |= {each["external_id"]: each for each in page["items"]}
            if page["next_cursor"] is None:
                return found
            query["cursor"] = page["next_cursor"]


def _ended(job: Any) -> Any:
    return job if job["status"] != "running" else None


def connect(tenant: Tenant, stack: Stack, provider: str, **fields: Any) -> Source:
    """A new source on a stand-in; it runs by hand only, unless `schedule` is given."""
    config = fields.pop("config", {})
    body = {
        "provider": provider,
        "name": f"A {provider}",
        "config": {"base_url": stack.outputs["providers_url"] + PATHS[provider], **config},
        "credentials": CREDENTIALS[provider],
        "schedule": NEVER,
        **fields,
    }
    made = tenant.rest.ok("POST", f"{tenant.path}/sources", body)
    return Source(tenant, stack, made["id"])


def control(stack: Stack, provider: str, do: str, **arguments: Any) -> Any:
    """Change what a provider holds."""
    order = {"provider": provider, "do": do, "with": arguments}
    return _order(stack, order)


def fault(stack: Stack, provider: str, **fault: Any) -> None:
    """Have a provider's answers go wrong; everybody else's too."""
    _order(stack, {"provider": provider, "fault": fault})


def reset(stack: Stack) -> None:
    """The stand-ins as they were at first."""
    requests.delete(f"{stack.outputs['providers_url']}/control", timeout=10).raise_for_status()


def _order(stack: Stack, order: dict[str, Any]) -> Any:
    answer = requests.post(f"{stack.outputs['providers_url']}/control", json=order, timeout=10)
    answer.raise_for_status()
    return answer.json()


def search(tenant: Tenant, query: str, top_k: int = 50) -> list[Any]:
    """What a workspace's search finds."""
    body = {"query": query, "top_k": top_k}
    found: list[Any] = tenant.rest.ok("POST", f"{tenant.path}/search", body)["items"]
    return found


def texts(tenant: Tenant, query: str) -> str:
    """All that a workspace's search finds, as one text."""
    return "\n".join(f"{item['title']}\n{item['content']}" for item in search(tenant, query))
