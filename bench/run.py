"""Measure traceleft side by side with its peers and the floor, and write what came out.

As root, from the checkout: ``python -m bench.run [--only NAME]... [--rounds N]``. Results are kept as JSON and shown in
docs/project/performance.md; a part that is measured again replaces its own figures only.
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final

from bench.building import measure_builds
from bench.costs import measure_bystanders, measure_costs
from bench.decoding import measure_decoding
from bench.helpers import measure_helpers
from bench.programs import compile_programs
from bench.real import measure_real
from bench.report import BEGIN, END, check_page, write_report
from bench.rollups import measure_rollups
from bench.starting import measure_starts
from bench.storm import measure_storms
from bench.tools import Place

ROOT: Final = Path(__file__).parent.parent
BENCHES: Final[dict[str, Callable[[Place, int], dict[str, Any]]]] = {
    "cost": measure_costs,
    "bystander": measure_bystanders,
    "helpers": measure_helpers,
    "real": measure_real,
    "rollup": measure_rollups,
    "storm": measure_storms,
    "decode": measure_decoding,
    "start": measure_starts,
    "build": measure_builds,
}


def read_arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument("--only", action="append", choices=BENCHES, help="measure this part; repeatable")
    parser.add_argument("--rounds", type=int, default=3, help="how often each tool has its turn (default: 3)")
    parser.add_argument("--battery", type=Path, default=ROOT / "build/battery", help="default: build/battery")
    parser.add_argument("--results", type=Path, default=ROOT / "build/bench.json", help="default: build/bench.json")
    parser.add_argument(
        "--report", type=Path, default=ROOT / "docs/project/performance.md", help="default: docs/project/performance.md"
    )
    return parser.parse_args()


@contextlib.contextmanager
def working_place(battery: Path) -> Iterator[Place]:
    """Yield compiled programs and a scratch directory in memory; both are gone afterwards."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="traceleft-bench-", dir=memory if memory.is_dir() else None) as name:
        place = Place(Path(name, "programs"), battery.resolve(), Path(name, "scratch"))
        place.programs.mkdir()
        place.scratch.mkdir()
        compile_programs(place.programs)
        yield place


def describe_machine() -> dict[str, Any]:
    """Return what figures depend on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE")
    return {"kernel": platform.release(), "processor": model, "cpus": os.cpu_count(), "memory_bytes": memory}


def read_results(path: Path) -> dict[str, Any]:
    """Return earlier results; none where there are none, or of another machine."""
    try:
        results: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        results = {}
    return results if results.get("machine") == describe_machine() else {"machine": describe_machine(), "parts": {}}


def run_part(name: str, place: Place, rounds: int) -> dict[str, Any]:
    """Measure one part; tell on stderr how long it took."""
    begun = time.monotonic()
    print(f"bench: {name} ...", file=sys.stderr, flush=True)
    figures = BENCHES[name](place, rounds)
    seconds = time.monotonic() - begun
    print(f"bench: {name}: {seconds:.0f} s", file=sys.stderr, flush=True)
    return {"date": time.strftime("%Y-%m-%d %H:%M"), "load": os.getloadavg()[0], "rounds": rounds, "figures": figures}


def end_by_signal(number: int, frame: FrameType | None) -> None:
    """Unwind as Ctrl-C does."""
    raise SystemExit(128 + number)


def main() -> None:
    """Measure what was asked for; write results after each part."""
    arguments = read_arguments()
    if os.geteuid() or not shutil.which("clang") or not shutil.which("taskset"):
        sys.exit("bench: needs root, clang and taskset: make bench installs what is missing")
    signal.signal(signal.SIGTERM, end_by_signal)
    # Tools are ended by SIGINT, which a shell lets its background commands ignore, and they hand that on.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    check_page(arguments.report, BEGIN, END)
    results = read_results(arguments.results)
    with working_place(arguments.battery) as place:
        for name in arguments.only or BENCHES:
            results["parts"][name] = run_part(name, place, arguments.rounds)
            arguments.results.parent.mkdir(exist_ok=True)
            arguments.results.write_text(json.dumps(results, indent=1) + "\n")
            write_report(results, arguments.report)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
