"""One rollup, three engines: over columns in user space, on DuckDB, and on a Spark of several processes."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from bench.fleet_events import fleet_tables
from tests.support.records import Capture, Record
from tests.support.rollups import EVENTS, MEASURES, SPECS, event_of, naive_rows, rollups
from tests.support.stored import aggregate, roll_up, store, table_of
from traceleft.aggregator.rollups import histogram
from traceleft.aggregator.rollups.expression_tree import Arg, Call, Compare, Constant, Expression, Name
from traceleft.aggregator.rollups.results import Groups, finish
from traceleft.aggregator.rollups.rollup import Result, Rollup
from traceleft.aggregator.rollups.rollup_check import check_rollup
from traceleft.aggregator.stored.arrow_table import TableColumns
from traceleft.aggregator.stored.engines import open_duckdb, open_spark, start_spark
from traceleft.aggregator.stored.parquet import Data, Days, open_data, partition_of
from traceleft.aggregator.stored.query import Engine, run_rollup
from traceleft.aggregator.stored.translate import WIDE, bucket_of, floor_divide, translate
from traceleft.aggregator.streaming.batch_columns import prefix, text_to_integer
from traceleft.aggregator.streaming.evaluate import holds
from traceleft.errors import FormatError, TraceleftError
from traceleft.tracer.schema.spec import make_catalogue

CATALOGUE = make_catalogue(SPECS)
NUMBERS = tuple(each for each in MEASURES if not each.startswith("histogram"))
EXACT = ("exact_p50(ret)", "exact_p99(duration)", "exact_p0(int(args.count))", "exact_p100(ret)")
FLEET_ROLLUPS: dict[str, dict[str, Any]] = {
    "plain": {"measures": ["count", "errors", "bytes", "avg(ret)", "min(ret)", "max(ret)"]},
    "percentiles": {
        "by": ["event", "error"],
        "measures": ["count", "p50(duration)", "p99.9(duration)", "histogram(bytes) as sizes"],
    },
    "top by average": {"by": ["prefix(path, 2) as p", "host"], "measures": ["count"], "order_by": "avg(ret)", "top": 7},
    "top of windows by p99": {
        "by": ["comm", "int(args.count) as c"],
        "measures": ["count", "p90(duration)", "exact_p90(duration) as e", "histogram(int(args.count)) as h"],
        "where": 'event in ("read", "write") or args.mode.startswith("O_")',
        "window": "20m",
        "slide": "10m",
        "order_by": "p99(duration)",
        "top": 3,
    },
}
ODD_TEXTS = (
    "",
    "'",
    '"',
    "\\",
    "\\'",
    "%",
    "_",
    "a\nb",
    "\n",
    "a\tb",
    "ü",
    "\U0001f600",
    "￿",
    "12\n",
    "-0",
    "+1",
    "1.0",
)
ODD_NUMBERS = (
    "-0",
    "+1",
    "1.0",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "007",
    "٣",
)
DIVISORS = (1, 2, 3, 7, 1000, (1 << 53) + 1, (1 << 63) - 1)

# What Ibis calls has another name by now; PySpark leaves it to the collector to close what it reads results from.
pytestmark = [
    pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:unclosed <socket.*127.0.0.1:ResourceWarning"),
]


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Start a Spark of a driver and two executors, whose working directories do not lie in the package."""
    import pyspark

    handler = signal.getsignal(signal.SIGINT)
    home = tmp_path_factory.mktemp("spark")
    for each in Path(pyspark.__file__).parent.iterdir():
        (home / each.name).symlink_to(each)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_HOME", os.fspath(home))
        with start_spark("local-cluster[2,1,1024]", {"spark.sql.shuffle.partitions": "2"}) as session:
            assert signal.getsignal(signal.SIGINT) is not handler
            yield session
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Data, list[pyarrow.Table]]:
    """Return three hosts' events of two days."""
    tables = list(fleet_tables(rows=20_000, hosts=3))
    return store(tmp_path_factory.mktemp("fleet"), *tables), tables


