"""Sources held against what ``traceleft generate`` renders from their schema: clang sees that text, and no other file.

C can do more than trace: ``.incbin`` puts any file that the builder can read into an object.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from traceleft.battery.builder.generated_source import SourceTree
from traceleft.battery.manifest import EventName, Identifier, digest_of, one_line
from traceleft.errors import FormatError
from traceleft.generator.render import render_sources

ANEW = "run traceleft generate again, or give --foreign-sources if they are meant to differ"

Number = Annotated[int, Meta(ge=0, le=0x7FFF_FFFF)]
Short = Annotated[int, Meta(ge=0, le=0xFFFF)]


class _Length(Struct):
    constant: Number | None = None
    pointer: Short | None = None
    arg: Short | None = None
    ret: bool | None = None


class _Element(Struct):
    width: Short = 0


class _Argument(Struct):
    """What of an argument stands in C: numbers, and names that choose among texts of ours."""

    index: Short
    offset: Short = 0
    size: Number = 0
    width: Short = 0
    slot: Short = 0
    slot_out: Short = 0
    signed: bool = False
    length: _Length | None = None
    element: _Element | None = None


class _Slot(Struct):
    name: Identifier
    offset: Short


class _Layout(Struct):
    args: Short
    fixed_size: Short
    slots: tuple[_Slot, ...]
    digest: Annotated[str, Meta(pattern=r"\Asha256:[0-9a-f]{64}\Z")]


class _Event(Struct):
    kind: Literal["syscall", "tracepoint"]
    id: Short
    layout: _Layout
    args: tuple[_Argument, ...]
    number: Number | None = None
    registers: Short = 0


class _Struct(Struct):
    size: Number


class _Tables(Struct):
    structs: dict[str, _Struct]


class _Schema(Struct):
    """What of a schema reaches C, so that nothing else in it can."""

    events: dict[EventName, _Event]
    tables: _Tables


def render_tree(tree: SourceTree) -> dict[str, str]:
    """Return the text of every C file of a directory, rendered anew from its schema.

    Raises FormatError for a schema that ``generate`` does not write, and names a file that is not what it renders.
    """
    try:
        msgspec.json.decode(tree.schema, type=_Schema)
        document: dict[str, object] = msgspec.json.decode(tree.schema)
        files = render_sources(document)
    except (FormatError, msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise FormatError(f"{one_line(exc)}; generate again", file=str(tree.path / "schema.json")) from exc
    _compare(tree, files)
    return files


def write_tree(files: Mapping[str, str], directory: Path) -> None:
    """Write what was rendered where clang reads it, out of reach of whoever may change the sources meanwhile."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())


def _compare(tree: SourceTree, files: Mapping[str, str]) -> None:
    rendered = {name: digest_of(text.encode()) for name, text in files.items()}
    held = {source.file: source.digest for source in tree.sources} | dict(tree.headers)
    for name in sorted(rendered.keys() | held.keys()):
        if rendered.get(name) != held.get(name):
            raise FormatError(f"is not what generate renders from the schema; {ANEW}", file=str(tree.path / name))
