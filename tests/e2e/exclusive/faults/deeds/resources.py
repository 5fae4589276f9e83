"""Chatbots, as what is made and changed by REST."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from tests.e2e.client import Tenant
from tests.e2e.conftest import Stack
from tests.e2e.exclusive.faults.deeds.patience import persist


@dataclass
class Resources:
    """Chatbots made at once, each with a key of its own, and changed."""

    tenant: Tenant
    stack: Stack
    count: int = 8
    made: dict[str, Any] = field(default_factory=dict)

    def prepare(self) -> None:
        persist(self.tenant, "GET", f"{self.tenant.path}/chatbots", None)

    def act(self) -> None:
        names = [uuid4().hex for _ in range(self.count)]
        with ThreadPoolExecutor(self.count) as pool:
            self.made = dict(zip(names, pool.map(self._make, names), strict=True))

    def _make(self, name: str) -> Any:
        path = f"{self.tenant.path}/chatbots"
        made = persist(self.tenant, "POST", path, {"name": name}, **{"Idempotency-Key": name})
        persist(self.tenant, "PATCH", f"{path}/{made['id']}", {"description": name})
        return made

    def check(self) -> None:
        path = f"{self.tenant.path}/chatbots"
        listed = self.tenant.rest.ok("GET", path, params={"limit": "100"})["items"]
        found = {item["name"]: item for item in listed if item["name"] in self.made}
        assert len([item for item in listed if item["name"] in self.made]) == self.count
        for name, made in self.made.items():
            assert (found[name]["id"], found[name]["description"]) == (made["id"], name)
