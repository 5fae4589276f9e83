"""How many calls of one function run at a time; the others wait, where AWS would start more.

500 sockets that call a function at once would start 300 workers, 9 GB, on a machine whose cores
are busy with eight. But a function that may last longer than any client waits, such as one that
streams answers, mostly waits: AWS runs fifty of its calls side by side, and so does this. A worker
takes a core for half a second to start, so no more are started at once than there are cores.
"""

import os
import threading
import time
from collections import defaultdict, deque
from typing import Any

from ministack.core import lambda_runtime
from ministack.services import lambda_svc

from localstack.additions.seam import replace, require

SHORT_CALLS = 8
ALL_CALLS = 256  # 40 MB each
# Of a function that may run for longer than API Gateway waits, a call that has run for a moment no
# longer keeps the next one from starting.
CLIENT_SECONDS = 30
SHORT_SECONDS = 1.5
STARTS = os.cpu_count() or 1

Json = dict[str, Any]


class _Ticket(threading.Event):
    """A call that waits for its worker, set when it has one."""

    def __init__(self, func_name: str, config: Json, code_zip: bytes) -> None:
        super().__init__()
        self.function = (func_name, config, code_zip)
        self.worker: Any = None
        self.reason = "reused"


# By function and version, those that have waited longest first; under MiniStack's lock on workers.
_waiting: dict[str, deque[_Ticket]] = defaultdict(deque)


def acquire_worker(
    func_name: str,
    config: Json,
    code_zip: bytes,
    qualifier: str = "$LATEST",
    max_concurrency: int | None = None,
) -> tuple[Any, str]:
    """Lease a worker, an idle one or a new one; waits for it in turn."""
    del max_concurrency
    ticket = _Ticket(func_name, config, code_zip)
    key = lambda_runtime._worker_key(func_name, config, qualifier)
    with lambda_runtime._lock:
        _waiting[key].append(ticket)
        _serve(key)
    while not ticket.wait(SHORT_SECONDS):
        with lambda_runtime._lock:
            _serve(key)
    return ticket.worker, ticket.reason


def release_worker(worker: Any) -> None:
    """Give a worker back, to whoever waits for it."""
    if worker is not None:
        with lambda_runtime._lock:
            worker.in_use = False
            _serve(worker.key)


def started() -> None:
    """A worker has started, or failed to: another one may."""
    with lambda_runtime._lock:
        for key in [key for key, tickets in _waiting.items() if tickets]:
            _serve(key)


def _serve(key: str) -> None:
    tickets, workers = _waiting[key], lambda_runtime._workers.setdefault(key, [])
    while tickets:
        ticket = tickets[0]
        worker = next((worker for worker in workers if not worker.in_use), None)
        if worker is None and _may_start(workers):
            worker = lambda_runtime._worker_class_for(ticket.function[1])(*ticket.function)
            worker.key, ticket.reason = key, "spawn"
            workers.append(worker)
        if worker is None:
            return
        worker.in_use, worker.last_used = True, time.time()
        ticket.worker = worker
        tickets.popleft().set()


def _may_start(workers: list[Any]) -> bool:
    """Whether there may be a worker beside these, which are all at work."""
    short = sum(
        worker.config.get("Timeout", 3) <= CLIENT_SECONDS
        or time.time() - worker.last_used < SHORT_SECONDS
        for worker in workers
    )
    starting = sum(
        worker.in_use and worker._start_time is None
        for others in lambda_runtime._workers.values()
        for worker in others
    )
    return short < SHORT_CALLS and len(workers) < ALL_CALLS and starting < STARTS


def install() -> None:
    """Replace the leases of workers. Fails if what it replaces has moved."""
    require(lambda_runtime, "_worker_key", "func_name", "config", "qualifier")
    require(lambda_runtime, "_worker_class_for", "config")
    for name, replacement in (
        ("acquire_worker", acquire_worker),
        ("release_worker", release_worker),
    ):
        replace(lambda_runtime, name, replacement)
        replace(lambda_svc, name, replacement)
