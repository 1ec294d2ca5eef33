"""Roll events up as they come: calls, errors and a percentile by event and program.

usage, as root: python examples/rollup.py [BATTERY]
"""

import sys

from traceleft import Aggregator, Battery, DetailOptions, Tracer, parse_rollups

ROLLUP = """
[rollup.slow]
by = ["event", "comm"]
measures = ["count", "errors", "p99(duration_ns)"]
order_by = "count"
top = 5
"""

battery = Battery.open(sys.argv[1] if len(sys.argv) > 1 else "build/battery")
(rollup,) = parse_rollups(ROLLUP, file="rollup.py")

with Tracer(
    battery, events=["%file", "read"], command=["ls", "/etc"], follow=True, details=DetailOptions(durations=True)
) as tracer:
    aggregator = Aggregator(rollup, tracer.specs, tables=tracer.tables)
    tracer.on_batch(",".join(tracer.specs), aggregator.add)
    tracer.run()

for row in aggregator.finish().to_json():
    print(row)
