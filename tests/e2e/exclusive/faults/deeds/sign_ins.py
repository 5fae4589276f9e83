"""Log-ins, and first uses of what they give."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidStatus

from localstack import faults, layout
from tests.e2e.client import PASSWORD, Rest, Tenant
from tests.e2e.conftest import Stack
from tests.e2e.exclusive.faults.deeds.patience import ACK_WITHIN, BACK_OFF, PATIENCE, persist
from tests.e2e.sources import until


@dataclass
class SignIns:
    """Log-ins, calls and handshakes: no good token is ever called a bad one."""

    tenant: Tenant
    stack: Stack
    count: int = 4
    users: list[Any] = field(default_factory=list)

    def prepare(self) -> None:
        """No worker has read a secret: the first use is to be under the faults."""
        faults.kill_workers(layout.current())

    def act(self) -> None:
        with ThreadPoolExecutor(self.count) as pool:
            self.users = list(pool.map(self._sign_in, range(self.count)))

    def _sign_in(self, _: int) -> Any:
        login = {"email": self.tenant.email, "password": PASSWORD}
        tokens = persist(self.tenant, "POST", "/auth/login", login)
        tenant = Tenant(
            self.tenant.email,
            self.tenant.user,
            tokens,
            Rest(self.tenant.rest.api_url, tokens["access_token"]),
            self.tenant.workspace_id,
            self.tenant.chatbot_id,
            self.tenant.websocket_url,
        )
        me = persist(tenant, "GET", "/users/me", None)
        ticket = persist(tenant, "POST", "/auth/ws-ticket", None)["ticket"]
        assert ticket
        until(lambda: self._connects(tenant), PATIENCE, BACK_OFF)
        return me

    def _connects(self, tenant: Tenant) -> bool:
        try:
            with tenant.chat() as chat:
                chat.send({"type": "ping"})
                return bool(chat.until(lambda f: f.get("type") in {"pong", "error"}, ACK_WITHIN))
        except (InvalidStatus, TimeoutError, ConnectionClosed, OSError):
            return False

    def check(self) -> None:
        assert [user["id"] for user in self.users] == [self.tenant.user["id"]] * self.count
