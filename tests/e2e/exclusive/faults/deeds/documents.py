"""Documents written by hand."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from uuid import uuid4

from tests.e2e.client import Tenant
from tests.e2e.conftest import Stack
from tests.e2e.exclusive.faults.deeds.patience import BACK_OFF, PATIENCE, check_refusal, persist
from tests.e2e.sources import search, until


@dataclass
class Documents:
    """Documents written and deleted by hand: all are found, but for the deleted ones."""

    tenant: Tenant
    stack: Stack
    count: int = 5
    kept: dict[str, str] = field(default_factory=dict)
    deleted: dict[str, str] = field(default_factory=dict)

    def prepare(self) -> None:
        persist(self.tenant, "POST", f"{self.tenant.path}/search", {"query": "warm"})

    def act(self) -> None:
        words = [f"zq{uuid4().hex[:14]}" for _ in range(self.count)]
        with ThreadPoolExecutor(self.count) as pool:
            ids = dict(zip(words, pool.map(self._write, words), strict=True))
        gone = words[0]
        self.deleted, self.kept = {gone: ids.pop(gone)}, ids
        self._delete(self.deleted[gone])
        until(lambda: "pending" not in self._listed().values(), PATIENCE)

    def _write(self, word: str) -> str:
        path, body = f"{self.tenant.path}/documents", {"title": word, "content": f"It is {word}."}
        made = persist(self.tenant, "POST", path, body, **{"Idempotency-Key": word})
        return str(made["id"])

    def _delete(self, document_id: str) -> None:
        path = f"{self.tenant.path}/documents/{document_id}"

        def gone() -> bool:
            answer = self.tenant.rest.session.delete(f"{self.tenant.rest.api_url}/api/v1{path}")
            if answer.status_code in (204, 404):
                return True
            check_refusal(answer)
            return False

        until(gone, PATIENCE, BACK_OFF)

    def _listed(self) -> dict[str, str]:
        listed = persist(self.tenant, "GET", f"{self.tenant.path}/documents?limit=100", None)
        return {item["id"]: item["status"] for item in listed["items"]}

    def check(self) -> None:
        assert self._listed() == dict.fromkeys(self.kept.values(), "embedded")
        for word, document_id in self.kept.items():
            found = [item for item in search(self.tenant, word) if word in item["content"]]
            assert [item["document_id"] for item in found] == [document_id]
        [word] = self.deleted
        until(lambda: not [i for i in search(self.tenant, word) if word in i["content"]], PATIENCE)
