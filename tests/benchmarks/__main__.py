"""All benchmarks, one after the other: `make bench`."""

from tests.benchmarks import first_frame
from tests.benchmarks.cold_start import __main__ as cold_start
from tests.benchmarks.ingestion import __main__ as ingestion

first_frame.main()
cold_start.main()
ingestion.main()
