"""Send events to a target of your own, from a thread of its own: bounded, retried and accounted for like all sinks.

usage, as root: python examples/custom_sink.py [BATTERY]
"""

import sys

from traceleft import Battery, Item, Sink, Sinks, Tracer


class Lines:
    """A target: it takes lines of JSON. An OSError that it raises is tried again."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    @property
    def pending(self) -> int:
        """Records that were taken and may still be lost: 0, as ``write`` has kept them."""
        return 0

    def write(self, item: Item) -> None:
        """Take some events."""
        self.lines += item.lines().splitlines()

    def idle(self) -> None:
        """Called now and then."""

    def finish(self) -> None:
        """Write what is pending, at the end."""

    def close(self) -> None:
        """Release everything."""


battery = Battery.open(sys.argv[1] if len(sys.argv) > 1 else "build/battery")
target = Lines()

with Sinks([(Sink("mine", target, takes=frozenset({"events"})), False)]) as sinks:
    with Tracer(battery, events=["openat"], command=["cat", "/etc/hostname"]) as tracer:
        tracer.write_json(sinks)
        sinks.start()
        tracer.run()
    sinks.close()
    (account,) = sinks.accounts().values()

print(
    len(target.lines), "lines;", account.accepted, "accepted,", account.written, "written,", account.dropped, "dropped"
)
print(target.lines[-1].decode())
