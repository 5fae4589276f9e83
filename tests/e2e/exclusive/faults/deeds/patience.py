"""What is done while AWS fails, by clients that do not give up."""

import time
from typing import Any, Protocol

import requests

from tests.e2e.client import Rest, Tenant

PATIENCE = 150  # seconds until a client that does not give up must have got what it wants
ACK_WITHIN = 15
BACK_OFF = 0.5
# What tells a client to come again; the gateway's own answers among them.
LATER = {429, 500, 502, 503, 504}


class Deed(Protocol):
    """One kind of use. `prepare` comes before the faults and has workers started, `check` after."""

    def prepare(self) -> None: ...
    def act(self) -> None: ...
    def check(self) -> None: ...


def persist(tenant: Tenant, method: str, path: str, body: Any, **headers: str) -> Any:
    """The body of a success, however often it takes. Every refusal until then is a clear one."""
    deadline = time.monotonic() + PATIENCE
    while True:
        rest = Rest(tenant.rest.api_url, tenant.tokens["access_token"])
        answer = rest.session.request(
            method, f"{rest.api_url}/api/v1{path}", json=body, headers=headers, timeout=60
        )
        if answer.ok:
            return answer.json() if answer.content else None
        check_refusal(answer)
        assert time.monotonic() < deadline, answer.text
        time.sleep(BACK_OFF)


def check_refusal(answer: requests.Response) -> None:
    """A fault of AWS is told as one, never as one of the client's."""
    assert answer.status_code in LATER, f"{answer.status_code} {answer.text}"
    shown = answer.json()
    assert "Traceback" not in answer.text
    assert "arn:" not in answer.text
    if answer.status_code in (429, 503) and "request_id" in shown:
        assert int(answer.headers["Retry-After"]) > 0
