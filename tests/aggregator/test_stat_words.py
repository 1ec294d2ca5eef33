"""What a command line's words are rolled up by."""

from pathlib import Path
from typing import Any

import pytest

from traceleft.aggregator.rollups.rollup import Rollup
from traceleft.aggregator.rollups.words import ALL_FIGURES, adapt_rollup, make_stat_rollup, measure_text
from traceleft.cli.rolling import find_rollup
from traceleft.errors import ExpressionError, FormatError, TraceleftError


def names(rollup: Rollup) -> list[str]:
    return [measure.name for measure in rollup.measures]


def test_the_default_is_by_event_with_percentiles_by_total_time() -> None:
    rollup = make_stat_rollup(defaults=ALL_FIGURES)

    assert [key.name for key in rollup.by] == ["event"]
    assert names(rollup) == [
        *("count", "errors"),
        *(f"duration_ns_{each}" for each in ("sum", "avg", "min", "p50", "p90", "p99", "max")),
    ]
    assert (rollup.order_by, rollup.top, rollup.window_ns) == ("sum(duration)", None, None)


def test_measures_that_are_chosen_stand_beside_count_and_errors() -> None:
    rollup = make_stat_rollup(measures=["bytes", "p99.9", "count"], has_histogram=True, top=3, interval_ns=5)

    assert names(rollup) == ["count", "errors", "bytes", "duration_ns_p99_9", "duration_ns_histogram"]
    assert (rollup.order_by, rollup.top, rollup.window_ns) == ("count", 3, 5)


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("time", "sum(duration)"),
        ("calls", "count"),
        ("p99", "p99(duration)"),
        (" max ", "max(duration)"),
        ("avg(ret)", "avg(ret)"),
        ("bytes", "bytes"),
        ("maximum", "maximum"),
    ],
)
def test_words_are_short_for_measures(word: str, text: str) -> None:
    assert measure_text(word) == text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"by": ["pathh"]}, "`by`: no column is named 'pathh'; nearest: path"),
        ({"measures": ["p99(comm)"]}, "`measures`: p99 takes a number"),
        ({"measures": ["p101"]}, "`measures`: p101 is beyond p100"),
        ({"sort_by": "loudness"}, "`order_by`: 'loudness' is not a measure"),
        ({"sort_by": "histogram"}, "`order_by` is 'histogram(duration)', which is not a single number"),
    ],
)
def test_a_wrong_word_is_named(words: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError) as caught:
        make_stat_rollup(**words)

    assert message in str(caught.value)


def test_a_rollup_that_is_written_down_is_adapted() -> None:
    written = Rollup.parse("r", by=["comm"], measures=["count", "bytes as moved"], window="10s", slide="5s", top=5)

    adapted = adapt_rollup(written, sort_by="moved", top=2, interval_ns=10**9, has_histogram=True)

    assert (adapted.order_by, adapted.top, adapted.window_ns, adapted.slide_ns) == ("moved", 2, 10**9, None)
    assert names(adapted) == ["count", "moved", "duration_ns_histogram"]
    assert adapt_rollup(written) == written
    assert adapt_rollup(written, sort_by="p99").order_by == "p99(duration)"


def test_what_cannot_be_adapted_is_refused() -> None:
    total = Rollup.parse("total", measures=["count"])

    with pytest.raises(TraceleftError, match="has no keys: --top chooses among groups"):
        adapt_rollup(total, top=1)
    with pytest.raises(TraceleftError, match="a histogram is not a single number"):
        adapt_rollup(total, sort_by="histogram")
    with pytest.raises(ExpressionError, match="'loud' is not a measure"):
        adapt_rollup(total, sort_by="loud")


def test_a_rollup_is_found_by_file_and_name(tmp_path: Path) -> None:
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    one.write_text("[rollup.alone]\n")
    two.write_text("[rollup.first]\n[rollup.second]\ntop = 3\nby = ['comm']\n")

    assert find_rollup("errors").name == "errors"
    assert find_rollup(str(one)).name == "alone"
    assert find_rollup(f"{two}:second").top == 3
    with pytest.raises(TraceleftError, match=f"{two}: holds 2 rollups; choose one: {two}:first"):
        find_rollup(str(two))
    with pytest.raises(TraceleftError, match=f"{two}: no rollup is named 'secnd'; nearest: second"):
        find_rollup(f"{two}:secnd")
