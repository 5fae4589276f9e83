"""`make bench`: every benchmark, or those named by `BENCH`, one after another."""

import sys
from importlib import import_module

BENCHMARKS = {
    "first_frame": "tests.benchmarks.first_frame",
    "cold_start": "tests.benchmarks.cold_start.__main__",
    "budgets": "tests.benchmarks.cold_start.budgets",
    "ingestion": "tests.benchmarks.ingestion.__main__",
    "retrieval": "tests.benchmarks.retrieval.__main__",
    "cost": "tests.benchmarks.cost.__main__",
}

for name in sys.argv[1:] or BENCHMARKS:
    import_module(BENCHMARKS[name]).main()
