"""What a rollup's measures are as metrics, whoever is given them: names, units, and what adds up over windows."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from traceleft.aggregator.rollups.expression_tree import Name
from traceleft.aggregator.rollups.parts import KeyValue, Measure
from traceleft.aggregator.rollups.rollup import Rollup
from traceleft.tracer.decode.texts import to_column

NS: Final = 1_000_000_000
FIGURES: Final = {
    "emitted": "Records that the kernel had for the trace",
    "delivered": "Events that reached their reader",
    "lost": "Records that the buffer had no room for",
    "dropped": "Records that were thrown away in user space",
    "undecodable": "Records that the decoder refused",
    "compat": "Calls of 32-bit code that were counted and not decoded",
    "missed": "Calls that never became a record",
}
"""The ledger's figures that only grow."""
UNACCOUNTED: Final = "unaccounted"
OTHER: Final = "other"

MetricType = Literal["counter", "gauge", "histogram"]
Figure = int | Mapping[int, int]

_NO_NAME: Final = re.compile(r"[^a-zA-Z0-9_]")
_UNITS: Final = {"duration_ns": ("seconds", NS), "ts": ("seconds", NS), "bytes": ("bytes", 1)}
_GROWING: Final = frozenset({"duration_ns", "bytes"})


@dataclass(frozen=True, slots=True)
class Metric:
    """A measure as a metric: ``unit`` is that of its numbers once they are divided by ``divisor``, or empty.

    ``adds``: the figures of one window after another are added up. ``title`` is the rollup's name as a word, ``part``
    the measure's without its unit, ``word`` the measure's where units are kept apart from names.
    """

    title: str
    word: str
    part: str
    unit: str
    divisor: int
    type: MetricType
    adds: bool
    doc: str

    def scale(self, value: int) -> int | float:
        """Return a number in the metric's unit."""
        return value / self.divisor if self.divisor > 1 else value

    def edge(self, power: int) -> int | float:
        """Return the largest value that a histogram counts at a power of two."""
        return self.scale((1 << power) - 1 if power >= 0 else -1)


def metric_of(rollup: Rollup, measure: Measure) -> Metric:
    """Return the metric that a measure becomes. Windows that overlap count twice: their figures are not added up."""
    expression = measure.expression
    column = expression.name if isinstance(expression, Name) else ""
    unit, divisor = _UNITS.get(column, ("", 1))
    words = ["events"] if measure.function == "count" else [w for w in measure.name.split("_") if w != "ns"]
    part = "_".join(word for word in words if word != unit)
    overlaps = rollup.slide_ns not in (None, rollup.window_ns)
    grows = measure.function in ("count", "errors") or (measure.function == "sum" and column in _GROWING)
    kind: MetricType = "gauge"
    if measure.function == "histogram":
        kind = "histogram"
    elif grows and not overlaps:
        kind = "counter"
    doc = f"{measure.name} of the rollup {rollup.name}"
    adds = kind != "gauge" and not overlaps
    return Metric(as_name(rollup.name), "_".join(words), part, unit, divisor, kind, adds, doc)


def label_names(rollup: Rollup) -> tuple[str, ...]:
    """Return the names of a rollup's keys as labels."""
    return tuple(as_name(key.name) for key in rollup.by)


def as_name(text: str) -> str:
    """Return a text as a word that every metrics system takes."""
    return _NO_NAME.sub("_", text)


def label_of(key: KeyValue) -> str:
    """Return a key's value as a label's; empty where there is none."""
    return "" if key is None else to_column(str(key))
