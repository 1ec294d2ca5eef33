"""Measure recordings: their size, what replaying costs, what a storm loses, and what a killed writer leaves.

As root, from the checkout: ``python -m bench.recording``. The figures go into docs/project/recording.md, below its
marker.
"""

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import zstandard

from bench import tools
from bench.process import Calls, busy_loops
from bench.report import check_page
from bench.run import ROOT, describe_machine, end_by_signal, working_place
from bench.session import clear
from bench.storm import BOTH, BURST, BUSY_LOOPS, OPEN, OPENS, measure_storm
from bench.table import number, table
from bench.tools import DEVELOPED, Place
from traceleft import DetailOptions
from traceleft.battery import Battery
from traceleft.errors import RecordingError
from traceleft.tracer import Tracer, _native
from traceleft.tracer.decode.batch import Batch
from traceleft.tracer.recording import Recorder, Recording
from traceleft.tracer.recording.writer import BLOCK_BYTES
from traceleft.tracer.replay import Replay, ReplayFilters

MARKER: Final = "<!-- below: python -m bench.recording -->\n"
MILLION: Final = 1_000_000
KILL_AFTER_S: Final = 3.0
# Listed, searched, read: what programs do all day, until a million events are there.
WORK: Final = (
    "while :; do ls -lR /usr/lib; find /usr/share /etc -newer /etc/hostname; grep -rs nowhere /etc; done >/dev/null"
)
COLUMNS: Final = ("timestamp", "pid", "ret")
Rows = list[list[str]]


class Digest:
    """Takes lines and keeps their digest alone."""

    def __init__(self) -> None:
        self.taken = 0
        self._digest = hashlib.sha256()

    def write(self, data: bytes) -> None:
        """Take some."""
        self.taken = len(data)
        self._digest.update(data)

    def __str__(self) -> str:
        return self._digest.hexdigest()


def record_million(place: Place, path: Path, *, work: Sequence[str], events: Sequence[str]) -> str:
    """Record a million events of a command and its children; return the digest of their lines as written live."""
    live = Digest()
    tracer = Tracer(
        Battery.open(place.battery), events=events, command=work, follow=True, details=DetailOptions(durations=True)
    )
    with Recorder(path) as recorder, tracer:
        tracer.write_json(live)
        tracer.record(recorder)
        tracer.run(max_events=MILLION)
        tracer.close()
        recorder.close(tracer.ledger)
    assert tracer.ledger.total.delivered == MILLION, str(tracer.ledger)
    return str(live)


def describe(name: str, path: Path, live: str) -> list[str]:
    """Return a row: what a recording takes, and whether it gives back what was written live."""
    replayed = Digest()
    with Recording.open(path) as recording:
        raw = sum(len(records.data) for records in recording.records())
        replay = Replay(recording)
        replay.write_json(replayed)
        replay.run()
    size = path.stat().st_size
    same = "the same bytes" if str(replayed) == live else "NOT the same bytes"
    return [name, f"{replay.shown:,}", number(size), number(raw / replay.shown), number(size / replay.shown), same]


def read_numpy(path: Path) -> None:
    """Take columns of every batch."""
    with Recording.open(path) as recording:
        for batch in recording.batches():
            _copy(batch)


def _copy(batch: Batch) -> None:
    array = batch.to_numpy()
    for name in COLUMNS:
        array[name].copy()


def read_records(path: Path) -> None:
    """Unpack and check."""
    with Recording.open(path) as recording:
        for _ in recording.records():
            pass


def read_events(path: Path) -> None:
    """Look at each event's arguments."""
    with Recording.open(path) as recording:
        for event in recording.events():
            event.decoded()


def read_lines(path: Path, filters: ReplayFilters | None = None) -> None:
    """Write lines of JSON to nowhere."""
    with Recording.open(path) as recording, open(os.devnull, "wb", buffering=0) as nowhere:
        replay = Replay(recording, filters=filters)
        replay.write_json(_Nowhere(nowhere.fileno()))
        replay.run()


