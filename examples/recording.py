"""Record a command, and read the recording back: as events, and as columns. Reading needs no root.

usage, as root: python examples/recording.py [BATTERY]
"""

import sys
import tempfile
from pathlib import Path

from traceleft import Battery, Recorder, Recording, Tracer

battery = Battery.open(sys.argv[1] if len(sys.argv) > 1 else "build/battery")

with tempfile.TemporaryDirectory() as directory:
    file = Path(directory) / "cat.rec"
    command = ["cat", "/etc/hostname"]
    with Tracer(battery, events=["openat", "read"], command=command) as tracer, Recorder(file) as recorder:
        tracer.record(recorder, command=" ".join(command))
        tracer.run()
        tracer.close()
        recorder.close(tracer.ledger)

    with Recording.open(file) as recording:
        print(recording.head.command, "on", recording.head.kernel)
        last = [event for event in recording.events() if event.event == "openat"][-1]
        print("last opened:", last.args.filename)
        for batch in recording.batches(["read"]):
            print(len(batch), "reads of", int(batch.to_numpy()["ret"].sum()), "bytes")
