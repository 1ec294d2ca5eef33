"""The finaliser: order, top, other, and cells that merge."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traceleft.aggregator.rollups.histogram import bucket_of, log2_bucket
from traceleft.aggregator.rollups.parts import KeyValue
from traceleft.aggregator.rollups.results import Cell, Groups, Numbers, Partial, exact_percentile, finish, powers_of
from traceleft.aggregator.rollups.rollup import Rollup, Row


def groups_of(*cells: tuple[KeyValue, int]) -> Groups:
    return Groups({(None, (key,)): Cell(count, 0, (None,)) for key, count in cells})


def test_rows_go_by_measure_then_numbers_then_text_then_none() -> None:
    rollup = Rollup.parse("x", by=["port"])

    result = finish(rollup, groups_of(("b", 1), (None, 1), (10, 1), ("Z", 1), (9, 1), ("ä", 1), ("many", 2)))

    assert [row.keys for row in result.rows] == [("many",), (9,), (10,), ("Z",), ("b",), ("ä",), (None,)]


def test_rows_without_the_measure_that_orders_come_last() -> None:
    rollup = Rollup.parse("x", by=["comm"], measures=["min(ret)"], order_by="min(ret)")
    cells = {"none": Numbers(), "low": Numbers(1, -5, -5, -5), "high": Numbers(2, 8, 3, 5)}

    result = finish(rollup, Groups({(None, (key,)): Cell(1, 0, (numbers,)) for key, numbers in cells.items()}))

    assert [(row.keys, row.values) for row in result.rows] == [
        (("high",), (3,)),
        (("low",), (-5,)),
        (("none",), (None,)),
    ]


def test_what_is_beyond_top_and_beyond_the_cap_is_one_row() -> None:
    rollup = Rollup.parse("x", by=["comm"], top=1, measures=["count", "max(ret)", "p50(ret)", "histogram(ret)"])
    groups = Groups(capped=3)
    for key, count, value in ((("a",), 9, 1), (("b",), 2, 700), (("c",), 1, 5), (None, 3, 700)):
        partials: tuple[Partial, ...] = (
            None,
            Numbers(1, value, value, value),
            {bucket_of(value): 1},
            {log2_bucket(bucket_of(value)): 1},
        )
        groups.cells[None, key] = Cell(count, 0, partials)

    result = finish(rollup, groups)

    assert [(row.keys, row.values) for row in result.rows] == [
        (("a",), (9, 1, 1, {1: 1})),
        (None, (6, 700, 688, {3: 1, 10: 2})),
    ]
    assert [*result.to_json()][1] == {
        "comm": None,
        "other": True,
        "count": 6,
        "ret_max": 700,
        "ret_p50": 688,
        "ret_histogram": {"4": 1, "512": 2},
    }


def test_measure_that_only_orders_is_not_shown() -> None:
    rollup = Rollup.parse("x", by=["comm"], order_by="max(ret)")

    result = finish(
        rollup,
        Groups(
            {(None, (key,)): Cell(1, 0, (None, Numbers(1, value, value, value))) for key, value in (("a", 1), ("b", 2))}
        ),
    )

    assert result.rows == (Row(None, ("b",), (1,)), Row(None, ("a",), (1,)))


def test_windows_come_in_order_with_their_ends() -> None:
    rollup = Rollup.parse("x", window="9ns", slide="3ns")

    result = finish(rollup, Groups({(start, ()): Cell(1, 0, (None,)) for start in (6, -3, 3)}))

    assert [row.window_ns for row in result.rows] == [(-3, 6), (3, 12), (6, 15)]


def test_groups_merged_stay_as_they_are() -> None:
    first, second = (Groups({(None, ("a",)): Cell(1, 1, ({3: 1}, Numbers(1, 3, 3, 3)))}, events=1) for _ in range(2))
    kept = copy.deepcopy(second)
    merged = Groups()

    merged.add(first)
    merged.add(second)
    merged.add(second)

    assert merged.cells[None, ("a",)] == Cell(3, 3, ({3: 3}, Numbers(3, 9, 3, 3)))
    assert (merged.events, first, second) == (3, kept, kept)


@given(st.lists(st.integers(-(1 << 63), (1 << 63) - 1), min_size=1, max_size=50), st.integers(0, 100_000))
def test_exact_percentile_is_the_value_of_that_rank(values: list[int], thousandths: int) -> None:
    counts = {value: values.count(value) for value in values}

    found = exact_percentile(counts, thousandths)

    assert found == sorted(values)[max(1, -(-len(values) * thousandths // 100_000)) - 1]


@given(st.lists(st.integers(-5, (1 << 63) - 1), max_size=50))
def test_powers_of_buckets_are_those_of_values(values: list[int]) -> None:
    buckets = [bucket_of(value) for value in values]

    powers = powers_of({bucket: buckets.count(bucket) for bucket in buckets})

    assert powers == {
        power: sum(max(value, -1).bit_length() * (-1 if value < 0 else 1) == power for value in values)
        for power in powers
    }
    assert sum(powers.values()) == len(values)


def test_partial_of_another_kind_is_no_figure() -> None:
    rollup = Rollup.parse("x", measures=["sum(ret)"])

    with pytest.raises(TypeError, match="ret_sum: sum is not read from dict"):
        finish(rollup, Groups({(None, ()): Cell(1, 0, ({}, None))}))
