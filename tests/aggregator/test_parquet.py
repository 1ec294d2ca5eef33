"""Events in partitions of Parquet: where files lie, what is whole, what is refused."""

from datetime import date
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from bench.fleet_events import fleet_tables
from tests.support.records import Capture, Record
from tests.support.stored import store, table_of
from traceleft.aggregator.rollups.columns import COLUMNS
from traceleft.aggregator.sinks.parquet_target import ParquetTarget
from traceleft.aggregator.sinks.sink import SinkError
from traceleft.aggregator.stored.arrow_table import SCHEMA
from traceleft.aggregator.stored.parquet import (
    NS_A_DAY,
    Days,
    ParquetWriter,
    open_data,
    partition_of,
    refuse_foreign,
    start_of,
)
from traceleft.errors import FormatError

EVENTS = [("openat", Record(ts=at, seq=at, captures={0: Capture(b"/etc/%d" % at)})) for at in range(5)]


def with_column(table: pyarrow.Table, name: str, values: list[object]) -> pyarrow.Table:
    """Return a table with other values in a column."""
    place = SCHEMA.get_field_index(name)
    return table.set_column(place, SCHEMA.field(name), pyarrow.array(values, SCHEMA.field(name).type))


def test_columns_are_integers_texts_and_one_map() -> None:
    kinds = {
        "integer": pyarrow.int64(),
        "text": pyarrow.string(),
        "map": pyarrow.map_(pyarrow.string(), pyarrow.string()),
    }

    assert [(each.name, each.type, each.nullable) for each in SCHEMA] == [
        (column.name, kinds[column.type], column.is_optional) for column in COLUMNS
    ]


def test_files_lie_by_host_and_day(tmp_path: Path) -> None:
    table = with_column(table_of(EVENTS), "ts", [0, NS_A_DAY - 1, NS_A_DAY, 20_000 * NS_A_DAY, -1])
    table = with_column(table, "host", ["a", "a", "a", "b/..", "a"])

    data = store(tmp_path, table)

    directories = {file.parent.relative_to(tmp_path).as_posix(): len(parquet.read_table(file)) for file in data.files}
    assert directories == {
        "host=a/day=1969-12-31": 1,
        "host=a/day=1970-01-01": 2,
        "host=a/day=1970-01-02": 1,
        "host=b%2F../day=2024-10-04": 1,
    }
    assert data.is_partitioned
    assert partition_of(".", 0) == "host=./day=1970-01-01"


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    table = pyarrow.concat_tables(fleet_tables(rows=3000, hosts=2))

    data = store(tmp_path, table)

    order = [("host", "ascending"), ("seq", "ascending")]
    read = pyarrow.concat_tables(parquet.ParquetFile(file).read() for file in data.files)
    assert read.schema.equals(SCHEMA)
    assert read.sort_by(order).equals(table.sort_by(order))


def test_unfinished_file_is_seen_by_nobody_and_named_when_it_is_whole(tmp_path: Path) -> None:
    writer = ParquetWriter(tmp_path, rows_a_group=2)
    writer.write(table_of(EVENTS))
    unfinished = [path for path in tmp_path.rglob("*") if path.is_file()]

    with pytest.raises(FormatError, match="holds no Parquet file"):
        open_data(tmp_path)
    writer.flush()
    flushed = open_data(tmp_path).files
    writer.write(table_of(EVENTS))
    writer.close()

    assert [path.name[0] for path in unfinished] == ["."]
    assert len(flushed) == 1
    assert len(open_data(tmp_path).files) == 2
    assert not any(path.name.startswith(".") for path in tmp_path.rglob("*"))


def test_large_files_are_followed_by_others(tmp_path: Path) -> None:
    with ParquetWriter(tmp_path, rows_a_group=2, rows_a_file=2) as writer:
        for event in EVENTS:
            writer.write(table_of([event]))

    assert sorted(len(parquet.read_table(file)) for file in open_data(tmp_path).files) == [1, 2, 2]


def test_same_rows_written_again_replace_the_file(tmp_path: Path) -> None:
    for _ in range(2):
        with ParquetWriter(tmp_path, stem="boot-1") as writer:
            writer.write(table_of(EVENTS))

    assert len(open_data(tmp_path).files) == 1


