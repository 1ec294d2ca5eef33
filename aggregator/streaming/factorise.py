"""Rows of columns grouped by their values."""

from collections.abc import Sequence
from typing import Final

import numpy
from numpy.typing import NDArray

Int64s = NDArray[numpy.int64]

_TABLE: Final = 1 << 16
_FEW: Final = 1 << 10
_ODD: Final = 0x9E3779B97F4A7C15
_ONES: Final = (1 << 64) - 1


def factorise(columns: Sequence[Int64s], count: int) -> tuple[Int64s, Int64s]:
    """Return a code for each row, equal where all columns are, and for each code a row that has it.

    Codes go by a table of hashes; rows whose place there is taken by another are sorted.
    """
    if not columns or not count:
        return numpy.zeros(count, dtype=numpy.int64), numpy.zeros(min(count, 1), dtype=numpy.int64)
    hashes = _hash(columns)
    if count < _FEW:
        return _factorise_sorted(columns, hashes)
    places = hashes >> numpy.uint64(48)
    table = numpy.empty(_TABLE, dtype=numpy.int64)
    table[places] = numpy.arange(count)
    chosen = table[places]
    fits = numpy.ones(count, dtype=bool)
    for column in columns:
        fits &= column[chosen] == column
    rows = numpy.flatnonzero(fits & (chosen == numpy.arange(count)))
    table[places[rows]] = numpy.arange(len(rows))
    codes = table[places]
    if not fits.all():
        rest = numpy.flatnonzero(~fits)
        more, more_rows = _factorise_sorted([column[rest] for column in columns], hashes[rest])
        codes[rest] = more + len(rows)
        rows = numpy.concatenate([rows, rest[more_rows]])
    return codes, rows


def _hash(columns: Sequence[Int64s]) -> NDArray[numpy.uint64]:
    hashes = numpy.zeros(len(columns[0]), dtype=numpy.uint64)
    for column in columns:
        hashes ^= column.astype(numpy.uint64)
        hashes *= numpy.uint64(_ODD)
        hashes ^= hashes >> numpy.uint64(32)
    return hashes * numpy.uint64(_ODD)


def _factorise_sorted(columns: Sequence[Int64s], hashes: NDArray[numpy.uint64]) -> tuple[Int64s, Int64s]:
    _, rows, codes = numpy.unique(hashes, return_index=True, return_inverse=True)
    if any((column[rows[codes]] != column).any() for column in columns):
        # Two rows that differ have one hash: who chooses the values can make such rows.
        table = numpy.stack(columns, axis=1)
        _, rows, codes = numpy.unique(table, axis=0, return_index=True, return_inverse=True)
    return codes.reshape(-1).astype(numpy.int64), rows.astype(numpy.int64)
