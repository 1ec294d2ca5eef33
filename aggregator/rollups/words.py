"""What ``stat`` and ``top`` roll up: a rollup made of a command line's words, or one that is changed by them."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from traceleft.aggregator.rollups.parse import parse_measure
from traceleft.aggregator.rollups.results import order_measure
from traceleft.aggregator.rollups.rollup import Rollup
from traceleft.errors import TraceleftError

NAME: Final = "stat"
FIGURES: Final = ("count", "errors", "sum", "avg", "p50", "p90", "p99", "max")
"""The measures of strace -c's table, with percentiles."""
ALL_FIGURES: Final = (*FIGURES[:4], "min", *FIGURES[4:])
LIVE_FIGURES: Final = ("count", "errors", "sum", "p50", "p99")
HISTOGRAM: Final = "histogram(duration)"

_WORDS: Final = {"time": "sum(duration)", "calls": "count", "error": "errors", "avg-time": "avg(duration)"}
_OF_DURATION: Final = re.compile(r"(?:exact_)?p[0-9]{1,3}(?:\.[0-9]{1,3})?|sum|min|max|avg|histogram", re.ASCII)


def measure_text(word: str) -> str:
    """Return the text of a measure that a word is short for: ``p99`` for ``p99(duration)``, ``time`` for its sum."""
    word = word.strip()
    return _WORDS.get(word) or (f"{word}(duration)" if _OF_DURATION.fullmatch(word) else word)


def make_stat_rollup(
    *,
    by: Sequence[str] = (),
    measures: Sequence[str] = (),
    sort_by: str | None = None,
    top: int | None = None,
    interval_ns: int | None = None,
    has_histogram: bool = False,
    defaults: Sequence[str] = FIGURES,
) -> Rollup:
    """Return the rollup of words: by event if ``by`` is empty, ``count`` and ``errors`` always among its measures.

    ``interval_ns`` cuts time into windows. FormatError if it is not a key or measure.
    """
    texts = [measure_text(word) for word in measures or defaults]
    texts = list(dict.fromkeys(["count", "errors", *texts, *([HISTOGRAM] if has_histogram else [])]))
    table: dict[str, object] = {"by": list(by) or ["event"], "measures": texts}
    default_order = "sum(duration)" if "sum(duration)" in texts else "count"
    table["order_by"] = measure_text(sort_by) if sort_by else default_order
    if top is not None:
        table["top"] = top
    if interval_ns is not None:
        table["window"] = f"{interval_ns}ns"
    return Rollup.parse(NAME, **table)


def adapt_rollup(
    rollup: Rollup,
    *,
    sort_by: str | None = None,
    top: int | None = None,
    interval_ns: int | None = None,
    has_histogram: bool = False,
) -> Rollup:
    """Return a rollup with an order, a top, windows or a histogram in place of its own.

    TraceleftError where it has no groups to choose among, ExpressionError if it is not a measure.
    """
    if top is not None and not rollup.by:
        raise TraceleftError(f"rollup {rollup.name} has no keys: --top chooses among groups")
    if has_histogram and (histogram := parse_measure(HISTOGRAM)) not in rollup.measures:
        rollup = replace(rollup, measures=(*rollup.measures, histogram))
    if interval_ns is not None:
        rollup = replace(rollup, window_ns=interval_ns, slide_ns=None)
    if sort_by is not None:
        named = any(measure.name == sort_by for measure in rollup.measures)
        rollup = replace(rollup, order_by=sort_by if named else measure_text(sort_by))
        if order_measure(rollup).function == "histogram":
            why = "a histogram is not a single number; choose count, p99 or the like"
            raise TraceleftError(f"--sort-by {sort_by}: {why}")
    return rollup if top is None else replace(rollup, top=top)