@contextmanager
def duckdb_over(*tables: pyarrow.Table) -> Iterator[Engine]:
    """Open DuckDB over tables, as they lie in Parquet."""
    with TemporaryDirectory() as directory, open_duckdb(store(Path(directory), *tables)) as engine:
        yield engine


@st.composite
def ordered_rollups(draw: st.DrawFn) -> Rollup:
    """Return a strategy of rollups that are ordered by any number, and in which only ``top`` cuts."""
    rollup = draw(rollups(is_capped=False))
    ordered = replace(rollup, order_by=draw(st.sampled_from(["count", *NUMBERS])))
    try:
        check_rollup(ordered, SPECS)
    except FormatError:
        reject()
    return ordered


def outcome(result: Result) -> tuple[Any, int]:
    return [(row.window_ns, row.keys, row.values) for row in result.rows], result.events


@settings(max_examples=60, deadline=None)
@given(rollup=ordered_rollups(), events=st.lists(EVENTS, min_size=1, max_size=40))
def test_duckdb_gives_what_the_engine_over_columns_gives(rollup: Rollup, events: list[tuple[str, Record]]) -> None:
    table = table_of(events)

    with duckdb_over(table) as engine:
        result = run_rollup(rollup, engine, catalogue=CATALOGUE)

    assert outcome(result) == outcome(roll_up(rollup, table))


@settings(max_examples=25, deadline=None)
@given(
    measures=st.lists(st.sampled_from([*EXACT, *MEASURES]), min_size=1, max_size=3, unique=True),
    events=st.lists(EVENTS, min_size=1, max_size=30),
    data=st.data(),
)
def test_exact_percentiles_are_those_of_all_values(
    measures: list[str], events: list[tuple[str, Record]], data: st.DataObject
) -> None:
    measures = [*dict.fromkeys(["count", "exact_p90(ret) as e", *measures])]
    order = data.draw(st.sampled_from(["count", "e"]))
    rollup = Rollup.parse("r", by=["comm"], measures=measures, order_by=order, top=2, window="9ns", slide="3ns")

    with duckdb_over(table_of(events)) as engine:
        result = run_rollup(rollup, engine)

    assert list(result.rows) == naive_rows(rollup, (event_of(*each) for each in events), names=SPECS)


def odd_events() -> pyarrow.Table:
    """Return an event for each text and number that engines may take for another."""
    texts = [*ODD_TEXTS, *ODD_NUMBERS]
    powers = [value for bit in range(63) for value in ((1 << bit) - 1, 1 << bit, (1 << bit) + 1)]
    ends = [("read", Record(ret=value, args=(3, 0, 0))) for value in (*powers, -1, -(1 << 63), (1 << 63) - 1)]
    paths = [("openat", Record(captures={0: Capture(text.encode())})) for text in texts]
    return table_of([(name, replace(record, seq=at)) for at, (name, record) in enumerate([*paths, *ends])])


def odd_conditions() -> list[Expression]:
    """Return a condition for each way in which a text is looked at."""
    path = Name("path", "text")
    texts = (*ODD_TEXTS, "/\0etc")
    tests = (Call(function, path, text) for function in ("startswith", "endswith", "contains") for text in texts)
    signs = (Compare(sign, path, Constant(text)) for sign in ("==", "!=", "<", ">=") for text in texts)
    return [*tests, *signs, *(Compare(sign, path, Constant(ODD_TEXTS[:5])) for sign in ("in", "not in"))]


