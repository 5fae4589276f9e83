"""A source that is read."""

from dataclasses import dataclass, field
from typing import Any

import requests

from tests.e2e.client import Tenant
from tests.e2e.conftest import Stack
from tests.e2e.exclusive.faults.deeds.patience import BACK_OFF, PATIENCE, check_refusal, persist
from tests.e2e.sources import CREDENTIALS, PATHS, Source, connect, control, until

FILLED, THREADS = "C02ENG", 40


@dataclass
class Ingestion:
    """A run of a source, once more where the first did not succeed."""

    tenant: Tenant
    stack: Stack
    statuses: list[str] = field(default_factory=list)

    def prepare(self) -> None:
        persist(self.tenant, "GET", f"{self.tenant.path}/sources", None)
        control(self.stack, "slack", "fill", channel=FILLED, count=THREADS)
        self.source: Source = connect(self.tenant, self.stack, "slack")

    def act(self) -> None:
        self._run()
        until(self._is_embedded, PATIENCE)

    def _is_embedded(self) -> bool:
        health = persist(self.tenant, "GET", self.source.path, None)["health"]
        return bool(health["pending"] == 0)

    def _run(self) -> None:
        """A job that was accepted, or is under way already, up to its end."""
        jobs = f"{self.tenant.path}/jobs?source_id={self.source.id}"

        def sync() -> bool:
            answer = self.tenant.rest.session.post(
                f"{self.tenant.rest.api_url}/api/v1{self.source.path}/sync"
            )
            if answer.status_code not in (202, 409):
                check_refusal(answer)
            return answer.status_code in (202, 409)

        until(sync, PATIENCE, BACK_OFF)

        def ended() -> Any:
            shown = self.tenant.rest.session.get(f"{self.tenant.rest.api_url}/api/v1{jobs}")
            if not shown.ok:
                return check_refusal(shown)
            newest = shown.json()["items"][0]
            return newest if newest["status"] != "running" else None

        self.statuses.append(until(ended, PATIENCE)["status"])

    def check(self) -> None:
        while self.statuses[-1] != "succeeded":
            assert len(self.statuses) < 4, self.statuses
            self._run()
        until(self._is_embedded, PATIENCE)
        documents = self.source.documents()
        assert {d["status"] for d in documents.values()} == {"embedded"}
        state = self.source.read()
        assert (state["status"], state["last_error"]) == ("idle", None)
        assert all(d["chunk_count"] > 0 for d in documents.values())
        assert documents.keys() == self._provided()

    def _provided(self) -> set[str]:
        """The documents' names that follow from what the provider holds where it lets us read: one
        a thread that a person began."""
        listed = self._slack("conversations.list", types="public_channel,private_channel")
        return {
            f"{channel['id']}__{message['ts']}"
            for channel in listed["channels"]
            if channel["is_member"]
            for message in self._slack("conversations.history", channel=channel["id"])["messages"]
            if "subtype" not in message
        }

    def _slack(self, method: str, **arguments: str) -> Any:
        answer = requests.get(
            f"{self.stack.outputs['providers_url']}{PATHS['slack']}/{method}",
            params={"limit": "900", **arguments},
            headers={"Authorization": f"Bearer {CREDENTIALS['slack']['bot_token']}"},
            timeout=10,
        )
        return answer.json()
