"""Watch events by rules, and take alerts as Python objects.

usage, as root: python examples/alerts.py [BATTERY]
"""

import sys
import tempfile
from pathlib import Path

from traceleft import Alert, Battery, Tracer, Watcher, read_rules

RULES = """
[rule.hostname]
description = "somebody opens /etc/hostname"
events = ["openat"]
where = 'path == "/etc/hostname"'
message = "{comm} opened {path}"
"""

battery = Battery.open(sys.argv[1] if len(sys.argv) > 1 else "build/battery")


def take(alert: Alert) -> None:
    """Do what an alert asks for; here it is printed."""
    print(alert.rule.severity, alert.rule.name + ":", alert.message)


with tempfile.TemporaryDirectory() as directory:
    file = Path(directory) / "rules.toml"
    file.write_text(RULES)
    rules = read_rules([file])

with Tracer(battery, events=["openat"], command=["cat", "/etc/hostname"]) as tracer:
    watcher = Watcher(rules, tracer.specs, take)
    tracer.on_batch("openat", watcher.add)
    tracer.on_round(watcher.end_round)
    tracer.run()