class _Nowhere:
    """Writes to a descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.taken = 0

    def write(self, data: bytes) -> None:
        self.taken = os.write(self._fd, data)


def command(path: Path, form: str) -> None:
    """Run the command, its start included."""
    replay = [*DEVELOPED, "replay", "--format", form, "-o", os.devnull, str(path)]
    subprocess.run(replay, check=True, stderr=subprocess.DEVNULL)


READING: Final[dict[str, Callable[[Path], None]]] = {
    "unpacked and checked": read_records,
    "numpy: three columns of each batch": read_numpy,
    "lines of JSON": read_lines,
    "lines of JSON of failed calls (`-Z`)": lambda path: read_lines(path, ReplayFilters(failed_only=True)),
    "events, arguments read": read_events,
    "`traceleft replay --format json`, a process": lambda path: command(path, "json"),
    "`traceleft replay`, a process": lambda path: command(path, "text"),
}


def measure_reading(path: Path, rounds: int) -> Rows:
    """Return how many recorded events a second each way of reading gets through, the best of some rounds."""
    rows = []
    for name, read in READING.items():
        # A process is waited for; what is done here is known by the CPU time that it takes.
        clock = time.perf_counter if name.endswith("a process") else time.process_time
        best = 0.0
        for _ in range(rounds):
            begun = clock()
            read(path)
            best = max(best, MILLION / (clock() - begun))
        rows.append([name, number(best)])
    return rows


def measure_compression(path: Path) -> Rows:
    """Return bytes an event and speed by level, and by size of block at the level in use."""
    with Recording.open(path) as recording:
        data = b"".join(records.data for records in recording.records())
    records = _native.Records(data)
    ways = [(BLOCK_BYTES, level) for level in (-1, 1, 3, 4, 6)]
    ways += [(size, 3) for size in (64 << 10, 128 << 10, 512 << 10, 1 << 20)]
    return [_compress(data, records, size, level) for size, level in ways]


def _compress(data: bytes, records: _native.Records, size: int, level: int) -> list[str]:
    offsets = [*memoryview(records.offsets).cast("I"), len(data)]
    borders = [0]
    while borders[-1] < len(data):
        borders.append(offsets[bisect_right(offsets, borders[-1] + size) - 1])
    compressor, unpacker = zstandard.ZstdCompressor(level=level), zstandard.ZstdDecompressor()
    begun = time.process_time()
    blocks = [compressor.compress(data[start:stop]) for start, stop in pairwise(borders)]
    packed = time.process_time()
    for block in blocks:
        unpacker.decompress(block)
    unpacked = time.process_time()
    count = len(records)
    speeds = number(count / (packed - begun)), number(count / (unpacked - packed))
    return [f"{size >> 10} KiB", str(level), f"{sum(map(len, blocks)) / count:.1f}", *speeds]


def measure_storms(place: Place) -> Rows:
    """Return what became of each storm's events under ``record``."""
    rows = []
    for loop, opens, busy in ((OPEN, OPENS, 0), (OPEN, OPENS, BUSY_LOOPS), (BOTH, BURST, 0)):
        with busy_loops(busy):
            found = measure_storm(place, tools.OURS_RECORD, loop, opens)
        made = f"{opens * loop.traced:,}{', beside two busy loops' if busy else ''}"
        size = place.events.stat().st_size / found["seen"]
        ledger = f"{found['lost']:,}", f"{found['unaccounted']:,}"
        rows.append(
            [
                *(made, number(found["storm_s"]), *ledger),
                *(number(found["consumer_s"]), number(size), number(found["peak_bytes"] / 1e6)),
            ]
        )
    return rows


def measure_kill(place: Place) -> dict[str, Any]:
    """Kill a writer with SIGKILL amid a storm; return what it had been given time for, and what was readable."""
    clear(place.scratch)
    with Calls([str(place.programs / "calls")]) as calls:
        record = tools.OURS_RECORD.command(place, calls.pid, ("openat", "close"))
        with subprocess.Popen(record, stderr=subprocess.DEVNULL) as process:
            while not place.events.exists() or not place.events.stat().st_size:
                time.sleep(0.01)
            deadline = time.monotonic() + KILL_AFTER_S
            made = 0
            while time.monotonic() < deadline:
                calls.run("openclose", 1000)
                made += 2000
            process.send_signal(signal.SIGKILL)
    read = 0
    with Recording.open(place.events) as recording:
        try:
            for records in recording.records():
                read += len(records)
        except RecordingError as exc:
            return {"made": made, "read": read, "said": exc.reason}
    raise AssertionError("a killed writer left a recording with an end")


HEADS: Final = {
    "A million events, and again": [
        *("events", "recorded", "bytes", "raw, bytes an event", "bytes an event", "JSON, replayed and live"),
    ],
    "Reading the first of them, one thread, by its CPU time": ["way", "events a second"],
    "Blocks and levels, on its records": [
        *("block", "zstd level", "bytes an event", "packed, events a second of CPU", "unpacked"),
    ],
    "Storms, recorded with default options": [
        *("events made", "storm, s", "lost", "unaccounted", "reader, CPU s", "bytes an event", "peak, MB"),
    ],
}


def measure(place: Place, rounds: int) -> Iterator[Rows]:
    """Yield the rows of each table of ``HEADS``."""
    mixed, plain = place.programs / "mixed.rec", place.programs / "plain.rec"
    loop = f"echo openclose 600000 | {place.programs}/calls >/dev/null"
    live = record_million(place, mixed, work=["sh", "-c", WORK], events=[])
    told = describe("`ls -lR`, `find`, `grep -r`, every syscall", mixed, live)
    live = record_million(place, plain, work=["sh", "-c", loop], events=["openat", "close"])
    yield [told, describe("opens and closes in a loop", plain, live)]
    yield measure_reading(mixed, rounds)
    yield measure_compression(mixed)
    yield measure_storms(place)


def report(place: Place, rounds: int) -> str:
    """Measure all, and return what docs/project/recording.md shows."""
    machine, load = describe_machine(), os.getloadavg()[0]
    where = f"{machine['processor']}, {machine['cpus']} CPUs, Linux {machine['kernel']}"
    kill = measure_kill(place)
    tables = [
        f"### {title}\n\n{table(head, rows)}"
        for (title, head), rows in zip(HEADS.items(), measure(place, rounds), strict=True)
    ]
    killed = (
        f"Killed {KILL_AFTER_S:.0f} s into a storm: of {kill['made']:,} calls made until then {kill['read']:,} were "
        f'readable; then: "{kill["said"]}".'
    )
    today = f"{where}; {time.strftime('%Y-%m-%d')}, load {load:.1f}."
    return "\n\n".join([today, *tables, f"### kill -9\n\n{killed}\n"])


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m bench.recording", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="the best of so many (default: 3)")
    parser.add_argument("--battery", type=Path, default=ROOT / "build/battery", help="default: build/battery")
    page = "docs/project/recording.md"
    parser.add_argument("--report", type=Path, default=ROOT / page, help=f"default: {page}")
    arguments = parser.parse_args()
    if os.geteuid():
        sys.exit("bench: needs root")
    check_page(arguments.report, MARKER)
    signal.signal(signal.SIGTERM, end_by_signal)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with working_place(arguments.battery) as place:
        figures = report(place, arguments.rounds)
    text = arguments.report.read_text().partition(MARKER)[0]
    arguments.report.write_text(f"{text}{MARKER}\n{figures}")


if __name__ == "__main__":
    main()
