"""All benchmarks, one after the other: `make bench`."""

from tests.benchmarks import first_frame
from tests.benchmarks.cold_start import __main__ as cold_start
from tests.benchmarks.cold_start import budgets
from tests.benchmarks.cost import __main__ as cost

first_frame.main()
cold_start.main()
budgets.main()
cost.main()
