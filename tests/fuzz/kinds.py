"""What is fuzzed: by kind, what prepares it in a directory of its own and returns what runs a case.

A case takes a generator of random numbers, makes a hostile input with it, and reads that as the commands do. Errors of
traceleft, and of its command line's options, are what it may end with; see ``harness``. A further kind is a function
with ``@kind("name", share)``; ``share`` is its part of all cases, 0 for what shows
that the harness finds what it has to.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Final

Case = Callable[[Random], object]
Prepare = Callable[[Path], Case]

MODULES: Final = (
    *("kinds_formats", "kinds_documents", "kinds_texts", "kinds_recordings", "kinds_archives", "kinds_data"),
    "kinds_planted",
)
_KINDS: Final[dict[str, tuple[Prepare, float]]] = {}


def kind(name: str, share: float) -> Callable[[Prepare], Prepare]:
    """Add a kind."""

    def add(prepare: Prepare) -> Prepare:
        _KINDS[name] = (prepare, share)
        return prepare

    return add


def all_kinds() -> dict[str, tuple[Prepare, float]]:
    """Return what prepares each kind, and its share."""
    for module in MODULES:
        import_module(f"tests.fuzz.{module}")
    return _KINDS


def fuzzed_kinds() -> list[str]:
    """Return the names of the kinds, without those that are planted."""
    return [name for name, (_, share) in all_kinds().items() if share]
