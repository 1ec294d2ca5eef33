"""Show which files the processes of this machine fail to open, and how often, for ten seconds.

usage, as root: python examples/failed_opens.py [BATTERY]
"""

import sys
from collections import Counter

from traceleft import Battery, FilterOptions, Tracer

battery = Battery.open(sys.argv[1] if len(sys.argv) > 1 else "build/battery")
failed: Counter[str] = Counter()

with Tracer(battery, events=["openat"], filters=FilterOptions(failed_only=True)) as tracer:
    tracer.on("openat", lambda event: failed.update([f"{event.error} {event.args.filename}"]))
    tracer.run(duration_s=10)

for what, times in failed.most_common(20):
    print(f"{times:6} {what}")
print(tracer.ledger, file=sys.stderr)
