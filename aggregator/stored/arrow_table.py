"""Events as Arrow tables of exactly ``columns.COLUMNS``: what is exported, kept in Parquet, and read by engines."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy
import pyarrow
import pyarrow.compute

from traceleft.aggregator.rollups.columns import COLUMNS
from traceleft.aggregator.streaming.batch_columns import BatchColumns, Columns, Integers, Texts, texts_to_integers
from traceleft.tracer.decode.batch import Batch
from traceleft.tracer.decode.texts import from_column, to_column
from traceleft.tracer.schema.spec import Tables

_TYPES: Final = {
    "integer": pyarrow.int64(),
    "text": pyarrow.string(),
    "map": pyarrow.map_(pyarrow.string(), pyarrow.string()),
}
SCHEMA: Final[Any] = pyarrow.schema(
    pyarrow.field(column.name, _TYPES[column.type], nullable=column.is_optional) for column in COLUMNS
)
"""The columns as Arrow has them: every integer is signed and has 64 bits, ``ts`` included."""


def batch_to_table(
    batch: Batch,
    tables: Tables,
    *,
    host: str,
    cgroups: Callable[[int], str | None] | None = None,
    stacks: Callable[[Batch], Iterable[str | None]] | None = None,
) -> pyarrow.Table:
    """Return a batch's events; ``cgroups`` gives the path of a cgroup by its id, ``stacks`` the folded stacks."""
    columns = BatchColumns(batch, tables, host=host, cgroups=cgroups, stacks=stacks)
    return columns_to_table(columns, [arg.name for arg in batch.spec.args])


def columns_to_table(columns: Columns, args: Sequence[str]) -> pyarrow.Table:
    """Return events with these arguments; one that an event lacks is not in its map."""
    made: dict[str, Callable[[str], Any]] = {
        "integer": lambda name: _integers(columns.integers(name)),
        "text": lambda name: _texts(columns.texts(name)),
        "map": lambda _: _arguments({name: columns.arg(name) for name in args}, len(columns)),
    }
    return pyarrow.table([made[column.type](column.name) for column in COLUMNS], schema=SCHEMA)


def _integers(found: Integers) -> Any:
    return pyarrow.array(found.values, mask=None if found.valid is None else ~found.valid)


def _texts(found: Texts) -> Any:
    codes = pyarrow.array(found.codes, mask=found.codes < 0)
    return pyarrow.array([to_column(text) for text in found.values], type=pyarrow.string()).take(codes)


def _arguments(args: Mapping[str, Texts], count: int) -> Any:
    """Return the maps of arguments: keys and items lie row by row, an argument after the other."""
    is_there = numpy.array([texts.codes >= 0 for texts in args.values()], dtype=bool).reshape(len(args), count)
    places = numpy.arange(len(args) * count).reshape(len(args), count).T[is_there.T]
    offsets = numpy.concatenate([[0], numpy.cumsum(is_there.sum(axis=0))]).astype(numpy.int32)
    items = pyarrow.chunked_array([_texts(texts) for texts in args.values()], type=pyarrow.string())
    keys = pyarrow.array(list(args), type=pyarrow.string()).take(pyarrow.array(places // max(count, 1)))
    return pyarrow.MapArray.from_arrays(
        pyarrow.array(offsets), keys, items.take(pyarrow.array(places)).combine_chunks()
    )


class TableColumns:
    """The columns of a table of events, as ``Aggregator.add_columns`` takes them."""

    def __init__(self, table: pyarrow.Table) -> None:
        self._table = table.combine_chunks()

    def __len__(self) -> int:
        return len(self._table)

    def integers(self, name: str) -> Integers:
        """Return a column of numbers."""
        column = self._table[name]
        valid = None if not column.null_count else column.is_valid().to_numpy()
        return Integers(column.fill_null(0).to_numpy(), valid)

    def texts(self, name: str) -> Texts:
        """Return a column of texts."""
        return _factorise(self._table[name])

    def arg(self, name: str) -> Texts:
        """Return an argument as text."""
        return _factorise(pyarrow.compute.map_lookup(self._table["args"], pyarrow.scalar(name), "first"))

    def arg_integers(self, name: str) -> Integers:
        """Return an argument as a number."""
        return texts_to_integers(self.arg(name))


def _factorise(column: Any) -> Texts:
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pyarrow.ChunkedArray):
        encoded = encoded.combine_chunks()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(numpy.int64)
    return Texts(codes, [from_column(text) for text in encoded.dictionary.to_pylist()])
