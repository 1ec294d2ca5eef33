"""What a rollup is made of: keys and measures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from traceleft.aggregator.rollups.expression_tree import Expression

DEFAULT_MAX_KEYS: Final = 10_000


Function = Literal["count", "errors", "sum", "min", "max", "avg", "percentile", "histogram", "exact"]


KeyValue = str | int | None
"""A key's value: text or a number as the event has it, None where the event has none."""


MeasureValue = int | None | Mapping[int, int]
"""A number; None where there was no value; of a histogram the counts by power of two (``histogram.log2_bucket``)."""


@dataclass(frozen=True, slots=True)
class Key:
    """What events are grouped by: an expression, and the name that its value has in a row."""

    name: str
    expression: Expression


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of a group: ``count``, ``errors``, or a function of an integer expression's values that are not None.

    ``thousandths`` (of a percent) say which percentile, by the log-linear histogram, or by all values for ``exact``.
    ``avg`` is the sum divided by the number of values, rounded down.
    """

    name: str
    function: Function
    expression: Expression | None = None
    thousandths: int = 0