def check_odd_values(engine: Engine, table: pyarrow.Table) -> None:
    """Check what an engine makes of odd texts and numbers, all in one query, by what Python makes of them."""
    events, columns, conditions = engine.events, TableColumns(table), odd_conditions()
    values = {
        **{f"prefix{count}": translate(Call("prefix", Name("path", "text"), count), events) for count in (1, 2, 64)},
        "number": translate(Arg("filename", "integer"), events),
        "bucket": bucket_of(events.ret),
        **{f"per{divisor}": floor_divide(events.ret.cast(WIDE) * 3, events.ret * 0 + divisor) for divisor in DIVISORS},
        **{f"c{at}": translate(each, events) for at, each in enumerate(conditions)},
    }
    rows = engine.rows(events.select("seq", **values).order_by("seq"))

    wanted = []
    for path, ret in zip(table["path"].to_pylist(), table["ret"].to_pylist(), strict=True):
        made = [None if path is None else prefix(path, count) for count in (1, 2, 64)]
        number = None if path is None else text_to_integer(path)
        wanted.append((*made, number, histogram.bucket_of(ret), *(ret * 3 // divisor for divisor in DIVISORS)))
    held = zip(*(holds(each, columns).tolist() for each in conditions), strict=True)
    assert [row[1:] for row in rows] == [(*each, *flags) for each, flags in zip(wanted, held, strict=True)]


def test_odd_texts_and_numbers_on_duckdb() -> None:
    table = odd_events()

    with duckdb_over(table) as engine:
        check_odd_values(engine, table)


@pytest.mark.parametrize("name", FLEET_ROLLUPS)
def test_fleet_in_parquet_on_duckdb(name: str, fleet: tuple[Data, list[pyarrow.Table]]) -> None:
    rollup = without_exact(Rollup.parse("r", **FLEET_ROLLUPS[name], max_keys=1_000_000))

    with open_duckdb(fleet[0]) as engine:
        result = run_rollup(rollup, engine)

    assert result.events > 1000
    assert outcome(result) == outcome(roll_up(rollup, *fleet[1]))


@settings(max_examples=15, deadline=None)
@given(rollup=ordered_rollups(), events=st.lists(EVENTS, min_size=2, max_size=40), data=st.data())
def test_partial_figures_of_hosts_add_up_to_what_duckdb_makes_of_all(
    rollup: Rollup, events: list[tuple[str, Record]], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(1, len(events) - 1))
    hosts = [table_of(part, host=host) for part, host in ((events[:cut], "a"), (events[cut:], "b"))]
    total = Groups()

    for table in hosts:
        total.add(aggregate(rollup, table).groups())
    with duckdb_over(*hosts) as engine:
        result = run_rollup(rollup, engine, catalogue=CATALOGUE)

    assert outcome(finish(rollup, total)) == outcome(result)


def without_exact(rollup: Rollup) -> Rollup:
    return replace(rollup, measures=tuple(each for each in rollup.measures if each.function != "exact"))


def test_days_leave_out_other_days(fleet: tuple[Data, list[pyarrow.Table]]) -> None:
    rollup = Rollup.parse("r", measures=["count"])
    days = [
        Days(date(2026, 11, 22), date(2026, 11, 22)),
        Days(since=date(2026, 11, 23)),
        Days(until=date(2026, 11, 21)),
    ]

    counts = []
    for each in days:
        with open_duckdb(fleet[0].within(each)) as engine:
            counts.append(run_rollup(rollup, engine, days=each).events)

    assert counts[0] > 0
    assert counts[1] > 0
    assert sum(counts) == 20_000
    assert len(fleet[0].within(days[0]).files) == 3


def test_columns_that_no_file_has_are_null(tmp_path: Path) -> None:
    import pyarrow.parquet

    table = table_of([("openat", Record(ret=3))]).drop_columns(["path", "stack"])
    pyarrow.parquet.write_table(table, tmp_path / "old.parquet")

    with open_duckdb(open_data(tmp_path)) as engine:
        result = run_rollup(Rollup.parse("r", by=["path", "stack"], measures=["count"]), engine)

    assert outcome(result) == ([(None, (None, None), (1,))], 1)


def compacted(directory: Path) -> Data:
    """Return events as another writer leaves them: hosts by their partitions alone, with names that are odd."""
    import pyarrow.parquet

    for host in HOSTS:
        path = directory / partition_of(host, 20_000)
        path.mkdir(parents=True)
        pyarrow.parquet.write_table(table_of([("openat", Record())]).drop_columns(["host"]), path / "0.parquet")
    return open_data(directory)


HOSTS = ("007", "a b", "ü/%41=", "2026-11-22")
BY_HOST = Rollup.parse("r", by=["host"], measures=["count"])


def test_hosts_are_those_of_partitions_on_duckdb(tmp_path: Path) -> None:
    with open_duckdb(compacted(tmp_path)) as engine:
        result = run_rollup(BY_HOST, engine)

    assert [row.keys for row in result.rows] == [(host,) for host in sorted(HOSTS)]


@pytest.mark.spark
def test_hosts_are_those_of_partitions_on_spark(spark: Any, tmp_path: Path) -> None:
    with open_spark(spark, compacted(tmp_path)) as engine:
        result = run_rollup(BY_HOST, engine)

    assert [row.keys for row in result.rows] == [(host,) for host in sorted(HOSTS)]


def test_unknown_event_is_told_with_its_line_and_one_that_is_not_stored_is_none(tmp_path: Path) -> None:
    from traceleft.aggregator.rollups.rollup_files import parse_rollups
    from traceleft.expression import Catalogue

    known = Catalogue(frozenset({"unlink"}), {}, {"file": frozenset({"openat", "unlink"})})
    [wrong] = parse_rollups('[rollup.r]\nevents = ["openta"]', file="r.toml")

    with duckdb_over(table_of([("openat", Record()), ("read", Record())])) as engine:
        counts = [
            run_rollup(Rollup.parse("r", events=[each]), engine, catalogue=known).events
            for each in ("%file", "unlink", "!openat", "/read/", "openat,sched:sched_switch")
        ]
        with pytest.raises(FormatError, match=r"r\.toml:2: .*openta.*; nearest: openat"):
            run_rollup(wrong, engine, catalogue=known)

    assert counts == [1, 0, 1, 1, 1]


def test_damage_within_a_file_is_one_line(tmp_path: Path) -> None:
    data = store(tmp_path, table_of([("openat", Record(captures={0: Capture(b"/%d" % at)})) for at in range(500)]))
    content = bytearray(data.files[0].read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    data.files[0].write_bytes(content)

    with pytest.raises(TraceleftError, match=r"^duckdb: ") as caught, open_duckdb(open_data(tmp_path)) as engine:
        run_rollup(Rollup.parse("r", by=["path"], measures=["sum(ret)"]), engine)

    assert "\n" not in str(caught.value)


@pytest.mark.spark
@pytest.mark.parametrize("name", ["plain", "top by average", "top of windows by p99"])
def test_spark_gives_the_numbers_of_duckdb(name: str, fleet: tuple[Data, list[pyarrow.Table]], spark: Any) -> None:
    rollup = Rollup.parse("r", **FLEET_ROLLUPS[name])

    with open_duckdb(fleet[0]) as engine:
        wanted = outcome(run_rollup(rollup, engine))
    with open_spark(spark, fleet[0]) as engine:
        found = outcome(run_rollup(rollup, engine))

    assert found == wanted


@pytest.mark.spark
@settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(rollup=ordered_rollups(), events=st.lists(EVENTS, min_size=10, max_size=40))
def test_spark_gives_what_the_engine_over_columns_gives(
    spark: Any, rollup: Rollup, events: list[tuple[str, Record]]
) -> None:
    table = table_of(events)

    with TemporaryDirectory() as directory, open_spark(spark, store(Path(directory), table)) as engine:
        result = run_rollup(rollup, engine, catalogue=CATALOGUE)

    assert outcome(result) == outcome(roll_up(rollup, table))


@pytest.mark.spark
def test_odd_texts_and_numbers_on_spark(spark: Any, tmp_path: Path) -> None:
    table = odd_events()

    with open_spark(spark, store(tmp_path, table)) as engine:
        check_odd_values(engine, table)
