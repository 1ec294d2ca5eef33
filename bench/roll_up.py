"""Roll a process's calls up by event, in the kernel or over columns: what one engine costs compared with the other.

Prints "ready" once events flow, and at the end (SIGINT, or the end of the process) how many calls were in the result,
as JSON.
"""

import argparse
import json
from typing import Final

from traceleft import CountOptions, DetailOptions
from traceleft.aggregator.rollups.rollup import Result, Rollup
from traceleft.aggregator.streaming.engine import Aggregator
from traceleft.aggregator.streaming.kernel import plan_in_kernel, result_of
from traceleft.battery import Battery
from traceleft.tracer import Tracer

MEASURES: Final = ["count", "errors", "sum(duration) as total_ns"]
PERCENTILES: Final = ["p50(duration)", "p99(duration)"]


def read_arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("battery")
    parser.add_argument("pid", type=int)
    parser.add_argument("events", nargs="*", help="default: every syscall")
    parser.add_argument("--engine", choices=["kernel", "columns"], required=True)
    parser.add_argument("--percentiles", action="store_true", help="and the median, and the 99th percentile")
    return parser.parse_args()


def main() -> None:
    """Roll up until the end."""
    arguments = read_arguments()
    measures = [*MEASURES, *(PERCENTILES if arguments.percentiles else [])]
    rollup = Rollup.parse("bench", by=["event"], measures=measures, order_by="total_ns")
    spec = plan_in_kernel(rollup) if arguments.engine == "kernel" else None
    tracer = Tracer(
        Battery.open(arguments.battery),
        events=arguments.events,
        pids=[arguments.pid],
        details=DetailOptions(unfinished=False, durations=True),
        counts=CountOptions(rollup=spec),
    )
    with tracer:
        result = over_columns(tracer, rollup) if spec is None else in_kernel(tracer, rollup)
    print(json.dumps({"seen": result.events, "lost": tracer.ledger.total.lost + tracer.ledger.total.dropped}))


def in_kernel(tracer: Tracer, rollup: Rollup) -> Result:
    """Return the result that the kernel computed."""
    print("ready", flush=True)
    tracer.run()
    return result_of(rollup, tracer.rolled_up)


def over_columns(tracer: Tracer, rollup: Rollup) -> Result:
    """Return the result of the events, batch by batch."""
    engine = Aggregator(rollup, tracer.specs, tables=tracer.tables)
    for name in tracer.specs:
        tracer.on_batch(name, engine.add)
    print("ready", flush=True)
    tracer.run()
    return engine.finish()


if __name__ == "__main__":
    main()
