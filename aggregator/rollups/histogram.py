"""The one histogram that percentiles are read from: powers of two, 32 sub-buckets each, in integers.

A value below 64 has a bucket of its own; above, a bucket is 1/32 of its power of two wide, so that its smallest value,
which stands for it, is less than 3.2 % below any other in it, and no percentile is above the largest value there was.
The kernel, numpy and every SQL engine compute the same bucket, so a percentile is the same number wherever it is
computed, and histograms of windows and hosts are added bucket by bucket.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

SUB_BITS: Final = 5
SUB_BUCKETS: Final = 1 << SUB_BITS
BELOW_ZERO: Final = -1
"""The bucket of every value below 0."""
BUCKETS: Final = (63 - SUB_BITS + 1) * SUB_BUCKETS
"""One more than the largest bucket of a signed 64-bit value."""
PERCENT_SCALE: Final = 1000
"""Percentiles are counted in thousandths of a percent: 99.9 is 99900."""


def bucket_of(value: int) -> int:
    """Return the bucket of a signed 64-bit value."""
    if value < SUB_BUCKETS:
        return max(value, BELOW_ZERO)
    shift = value.bit_length() - 1 - SUB_BITS
    return (shift << SUB_BITS) + (value >> shift)


def bucket_range(bucket: int) -> tuple[int, int]:
    """Return the smallest and the largest value of a bucket; of the one below 0, (-1, -1)."""
    if bucket < 2 * SUB_BUCKETS:
        return bucket, bucket
    shift = (bucket >> SUB_BITS) - 1
    low = ((bucket & (SUB_BUCKETS - 1)) + SUB_BUCKETS) << shift
    return low, low + (1 << shift) - 1


def log2_bucket(bucket: int) -> int:
    """Return the power of two that a bucket lies in: 0 for 0, k for 2^(k-1) to 2^k - 1; -1 stays."""
    return bucket if bucket < 0 else bucket_range(bucket)[0].bit_length()


def percentile(buckets: Mapping[int, int], thousandths: int) -> int | None:
    """Return a percentile (in thousandths of a percent) of counts by bucket: the smallest value of the bucket
    that the value of that rank lies in; None where there are no values."""
    total = sum(buckets.values())
    if not total:
        return None
    rank = max(1, -(-total * thousandths // (100 * PERCENT_SCALE)))
    seen = 0
    for bucket in sorted(buckets):
        seen += buckets[bucket]
        if seen >= rank:
            return bucket_range(bucket)[0]
    raise AssertionError("unreachable: ranks end at the total")


def buckets_of(values: "NDArray[numpy.int64]") -> "NDArray[numpy.int64]":
    """Return the buckets of an array of values."""
    import numpy

    exponents: Any = numpy.frexp(numpy.maximum(values, 1).astype(numpy.float64))[1].astype(numpy.int64) - 1
    # A float has 53 bits: what was rounded up to the next power of two is put right.
    exponents = numpy.minimum(exponents, 62)
    exponents -= (numpy.int64(1) << exponents) > values.clip(1)
    shifts = numpy.maximum(exponents - SUB_BITS, 0)
    buckets: NDArray[numpy.int64] = (shifts << SUB_BITS) + (values >> shifts)
    return numpy.maximum(buckets, BELOW_ZERO)
