"""A worker's wrong clock, in fault runs: off by up to `CLOCK_SKEW_SECONDS`, each by another amount.

On `PYTHONPATH` (see `localstack/faults.py`) it is imported at the start of the interpreter.
"""

import os
import random
import time
from typing import Any

_MOST = float(os.environ.get("CLOCK_SKEW_SECONDS", "0"))
_OFF = random.choice((-1, 1)) * random.uniform(_MOST / 2, _MOST)  # noqa: S311


def _shifted(clock: Any, offset: Any) -> Any:
    return lambda: clock() + offset


if _MOST:
    time.time = _shifted(time.time, _OFF)
    time.time_ns = _shifted(time.time_ns, int(_OFF * 1_000_000_000))
