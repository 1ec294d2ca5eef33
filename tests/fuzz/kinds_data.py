"""Parquet that others wrote, as report reads it."""

from pathlib import Path
from random import Random
from typing import Any, Final

import pyarrow
from pyarrow import parquet

from tests.fuzz.kinds import Case, kind
from tests.fuzz.kinds_recordings import sound_recording
from tests.fuzz.mutation import NUMBERS, mutate_bytes
from traceleft.aggregator.rollups.rollup_files import builtin
from traceleft.aggregator.stored.engines import open_duckdb
from traceleft.aggregator.stored.export import recording_tables
from traceleft.aggregator.stored.parquet import open_data
from traceleft.aggregator.stored.query import run_rollup
from traceleft.tracer.recording import Recording

ROLLUPS: Final = ("syscalls", "errors", "files", "latency")
TYPES: Final = (
    pyarrow.int8(),
    pyarrow.int64(),
    pyarrow.uint64(),
    pyarrow.string(),
    pyarrow.binary(),
    pyarrow.large_string(),
)
MEMORY: Final = "256MB"


@kind("parquet", 4)
def data(directory: Path) -> Case:
    sound, hostile = directory / "sound", directory / "hostile.parquet"
    sound_recording(sound)
    with Recording.open(sound) as recording:
        table = pyarrow.concat_tables(recording_tables(recording)).combine_chunks()

    def run(random: Random) -> None:
        parquet.write_table(_other(random, table), hostile, compression=random.choice(("zstd", "none")))
        if random.random() < 0.6:
            hostile.write_bytes(mutate_bytes(random, hostile.read_bytes()))
        with open_duckdb(open_data(hostile), memory=MEMORY) as engine:
            run_rollup(builtin(random.choice(ROLLUPS)), engine)

    return run


def _other(random: Random, table: Any) -> Any:
    """Return a table with a column of another type, of other values, another name, or none."""
    at = random.randrange(table.num_columns)
    field = table.schema.field(at)
    match random.randrange(6):
        case 0:
            return table.remove_column(at)
        case 1:
            type_ = random.choice(TYPES)
            return table.set_column(at, field.name, pyarrow.nulls(len(table), type_))
        case 2 if pyarrow.types.is_integer(field.type):
            numbers = [random.choice(NUMBERS) for _ in range(len(table))]
            fitting = [min(max(number, -(1 << 63)), (1 << 63) - 1) for number in numbers]
            return table.set_column(at, field, pyarrow.array(fitting, pyarrow.int64()).cast(field.type, safe=False))
        case 3 if field.nullable:
            return table.set_column(at, field, pyarrow.nulls(len(table), field.type))
        case 4:
            return table.append_column(field.name, table.column(at))
    return table
