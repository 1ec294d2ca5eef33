"""The sink of Parquet: partitions that a fleet's engines read, complete files, accounts that add up."""

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet
import pytest

from tests.support.records import OPENED, Capture, encode, openat
from traceleft.aggregator.sinks.parquet_target import ParquetTarget
from traceleft.aggregator.sinks.sink import Item, LostError, SinkError
from traceleft.aggregator.sinks.urls import open_sinks
from traceleft.aggregator.stored.parquet import open_data
from traceleft.tracer import _native
from traceleft.tracer.decode.batch import Batch
from traceleft.tracer.decode.decoder import Decoder

DAY_NS = 86_400_000_000_000


def make_batch(count: int, *, day: int = 20_000) -> Batch:
    """Return a batch of opens of that day since the epoch."""
    spec, tables = openat()
    events = [replace(OPENED, captures={0: Capture(b"/etc/%d" % number)}, ts=number) for number in range(count)]
    records = _native.Records(b"".join(encode(spec, event) for event in events))
    fixed, tails, ends, rows = records.columns(spec.id, spec.fixed_size)
    return Batch(Decoder(spec, tables), fixed, tails, ends, offset_ns=day * DAY_NS, rows=rows)


def test_events_lie_by_host_and_day(tmp_path: Path) -> None:
    with open_sinks([f"parquet:{tmp_path}/data"], host="web-1") as sinks:
        sinks.start()
        assert (sinks.wants_lines, sinks.wants_batches) == (False, True)
        sinks.batch(make_batch(100))
        sinks.batch(make_batch(50, day=20_001))

    data = open_data(tmp_path / "data")
    partitions = [file.parent.relative_to(data.path).as_posix() for file in data.files]
    assert data.is_partitioned
    assert partitions == ["host=web-1/day=2024-10-04", "host=web-1/day=2024-10-05"]
    tables = [pyarrow.parquet.ParquetFile(file).read().to_pydict() for file in data.files]
    assert tables[0]["path"] == [f"/etc/{number}" for number in range(100)]
    assert tables[1]["ts"] == [20_001 * DAY_NS + number for number in range(50)]
    (account,) = sinks.accounts().values()
    assert (account.accepted, account.written, account.dropped) == (150, 150, 0)


def test_files_are_completed_every_so_often(tmp_path: Path) -> None:
    now = [0.0]
    target = ParquetTarget(tmp_path, host="web-1", every_s=60, clock=lambda: now[0])

    target.write(Item("events", make_batch(10), 10))
    before = [*tmp_path.rglob("[!.]*.parquet")]
    now[0] = 61
    target.idle()

    assert before == []
    assert target.pending == 0
    assert len([*tmp_path.rglob("[!.]*.parquet")]) == 1


def test_what_was_pending_is_lost_and_counted_where_files_cannot_be_written(tmp_path: Path) -> None:
    target = ParquetTarget(tmp_path / "data", host="web-1")
    target.open()
    target.write(Item("events", make_batch(10), 10))
    (tmp_path / "data" / "host=web-1").rename(tmp_path / "elsewhere")
    (tmp_path / "data" / "host=web-1").write_bytes(b"")

    with pytest.raises(LostError) as caught:
        target.finish()

    assert caught.value.records == 10
    assert target.pending == 0


def test_lost_rows_are_dropped_in_the_account(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    sinks = open_sinks([f"parquet:{directory}"], host="web-1")
    sinks.start()
    (directory / "host=web-1").write_bytes(b"no directory")
    sinks.batch(make_batch(10))
    sinks.close(patience_s=0.3)

    (account,) = sinks.accounts().values()
    assert (account.accepted, account.written, account.dropped) == (10, 0, 10)
    assert str(account.last_error) == f"{directory}: Not a directory"


def test_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(SinkError, match="file"):
        open_sinks([f"parquet:{tmp_path}/file"])
