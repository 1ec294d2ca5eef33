"""The log-linear histogram: its buckets, and percentiles read from it."""

import numpy
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from traceleft.aggregator.rollups.histogram import (
    BELOW_ZERO,
    BUCKETS,
    bucket_of,
    bucket_range,
    buckets_of,
    log2_bucket,
    percentile,
)

LARGEST = (1 << 63) - 1
values = st.integers(0, 63).flatmap(lambda bits: st.integers(0, (1 << bits) - 1))


@given(values)
@example(0)
@example(63)
@example(64)
@example(LARGEST)
def test_value_lies_in_its_bucket_which_is_less_than_a_thirtysecond_wide(value: int) -> None:
    low, high = bucket_range(bucket_of(value))

    assert low <= value <= high
    assert (high - low) * 32 < max(low, 1)


@given(values)
def test_buckets_follow_each_other_without_a_gap(value: int) -> None:
    bucket = bucket_of(value)

    assert 0 <= bucket < BUCKETS
    assert bucket_range(bucket)[1] == LARGEST or bucket_range(bucket + 1)[0] == bucket_range(bucket)[1] + 1


@given(st.lists(st.integers(-1 << 63, LARGEST)))
@example([(1 << 54) - 1, (1 << 53) + 1, 1 << 62, LARGEST, -1, -1 << 63])
def test_an_array_has_the_buckets_of_its_values(listed: list[int]) -> None:
    assert buckets_of(numpy.array(listed, "i8")).tolist() == [bucket_of(value) for value in listed]


def test_everything_below_zero_has_one_bucket() -> None:
    assert {bucket_of(value) for value in (-1, -4095, -1 << 63)} == {BELOW_ZERO}
    assert log2_bucket(BELOW_ZERO) == BELOW_ZERO


@given(values)
def test_power_of_two_is_that_of_the_value(value: int) -> None:
    assert log2_bucket(bucket_of(value)) == value.bit_length()


@given(st.lists(values, min_size=1), st.integers(0, 100_000))
def test_percentile_is_at_most_a_thirtysecond_below_the_value_of_that_rank(listed: list[int], thousandths: int) -> None:
    buckets: dict[int, int] = {}
    for value in listed:
        buckets[bucket_of(value)] = buckets.get(bucket_of(value), 0) + 1
    exact = sorted(listed)[max(1, -(-len(listed) * thousandths // 100_000)) - 1]

    found = percentile(buckets, thousandths)

    assert found is not None
    assert found <= exact < found + max(1, found) / 31


@pytest.mark.parametrize("thousandths", [0, 50_000, 100_000])
def test_there_is_no_percentile_of_nothing(thousandths: int) -> None:
    assert percentile({}, thousandths) is None