def test_failed_write_leaves_what_was_complete_and_no_part(tmp_path: Path) -> None:
    writer = ParquetWriter(tmp_path, rows_a_group=1)
    writer.write(table_of(EVENTS))
    writer.flush()
    wrong = table_of(EVENTS).rename_columns([f"{name}_" if name == "path" else name for name in SCHEMA.names])

    with pytest.raises(ValueError, match="schema"):
        writer.write(wrong)
    writer.close()

    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".parquet"]


def test_days_of_data_are_those_of_its_partitions(tmp_path: Path) -> None:
    table = with_column(table_of(EVENTS), "ts", [at * NS_A_DAY for at in range(5)])
    data = store(tmp_path / "partitioned", table)
    parquet.write_table(table, tmp_path / "one.parquet")
    days = Days(date(1970, 1, 2), date(1970, 1, 3))

    assert len(data.within(days).files) == 2
    assert len(open_data(tmp_path / "one.parquet").within(days).files) == 1
    assert start_of(date(1970, 1, 3)) == 2 * NS_A_DAY


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop_columns(["host"]), "holds no events of traceleft: it lacks the column host"),
        (
            lambda table: table.set_column(0, "ts", table["ts"].cast(pyarrow.timestamp("ns"))),
            r"column ts is timestamp\[ns\] and not int64",
        ),
        (
            lambda table: table.set_column(3, "pid", table["pid"].cast(pyarrow.int32())),
            "column pid is int32 and not int64",
        ),
        (lambda table: table.select([]).append_column("x", pyarrow.array([1] * len(table))), "it lacks the column ts"),
        (
            lambda table: table.set_column(22, "args", pyarrow.array(["{}"] * len(table))),
            r"column args is string and not map<string, string>",
        ),
    ],
    ids=["no host", "timestamps", "narrow", "foreign", "args as text"],
)
def test_foreign_schema_is_told_with_the_file(tmp_path: Path, change: object, message: str) -> None:
    assert callable(change)
    parquet.write_table(change(table_of(EVENTS)), tmp_path / "x.parquet")

    with pytest.raises(FormatError, match=rf"x\.parquet: .*{message}"):
        open_data(tmp_path)


@pytest.mark.parametrize("place", ["x.parquet", "host=vm/day=2026-11-23/x.parquet"])
def test_nothing_is_written_beside_parquet_of_something_else(tmp_path: Path, place: str) -> None:
    file = tmp_path / place
    file.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.table({"a": [1]}), file)

    with pytest.raises(FormatError, match=f"{place}: holds no events of traceleft: it lacks the column ts"):
        refuse_foreign(tmp_path)
    with pytest.raises(SinkError, match=f"{place}: holds no events of traceleft"):
        ParquetTarget(tmp_path, host="vm").open()


def test_events_go_beside_events(tmp_path: Path) -> None:
    store(tmp_path, table_of(EVENTS))

    refuse_foreign(tmp_path)
    refuse_foreign(tmp_path / "absent")


def test_truncated_file_is_told_at_every_length(tmp_path: Path) -> None:
    file = store(tmp_path, table_of(EVENTS)).files[0]
    content = file.read_bytes()

    for size in [*range(12), *range(12, len(content), 97), len(content) - 1]:
        file.write_bytes(content[:size])
        with pytest.raises(FormatError, match=r"parquet: is damaged, or no Parquet: ") as caught:
            open_data(tmp_path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("absent", "absent: does not exist"),
        ("empty", "empty: holds no Parquet file"),
        ("text", "text: is damaged, or no Parquet"),
    ],
)
def test_what_is_no_data_is_refused(tmp_path: Path, path: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("no")

    with pytest.raises(FormatError, match=message):
        open_data(tmp_path / path)


def test_name_of_a_column_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = store(tmp_path, table_of(EVENTS)).files[0]
    data = file.read_bytes()
    file.write_bytes(data.replace(b"duration_ns", b"duration\xe7ns"))

    with pytest.raises(FormatError, match="is damaged, or no Parquet: 'utf-8' codec can't decode"):
        open_data(tmp_path)
