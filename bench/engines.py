"""Measure one file of rollups on every engine over 10 million stored events, and assert that the numbers are equal.

``python -m bench.engines [--rows N] [--hosts N]``: the tables go into docs/project/fleet.md, between its marks.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from bench.fleet_events import write_fleet
from bench.report import BEGIN, END, check_page, replace_measured
from bench.run import ROOT, describe_machine
from bench.table import table
from traceleft.aggregator.rollups.histogram import SUB_BITS, SUB_BUCKETS
from traceleft.aggregator.rollups.results import Cell, Groups, finish
from traceleft.aggregator.rollups.rollup import Result, Rollup
from traceleft.aggregator.rollups.rollup_files import read_rollups
from traceleft.aggregator.stored.parquet import Data, open_data

PAGE: Final = ROOT / "docs" / "project" / "fleet.md"
ROLLUPS: Final = ROOT / "bench" / "fleet.toml"
ROWS: Final = 10_000_000
HOSTS: Final = 8
MASTER: Final = "local-cluster[2,1,1024]"
SAMPLE_S: Final = 0.1
LIMIT_S: Final = 1800
ROUNDS: Final = 2
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
COMPARED: Final = "paths"
"""The rollup that is written by hand for Polars."""
WORK: Final = "find /usr/lib /usr/share -type f | head -20000 | tr '\\n' '\\0' | xargs -0 cat > /dev/null"


def main() -> None:
    """Measure, compare, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--hosts", type=int, default=HOSTS)
    parser.add_argument("--child", nargs=2, metavar=("ENGINE", "DATA"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        json.dump(run_engine(options.child[0], open_data(Path(options.child[1]))), sys.stdout)
        return
    check_page(PAGE, BEGIN, END)
    with TemporaryDirectory(prefix="traceleft-bench-") as scratch:
        data = Path(scratch) / "events"
        started = time.monotonic()
        write_fleet(data, rows=options.rows, hosts=options.hosts)
        written_s = time.monotonic() - started
        sizes = [path.stat().st_size for path in open_data(data).files]
        runs = {engine: measure(engine, data) for engine in ENGINES}
        check(runs)
        lines = [describe(options.rows, options.hosts, sizes, written_s), timings(runs, options.rows)]
        lines += [recording_sizes(Path(scratch))] if os.geteuid() == 0 else []
    PAGE.write_text(replace_measured(PAGE.read_text(), "\n\n".join(lines)))


def measure(engine: str, data: Path) -> dict[str, Any]:
    """Run an engine in a process of its own; return its timings, results and the most memory of all its processes."""
    command = [sys.executable, "-m", "bench.engines", "--child", engine, str(data)]
    with TemporaryDirectory() as scratch, (Path(scratch) / "out").open("w+") as output:
        child = subprocess.Popen(command, cwd=ROOT, stdout=output)
        peak = 0
        try:
            limit = time.monotonic() + LIMIT_S
            while child.poll() is None and time.monotonic() < limit:
                peak = max(peak, tree_bytes(child.pid))
                time.sleep(SAMPLE_S)
        finally:
            child.kill()
            child.wait()
        if child.returncode:
            raise SystemExit(f"{engine}: ended with {child.returncode}")
        output.seek(0)
        return {**json.load(output), "peak_bytes": peak}


def tree_bytes(pid: int) -> int:
    """Return the resident memory of a process and its descendants."""
    total = 0
    try:
        total = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
        tasks = sorted(Path(f"/proc/{pid}/task").iterdir())
        children = [child for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return total
    return total + sum(tree_bytes(int(child)) for child in children)


def check(runs: Mapping[str, Mapping[str, Any]]) -> None:
    """Assert that engines gave the same rows."""
    wanted = runs["DuckDB"]["rows"]
    for engine, run in runs.items():
        for name, rows in run["rows"].items():
            assert rows and rows == wanted[name], f"{engine} gives other rows of {name}"


def run_engine(engine: str, data: Data) -> dict[str, Any]:
    """Return seconds until an engine could be asked, those of a rollup's best round, and the rows that it gave."""
    rollups = {rollup.name: rollup for rollup in read_rollups(ROLLUPS)}
    started = time.monotonic()
    with ENGINES[engine](data) as run:
        ready_s = time.monotonic() - started
        seconds, rows = {}, {}
        for name, rollup in rollups.items():
            if engine == "Polars, by hand" and name != COMPARED:
                continue
            rounds = []
            for _ in range(ROUNDS):
                started = time.monotonic()
                result = run(rollup)
                rounds.append(time.monotonic() - started)
            seconds[name] = min(rounds)
            rows[name] = list(result.to_json())
    return {"ready_s": ready_s, "seconds": seconds, "rows": rows}


Run = Callable[[Rollup], Result]


@contextmanager
def on_duckdb(data: Data) -> Iterator[Run]:
    """Run rollups by Ibis and DuckDB."""
    from traceleft.aggregator.stored.engines import open_duckdb
    from traceleft.aggregator.stored.query import run_rollup

    def run(rollup: Rollup) -> Result:
        with open_duckdb(data) as engine:
            return run_rollup(rollup, engine)

    yield run


@contextmanager
def on_spark(data: Data) -> Iterator[Run]:
    """Run rollups by Ibis and Spark: a driver and two executors, a process each."""
    import pyspark

    from traceleft.aggregator.stored.engines import open_spark, start_spark
    from traceleft.aggregator.stored.query import run_rollup

    with TemporaryDirectory() as home:
        # Executors work below this, not in the package.
        for each in Path(pyspark.__file__).parent.iterdir():
            (Path(home) / each.name).symlink_to(each)
        os.environ["SPARK_HOME"] = home
        with start_spark(MASTER) as session:
            # Closed each time: else the second round would find what the first one kept.
            def run(rollup: Rollup) -> Result:
                with open_spark(session, data) as engine:
                    return run_rollup(rollup, engine)

            yield run


@contextmanager
def in_user_space(data: Data) -> Iterator[Run]:
    """Run rollups by the engine of running traces, on one core."""
    from dataclasses import replace

    from pyarrow.parquet import ParquetFile

    from traceleft.aggregator.stored.arrow_table import TableColumns
    from traceleft.aggregator.streaming.engine import Aggregator
    from traceleft.expression import Catalogue
    from traceleft.tracer.schema.spec import Tables

    # Events and arguments are those that come: there is no schema to hold the rollup against.
    anything = Catalogue(frozenset({"any"}))

    def run(rollup: Rollup) -> Result:
        unbounded = replace(rollup, events=(), max_keys=1_000_000)
        aggregator = Aggregator(unbounded, {}, tables=Tables(), catalogue=anything)
        names = set(rollup.events)
        for file in data.files:
            for batch in ParquetFile(file).iter_batches(1 << 17):
                chosen = table_of(batch, names)
                aggregator.add_columns(TableColumns(chosen))
        return aggregator.finish()

    yield run


def table_of(batch: Any, names: set[str]) -> Any:
    """Return the events of these names, none meaning all."""
    import pyarrow
    import pyarrow.compute

    whole = pyarrow.Table.from_batches([batch])
    return whole.filter(pyarrow.compute.is_in(whole["event"], pyarrow.array(sorted(names)))) if names else whole


@contextmanager
def on_polars(data: Data) -> Iterator[Run]:
    """Run the rollup ``paths`` as it would be written for Polars, by hand."""
    import polars
    from polars import col

    def run(rollup: Rollup) -> Result:
        shift = polars.max_horizontal(
            63 - SUB_BITS - col("duration_ns").bitwise_leading_zeros().cast(int), polars.lit(0)
        )
        large = shift * SUB_BUCKETS + col("duration_ns") // polars.lit(2).pow(shift).cast(polars.Int64)
        value = col("duration_ns")
        bucket = polars.when(value < 0).then(-1).when(value < SUB_BUCKETS).then(value).otherwise(large)
        events = polars.scan_parquet([*map(str, data.files)], hive_partitioning=False).filter(col("path").is_not_null())
        partial = (
            events.select(
                "comm",
                col("path").str.extract(r"^(/*[^/]*(?:/+[^/]+){0,2})", 1).alias("place"),
                col("error").is_not_null().alias("failed"),
                bucket.alias("bucket"),
            )
            .group_by("comm", "place", "bucket")
            .agg(polars.len().alias("n"), col("failed").sum())
            .collect(engine="streaming")
        )
        groups = Groups()
        for (comm, place), rows in partial.group_by("comm", "place"):
            pairs = zip(rows["bucket"].to_list(), rows["n"].to_list(), strict=True)
            counter = {each: n for each, n in pairs if each is not None}
            cell = Cell(int(rows["n"].sum()), int(rows["failed"].sum()), (None, None, counter))
            groups.cells[None, (str(comm), str(place))] = cell
            groups.events += cell.count
        return finish(rollup, groups)

    yield run


ENGINES: Final[Mapping[str, Any]] = {
    "DuckDB": on_duckdb,
    "Spark": on_spark,
    "Polars, by hand": on_polars,
    "engine of running traces": in_user_space,
}


def describe(rows: int, hosts: int, sizes: Sequence[int], written_s: float) -> str:
    """Return what was measured, and where."""
    machine = describe_machine()
    load = os.getloadavg()[0]
    where = (
        f"Linux {machine['kernel']}, {machine['cpus']} CPUs, {machine['memory_bytes'] / 1e9:.0f} GB; load {load:.1f}"
    )
    made = f"{rows:,} made-up events of {hosts} hosts and two days in {len(sizes)} files"
    made += f", {sum(sizes) / rows:.1f} bytes each"
    return f"{time.strftime('%Y-%m-%d')}, {where}: {made}, written in {written_s:.0f} s. Spark is `{MASTER}`."


def timings(runs: Mapping[str, Mapping[str, Any]], rows: int) -> str:
    """Return the table of seconds by engine and rollup."""
    names = list(runs["DuckDB"]["seconds"])
    head = ["engine", "ready, s", *(f"`{name}`, s" for name in names), "million rows/s", "most memory, MB"]
    body = []
    for engine, run in runs.items():
        seconds = [run["seconds"].get(name) for name in names]
        known = [each for each in seconds if each is not None]
        rate = rows * len(known) / sum(known) / 1e6
        cells = ["" if each is None else f"{each:.1f}" for each in seconds]
        body.append([engine, f"{run['ready_s']:.1f}", *cells, f"{rate:.1f}", f"{run['peak_bytes'] / 1e6:.0f}"])
    counts = ", ".join(f"{len(rows)} of `{name}`" for name, rows in runs["DuckDB"]["rows"].items())
    return f"{table(head, body)}\n\nEvery engine gave the same rows ({counts}); the run fails where one differs."


def recording_sizes(scratch: Path) -> str:
    """Return what real events take, recorded and exported: programs that list and read files."""
    recording, directory = scratch / "a.rec", scratch / "exported"
    trace = [sys.executable, "-m", "traceleft", "record", "-T", "-f", "-o", str(recording), "--", "sh", "-c", WORK]
    subprocess.run(trace, cwd=ROOT, check=True, capture_output=True, timeout=300)
    from traceleft.aggregator.stored.export import export

    started = time.monotonic()
    events = export([recording], directory, "parquet")
    seconds = time.monotonic() - started
    stored = sum(path.stat().st_size for path in open_data(directory).files)
    sizes = [recording.stat().st_size / events, stored / events]
    text = (
        f"{events:,} real events (a shell that lists and reads files): {sizes[0]:.1f} bytes an event in the recording"
    )
    return f"{text}, {sizes[1]:.1f} in Parquet; exported at {events / seconds:,.0f} events a second on one core."


if __name__ == "__main__":
    main()
