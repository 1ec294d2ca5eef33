"""Rollups from TOML, and from the same texts in Python: each mistake one error with its line."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from traceleft.aggregator.rollups.rollup import Rollup
from traceleft.aggregator.rollups.rollup_tables import RollupTable
from traceleft.document import Document, parse_toml, read_toml
from traceleft.errors import TraceleftError
from traceleft.expression import suggest

MAX_ROLLUPS: Final = 1000
TABLES: Final = ("rollup", "rule")
"""What a file of rollups may hold at its top; rules are read by ``traceleft.aggregator.rules.rule``."""

_BUILTIN: Final = "traceleft.aggregator.rollups"


def read_rollups(path: Path) -> tuple[Rollup, ...]:
    """Return the rollups of a TOML file, in their order.

    Raises FormatError, with file and line, for a mistake, and for a file that cannot be read.
    """
    return read_document(read_toml(path))


def parse_rollups(text: str, *, file: str) -> tuple[Rollup, ...]:
    """Return the rollups of a TOML text; ``file`` is named in errors.

    Raises FormatError, with file and line, for a mistake.
    """
    return read_document(parse_toml(text, file=file))


def builtin_names() -> tuple[str, ...]:
    """Return the names of the rollups that come with traceleft, sorted."""
    return tuple(sorted(_read_builtins()))


def builtin(name: str) -> Rollup:
    """Return a rollup that comes with traceleft, such as ``builtin("files")``.

    Raises TraceleftError, with the names that there are, for an unknown name.
    """
    rollups = _read_builtins()
    if name not in rollups:
        hint = suggest(name, rollups) or f"; there are {', '.join(sorted(rollups))}"
        raise TraceleftError(f"no rollup is named {name[:64]!r}{hint}")
    return rollups[name]


@cache
def _read_builtins() -> Mapping[str, Rollup]:
    directory = files(_BUILTIN) / "builtin"
    found = sorted((each for each in directory.iterdir() if each.name.endswith(".toml")), key=lambda each: each.name)
    rollups = [rollup for each in found for rollup in parse_rollups(each.read_text("utf-8"), file=each.name)]
    return {rollup.name: rollup for rollup in rollups}


def find_rollups(text: str) -> tuple[Rollup, ...]:
    """Return the rollups that a user means: a file's, if the text has a slash or a dot, else a built-in one."""
    return read_rollups(Path(text)) if "/" in text or "." in text else (builtin(text),)


def read_document(document: Document) -> tuple[Rollup, ...]:
    """Return the rollups of a document; ``FormatError`` where it holds none, or a wrong one."""
    document.check_keys(document.table, TABLES)
    tables = document.table.get("rollup", {})
    if not isinstance(tables, Mapping):
        raise document.error("`rollup` must be a table: write [rollup.NAME]", document.line_of("rollup"))
    if not tables and "rule" not in document.table:
        raise document.error("holds no rollup; write [rollup.NAME]")
    if len(tables) > MAX_ROLLUPS:
        raise document.error(f"holds more than {MAX_ROLLUPS} rollups")
    return tuple(Rollup(**RollupTable(document, name, table).fields()) for name, table in tables.items())
