"""Events in Parquet for tests of engines, and what the engine over columns makes of them."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow

from tests.support.records import Record, batch_of
from tests.support.rollups import CGROUPS, DECODERS, SCHEMA
from traceleft.aggregator.rollups.rollup import Result, Rollup
from traceleft.aggregator.stored.arrow_table import SCHEMA as COLUMNS
from traceleft.aggregator.stored.arrow_table import TableColumns, batch_to_table
from traceleft.aggregator.stored.parquet import Data, ParquetWriter, open_data
from traceleft.aggregator.streaming.engine import Aggregator

Events = Sequence[tuple[str, Record]]


def table_of(events: Events, *, host: str = "h") -> pyarrow.Table:
    """Return events as a table."""
    batches = [batch_of(DECODERS[name], [record]) for name, record in events]
    tables = [batch_to_table(each, SCHEMA.tables, host=host, cgroups=CGROUPS.get) for each in batches]
    return pyarrow.concat_tables(tables) if tables else COLUMNS.empty_table()


def store(directory: Path, *tables: pyarrow.Table) -> Data:
    """Write tables as partitions below a directory."""
    with ParquetWriter(directory) as writer:
        for table in tables:
            writer.write(table)
    return open_data(directory)


def aggregate(rollup: Rollup, *tables: pyarrow.Table) -> Aggregator:
    """Return the engine over columns with what tables hold."""
    aggregator = Aggregator(rollup, SCHEMA.events, tables=SCHEMA.tables)
    for table in tables:
        aggregator.add_columns(TableColumns(table))
    return aggregator


def roll_up(rollup: Rollup, *tables: pyarrow.Table) -> Result:
    """Return what the engine over columns makes of tables."""
    return aggregate(rollup, *tables).finish()
