"""Take events as columns, without a Python object for each: numpy arrays, and an Arrow table for pandas or Polars.

usage, as root: python examples/columns.py [BATTERY]
"""

import sys

import numpy
import pyarrow

from traceleft import Batch, Battery, DetailOptions, Tracer

battery = Battery.open(sys.argv[1] if len(sys.argv) > 1 else "build/battery")
tables: list[pyarrow.Table] = []
longest_ns = 0


def take(batch: Batch) -> None:
    """Look at the columns of some thousand events at once."""
    global longest_ns
    longest_ns = max(longest_ns, int(numpy.max(batch.to_numpy()["duration_ns"])))
    tables.append(batch.to_arrow())


with Tracer(
    battery, events=["read"], command=["cat", "/etc/hostname"], details=DetailOptions(durations=True)
) as tracer:
    tracer.on_batch("read", take)
    tracer.run()

table = pyarrow.concat_tables(tables)
print(
    table.num_rows, "reads of", pyarrow.compute.sum(table["ret"]).as_py(), "bytes, the longest took", longest_ns, "ns"
)
# table.to_pandas() and polars.from_arrow(table) go on from here.
print(table.select(["pid", "fd", "count", "ret"]).to_pylist()[0])
