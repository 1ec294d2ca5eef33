"""Trace a process with the Python API and do nothing but count: what the library itself costs.

Prints "ready" once events flow, and at the end (SIGINT, or the end of the process) how many events there were, the size
of the buffer, and the ledger, as JSON.
"""

import argparse
import json
import mmap

from traceleft import CountOptions, DetailOptions, ProbeOptions
from traceleft.battery import Battery
from traceleft.tracer import Tracer
from traceleft.tracer.decode.batch import Batch


def read_arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("battery")
    parser.add_argument("pid", type=int)
    parser.add_argument("events", nargs="*", help="default: every syscall")
    parser.add_argument("--hook", default="auto")
    parser.add_argument("--exit-only", action="store_true", help="do not look at entries, so that a call can end late")
    parser.add_argument("--count", action="store_true", help="count in the kernel, make no records")
    return parser.parse_args()


def main() -> None:
    """Count until the end."""
    arguments = read_arguments()
    seen = 0

    def count(batch: Batch) -> None:
        nonlocal seen
        seen += len(batch)

    tracer = Tracer(
        Battery.open(arguments.battery),
        events=arguments.events,
        pids=[arguments.pid],
        details=DetailOptions(unfinished=False if arguments.exit_only else None),
        counts=CountOptions(counting="only" if arguments.count else None),
        probes=ProbeOptions(hook=arguments.hook),
    )
    with tracer:
        for name in tracer.specs:
            tracer.on_batch(name, count)
        print("ready", flush=True)
        tracer.run()
        buffer_bytes = (tracer.buffer_pages or 0) * mmap.PAGESIZE
    if arguments.count:
        seen = sum(figures.calls for figures in tracer.counts.values())
    print(json.dumps({"seen": seen, "buffer_bytes": buffer_bytes, "ledger": tracer.ledger.to_json()}))


if __name__ == "__main__":
    main()
