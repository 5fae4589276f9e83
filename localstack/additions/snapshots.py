"""State on disk while the gateway runs, so that a killed one loses seconds and not everything.

MiniStack writes its state only when it ends in an orderly way (S3 objects aside, which it writes at
once). Environment: `SNAPSHOT_SECONDS` (30 unless set) between two snapshots; with large state they
become rarer, so that they take a fiftieth of a core at most.
"""

import os
import threading
import time
from collections.abc import Callable
from typing import Any

from ministack import app
from ministack.core.persistence import PERSIST_STATE

from localstack.additions.seam import replace, require

_SHARE = 50
_writing = threading.Lock()


def _keep_saving(save: Callable[[], None]) -> None:
    pause = least = float(os.environ.get("SNAPSHOT_SECONDS", "30"))
    while True:
        time.sleep(pause)
        started = time.monotonic()
        save()
        pause = max(least, _SHARE * (time.monotonic() - started))


def install() -> None:
    """Save from time to time, once the state is loaded. Fails if what it uses has moved."""
    if not PERSIST_STATE:
        return
    require(app, "_build_persistence_save_dict")

    def save_all(services: dict[str, Any]) -> None:
        # The last save, at the end, must not write the same files at the same time.
        with _writing:
            stock_save_all(services)

    def load_persisted_state() -> None:
        stock_load()
        threading.Thread(
            target=_keep_saving,
            args=(lambda: app.save_all(app._build_persistence_save_dict()),),
            name="snapshots",
            daemon=True,
        ).start()

    stock_save_all = replace(app, "save_all", save_all)
    stock_load = replace(app, "_load_persisted_state", load_persisted_state)
