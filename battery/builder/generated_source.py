"""What ``traceleft generate`` wrote, read: sources, headers, and the schema that they were made from."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from traceleft.battery.manifest import (
    ByteOrder,
    Digest,
    EventName,
    Identifier,
    Line,
    ReleaseName,
    canonical,
    digest_of,
    one_line,
)
from traceleft.battery.store import SCHEMA_BYTES_MAX
from traceleft.document import read_regular
from traceleft.errors import FormatError

MARK: Final = ".traceleft-generated"
CORE: Final = "core"
CORE_FILE: Final = "core.c"
HEADERS: Final = "include"
SOURCE_BYTES_MAX: Final = 4 << 20

Offset = Annotated[int, Meta(ge=0, le=0xFFFF)]


class Slot(Struct, frozen=True):
    """A slot of a record, as the schema lays it out."""

    name: Identifier
    offset: Offset


class Layout(Struct, frozen=True):
    """The fixed part of a record, as the schema lays it out."""

    fixed_size: Offset
    args: Annotated[int, Meta(ge=0, le=1024)]
    slots: Annotated[tuple[Slot, ...], Meta(max_length=1024)]
    digest: Digest


class _Event(Struct, frozen=True):
    layout: Layout
    borrowed: bool = False


class _Schema(Struct, frozen=True):
    schema: Literal[1]
    machine: Identifier
    byte_order: ByteOrder
    release: ReleaseName
    events: dict[EventName, _Event]
    notices: tuple[Line, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One C file. ``layout`` is None for the core, which emits nothing."""

    event: str
    file: str
    digest: str
    layout: Layout | None

    @property
    def identifier(self) -> str:
        """The event's name as C spells it."""
        return identifier(self.event)


@dataclass(frozen=True, slots=True)
class SourceTree:
    """A directory that ``traceleft generate`` wrote; ``headers`` has the digest of each header by name."""

    path: Path
    release: str
    machine: str
    byte_order: ByteOrder
    schema: bytes
    headers: Mapping[str, str]
    sources: tuple[SourceFile, ...]
    borrowed: tuple[str, ...]
    notices: tuple[str, ...]

    @property
    def shared(self) -> str:
        """The digest of all headers."""
        return digest_of(canonical(dict(self.headers)))


def identifier(event: str) -> str:
    """Return an event's name as C spells it."""
    return event.replace(":", "_").replace("-", "_")


def source_file(event: str) -> str:
    """Return the name of an event's C file."""
    return f"{event}.bpf.c"


def read_sources(path: Path) -> SourceTree:
    """Read what ``traceleft generate`` wrote. Raises FormatError for any other directory."""
    if not path.is_dir():
        raise FormatError("no such directory; make it with: traceleft generate -o DIR", file=str(path))
    if not (path / MARK).is_file():
        raise FormatError("traceleft generate did not make this directory; give it one that it made", file=str(path))
    data = _read(path, "schema.json", SCHEMA_BYTES_MAX)
    schema = _parse_schema(data, path)
    return SourceTree(
        path=path,
        release=schema.release,
        machine=schema.machine,
        byte_order=schema.byte_order,
        schema=data,
        headers=_digest_headers(path),
        sources=tuple(_sources(path, schema)),
        borrowed=tuple(sorted(name for name, event in schema.events.items() if event.borrowed)),
        notices=schema.notices,
    )


def _parse_schema(data: bytes, path: Path) -> _Schema:
    try:
        return msgspec.json.decode(data, type=_Schema)
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise FormatError(f"{one_line(exc)}; generate again", file=str(path / "schema.json")) from exc


def _sources(path: Path, schema: _Schema) -> list[SourceFile]:
    events = {name: event.layout for name, event in sorted(schema.events.items())}
    files = {CORE: CORE_FILE, **{name: source_file(name) for name in events}}
    digests = {file: digest_of(_read(path, file, SOURCE_BYTES_MAX)) for file in files.values()}
    return [SourceFile(name, file, digests[file], events.get(name)) for name, file in files.items()]


def _digest_headers(path: Path) -> dict[str, str]:
    directory = path / HEADERS
    names = sorted(f"{HEADERS}/{name}" for name in os.listdir(directory)) if directory.is_dir() else []
    return {name: digest_of(_read(path, name, SOURCE_BYTES_MAX)) for name in names}


def _read(path: Path, name: str, limit: int) -> bytes:
    try:
        return read_regular(path / name, limit)
    except FormatError as exc:
        raise FormatError(f"{exc}; generate again") from exc
