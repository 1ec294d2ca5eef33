"""Rollups of events: counts, rates and histograms, kept while a trace runs or read from what was stored."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from traceleft.aggregator.rollups.rollup import Result as Result
    from traceleft.aggregator.rollups.rollup import Rollup as Rollup
    from traceleft.aggregator.rollups.rollup import Row as Row
    from traceleft.aggregator.rollups.rollup_files import builtin as builtin
    from traceleft.aggregator.rollups.rollup_files import builtin_names as builtin_names
    from traceleft.aggregator.rollups.rollup_files import parse_rollups as parse_rollups
    from traceleft.aggregator.rollups.rollup_files import read_rollups as read_rollups
    from traceleft.aggregator.streaming.engine import Aggregator as Aggregator

__all__ = ["Aggregator", "Result", "Rollup", "Row", "builtin", "builtin_names", "parse_rollups", "read_rollups"]

# Found on first use: numpy is imported with the engine only.
_HOMES = {
    "Aggregator": "streaming.engine",
    "Result": "rollups.rollup",
    "Rollup": "rollups.rollup",
    "Row": "rollups.rollup",
    "builtin": "rollups.rollup_files",
    "builtin_names": "rollups.rollup_files",
    "parse_rollups": "rollups.rollup_files",
    "read_rollups": "rollups.rollup_files",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
