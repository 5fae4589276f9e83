"""All benchmarks, one after the other, or those that are named: `make bench BENCH=retrieval`."""

import sys

from tests.benchmarks import first_frame
from tests.benchmarks.cold_start import __main__ as cold_start
from tests.benchmarks.ingestion import __main__ as ingestion
from tests.benchmarks.retrieval import __main__ as retrieval

BENCHMARKS = {
    "first_frame": first_frame.main,
    "cold_start": cold_start.main,
    "ingestion": ingestion.main,
    "retrieval": retrieval.main,
}

for name in sys.argv[1:] or BENCHMARKS:
    BENCHMARKS[name]()
