"""Values added up by the codes of their groups, exactly, by numpy."""

from collections.abc import Iterator
from typing import Final

import numpy

from traceleft.aggregator.rollups.histogram import BUCKETS
from traceleft.aggregator.streaming.factorise import Int64s

_PIECE_BITS: Final = 22
_PIECE: Final = (1 << _PIECE_BITS) - 1
_DENSE: Final = 1 << 20


def sum_by(codes: Int64s, values: Int64s, size: int) -> list[int]:
    """Return the sum of values by code, exactly: numpy adds up floats here, of 53 bits, so numbers go in pieces."""
    totals = [0] * size
    shift = 0
    while shift < 64:
        is_last = shift + _PIECE_BITS >= 64
        piece = values >> shift
        if not is_last:
            piece = piece & _PIECE
        sums = numpy.bincount(codes, weights=piece, minlength=size)
        totals = [total + (int(each) << shift) for total, each in zip(totals, sums.tolist(), strict=True)]
        shift += _PIECE_BITS
        if not (values >> min(shift, 63)).any():
            break
    return totals


def extremes_by(codes: Int64s, values: Int64s, size: int) -> tuple[Int64s, Int64s]:
    """Return the smallest and the largest value by code; where there is none, they mean nothing."""
    bounds = numpy.iinfo(numpy.int64)
    low, high = numpy.full(size, bounds.max), numpy.full(size, bounds.min)
    numpy.minimum.at(low, codes, values)
    numpy.maximum.at(high, codes, values)
    return low, high


def count_buckets(codes: Int64s, buckets: Int64s, size: int) -> Iterator[tuple[int, int, int]]:
    """Yield (code, bucket, how many) of buckets, which are -1 and above, by code."""
    width = BUCKETS + 1
    cells = codes * width + (buckets + 1)
    if size * width <= _DENSE:
        dense = numpy.bincount(cells, minlength=1)
        found = numpy.flatnonzero(dense)
        counts = dense[found]
    else:
        found, counts = numpy.unique(cells, return_counts=True)
    yield from zip((found // width).tolist(), (found % width - 1).tolist(), counts.tolist(), strict=True)
