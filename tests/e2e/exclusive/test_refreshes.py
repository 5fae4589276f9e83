"""Refreshes at the same moment: what else the machine does would part them."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

from tests.e2e.client import Rest, Tenant


def test_one_pair_and_no_revocation_when_20_refresh_at_once(tenant: Tenant) -> None:
    token = tenant.tokens["refresh_token"]

    clients = [Rest(tenant.rest.api_url) for _ in range(20)]
    start = Barrier(20)

    def refresh(client: Rest) -> Any:
        client("GET", "/health/live")  # connects, so that the requests do come at once
        start.wait()
        return client("POST", "/auth/refresh", {"refresh_token": token})

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(refresh, clients))
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [200] + [401] * 19
    [pair] = [answer.json() for answer in answers if answer.ok]
    after = Rest(tenant.rest.api_url)(
        "POST", "/auth/refresh", {"refresh_token": pair["refresh_token"]}
    )
    assert after.status_code == 200
