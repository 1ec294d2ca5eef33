"""The classes of syscalls that `-e %class` stands for, from `data/classes.toml`."""

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from traceleft.errors import FormatError

_FILE = Path(__file__).with_name("data") / "classes.toml"


@cache
def load_classes() -> Mapping[str, frozenset[str]]:
    """Return the members of each class, as the kernel names them.

    The key is the class's name as it is written after the first `%`: `file`, `network`, and `%stat` for `%%stat`.
    """
    return MappingProxyType(parse_classes(_FILE.read_text(encoding="utf-8"), file=_FILE.name))


@cache
def classes_of(name: str) -> tuple[str, ...]:
    """Return the classes that a syscall belongs to, sorted; none for a syscall that no class lists."""
    return tuple(sorted(title for title, members in load_classes().items() if name in members))


def parse_classes(text: str, *, file: str) -> dict[str, frozenset[str]]:
    """Read a document of classes; a malformed one is a `FormatError`."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FormatError(str(error), file=file) from error
    match document:
        case {"alias": dict(aliases), "class": dict(tables), **rest} if not rest:
            classes = {title: _members(title, table, file=file) for title, table in tables.items()}
        case _:
            raise FormatError("the tables of the document are [alias] and [class.NAME]", file=file)
    for alias, title in aliases.items():
        if title not in classes:
            raise FormatError(f"alias {alias} names no class: {title}", file=file)
        classes[alias] = classes[title]
    return classes


def _members(title: str, table: object, *, file: str) -> frozenset[str]:
    match table:
        case {"description": str(), "members": list(members), **rest} if not rest:
            if all(isinstance(member, str) for member in members):
                return frozenset(members)
    raise FormatError(f"class {title} needs a description and members, a list of names", file=file)
