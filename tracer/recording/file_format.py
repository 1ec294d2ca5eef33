"""What a recording is made of: a preamble, then blocks, each with a header and checksums (docs/reference/recording.md).

Nothing here touches a file. What is read comes from elsewhere: every size is held against a bound before it is used.
"""

import hashlib
import struct
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from traceleft.errors import BatteryError
from traceleft.tracer.account.ledger import Figures, Ledger
from traceleft.tracer.decode.texts import from_column
from traceleft.tracer.recording.codec import compress, decompress
from traceleft.tracer.schema.load import load_schema
from traceleft.tracer.schema.name_limits import BLOCK_BYTES_MAX, CGROUP_PATH_MAX, CGROUPS_MAX, TEXT_MAX, cut_line
from traceleft.tracer.schema.select import cut_document
from traceleft.tracer.schema.spec import Schema

VERSION: Final = 1
# A byte that no text begins with, and line ends that a transfer as text would change.
MAGIC: Final = b"\x89traceleft\r\n"
PREAMBLE: Final = struct.Struct("<12sHH")
BLOCK_MAGIC: Final = b"TLbk"
# A frame of bytes that cannot be compressed is larger by three bytes for each 128 KiB, and a head.
STORED_BYTES_MAX: Final = BLOCK_BYTES_MAX + (64 << 10)

HEAD, RECORDS, CGROUPS, END, STACKS = 1, 2, 3, 4, 5
KINDS: Final = {HEAD: "head", RECORDS: "records", CGROUPS: "cgroups", END: "end", STACKS: "stacks"}

_HEADER: Final = struct.Struct("<4sBxxxIIIIQQI")
_CRC: Final = struct.Struct("<I")
HEADER_BYTES: Final = _HEADER.size + _CRC.size
_MORE_FIGURES: Final = ("gaps", "late", "surplus", "overfull", "waits", "stacks_lost", "skipped")
_MAY_BE_NONE: Final = ("overfull", "stacks_lost")

T = TypeVar("T")


class BrokenError(ValueError):
    """Bytes that do not belong to a sound recording; str() says what does not fit."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block's header: ``stored`` bytes lie after it, ``raw`` bytes come out of them.

    The times are those of its first and last record's own clock, 0 without records; ``number`` counts a file's blocks.
    """

    kind: int
    number: int
    stored: int
    raw: int
    records: int = 0
    first_ns: int = 0
    last_ns: int = 0
    checksum: int = 0


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What a recording tells of itself. ``schema`` is the document of its events; see ``make_head``.

    ``command`` says what was traced, "" where all was, or nothing is known, ``directory`` where a command began, ""
    where that is not known; ``offset_ns`` leads from the records' clock
    to the epoch's; ``layouts`` is the digest of how the records are laid out; ``part`` counts the files of a recording
    that was split.
    """

    host: str
    kernel: str
    machine: str
    hook: str
    level: str
    offset_ns: int
    traceleft: str
    layouts: str
    schema: dict[str, Any]
    part: int = 0
    command: str = ""
    directory: str = ""

    def check(self) -> Schema:
        """Return the schema, checked, as all else is; raise ``BrokenError`` that says what does not fit."""
        for name in ("host", "kernel", "machine", "hook", "level", "traceleft", "command", "directory"):
            text = getattr(self, name)
            if len(text) > TEXT_MAX or not text.isprintable():
                raise BrokenError(f"its {name} must be a short text")
        if not 0 <= self.part < 1 << 31 or not -(1 << 63) <= self.offset_ns < 1 << 63:
            raise BrokenError("its part or its clock is out of range")
        try:
            schema = load_schema(self.schema)
        except BatteryError as exc:
            raise BrokenError(str(exc)) from exc
        if digest_layouts(schema) != self.layouts:
            raise BrokenError("its schema is not the one that its records were made by")
        return schema


class End(msgspec.Struct, frozen=True, kw_only=True):
    """The last block: the account of the trace, or that the recording goes on in another file."""

    records: int
    is_continued: bool = False
    ledger: dict[str, Any] | None = None
    more: dict[str, int | None] = {}


def make_head(
    document: bytes | Mapping[str, Any],
    events: Collection[str] | None = None,
    *,
    host: str,
    kernel: str = "",
    hook: str = "",
    level: str = "",
    offset_ns: int = 0,
    command: str = "",
    directory: str = "",
) -> Head:
    """Return the head of a recording of these events of a schema document (of all if none are named).

    Raise BatteryError that names the place when the schema does not hold together.
    """
    from traceleft.version import __version__

    data = document if isinstance(document, bytes) else msgspec.json.encode(document)
    cut = cut_document(data, events)
    schema = load_schema(cut)
    return Head(
        host=cut_line(host),
        kernel=cut_line(kernel or schema.release),
        machine=schema.machine,
        hook=hook,
        level=level,
        offset_ns=offset_ns,
        traceleft=__version__,
        layouts=digest_layouts(schema),
        schema=cut,
        command=cut_line(command),
        directory=directory if directory.isprintable() and len(directory) <= TEXT_MAX else "",
    )


def digest_layouts(schema: Schema) -> str:
    """Return the digest of all that decoding goes by when it takes a record apart."""
    shapes = [
        [
            *(spec.name, spec.id, spec.fixed_size, spec.args_count),
            [[slot.name, slot.offset, slot.at] for slot in spec.slots],
            [[arg.name, arg.index, arg.value.kind, arg.slot, arg.slot_out] for arg in spec.args],
        ]
        for _, spec in sorted(schema.events.items())
    ]
    return f"sha256:{hashlib.sha256(msgspec.json.encode(shapes)).hexdigest()}"


def pack_preamble() -> bytes:
    """Return the first bytes of a file."""
    return PREAMBLE.pack(MAGIC, VERSION, 0)


def read_preamble(data: bytes) -> int:
    """Return the version of a recording that begins so; raise ``BrokenError`` if it is not a recording."""
    if len(data) < PREAMBLE.size or not data.startswith(MAGIC):
        raise BrokenError("is not a recording: make one with: traceleft record -o FILE")
    _, version, rest = PREAMBLE.unpack(data[: PREAMBLE.size])
    if not version or rest:
        raise BrokenError("unsupported recording version")
    return int(version)


def pack_block(kind: int, number: int, data: bytes, *, records: int = 0, first_ns: int = 0, last_ns: int = 0) -> bytes:
    """Return a block that holds these bytes."""
    stored = compress(data)
    head = _HEADER.pack(
        *(BLOCK_MAGIC, kind, number, len(stored), len(data), records, first_ns, last_ns, zlib.crc32(stored))
    )
    return head + _CRC.pack(zlib.crc32(head)) + stored


def read_header(data: bytes) -> Block:
    """Return a block's header; raise ``BrokenError`` if it is invalid, or promises what no block holds."""
    if len(data) != HEADER_BYTES or _CRC.unpack_from(data, _HEADER.size)[0] != zlib.crc32(data[: _HEADER.size]):
        raise BrokenError("the header of a block does not fit its checksum")
    magic, *values = _HEADER.unpack_from(data)
    block = Block(*values)
    if magic != BLOCK_MAGIC or block.kind not in KINDS:
        raise BrokenError("a block of an unknown kind")
    if block.stored > STORED_BYTES_MAX or block.raw > BLOCK_BYTES_MAX:
        raise BrokenError("a block is larger than any may be")
    return block


def unpack_block(block: Block, stored: bytes) -> bytes:
    """Return what a block holds; raise ``BrokenError`` where its bytes are not those that were written."""
    if len(stored) != block.stored or zlib.crc32(stored) != block.checksum:
        raise BrokenError(f"a block of {KINDS[block.kind]} does not fit its checksum")
    try:
        return decompress(stored, block.raw)
    except ValueError as exc:
        raise BrokenError(f"a block of {KINDS[block.kind]} {exc}") from exc


def encode(value: object) -> bytes:
    """Return a head, an end, or names of cgroups as they lie in a block."""
    return msgspec.json.encode(value, order="sorted")


def decode(data: bytes, kind: type[T], what: str) -> T:
    """Return what ``encode`` made; raise ``BrokenError`` for anything else."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise BrokenError(f"its {what} cannot be read") from exc


def read_cgroups(data: bytes) -> dict[int, str]:
    """Return the paths of cgroups by id; raise ``BrokenError`` if the table is invalid."""
    named = decode(data, dict[int, str], "cgroups")
    if len(named) > CGROUPS_MAX or any(
        len(path) > CGROUP_PATH_MAX or not 0 <= number < 1 << 64 for number, path in named.items()
    ):
        raise BrokenError("invalid cgroup table")
    return {number: from_column(path) for number, path in named.items()}


def make_end(records: int, ledger: Ledger | None, *, is_continued: bool = False) -> End:
    """Return the last block's content."""
    if ledger is None:
        return End(records=records, is_continued=is_continued)
    more = {name: getattr(ledger, name) for name in _MORE_FIGURES}
    return End(records=records, is_continued=is_continued, ledger=ledger.to_json(), more=more)


def read_ledger(end: End) -> Ledger | None:
    """Return the ledger in the last block; raise ``BrokenError`` if it is invalid.

    A figure that is not there is one that the writer did not know.
    """
    if end.ledger is None:
        return None
    try:
        if any(end.more.get(name, 0) is None for name in _MORE_FIGURES if name not in _MAY_BE_NONE):
            raise TypeError("figures are integers")
        return Ledger(
            _figures(end.ledger),
            {str(name)[:TEXT_MAX]: _figures(item) for name, item in end.ledger["by_event"].items()},
            {int(cpu): _figures(item) for cpu, item in end.ledger["by_cpu"].items()},
            shed={str(name): float(item["after_s"]) for name, item in end.ledger.get("shed", {}).items()},
            bypassed=_counts(end.ledger.get("bypassed", {})),
            **{name: end.more[name] for name in _MORE_FIGURES if name in end.more},  # type: ignore[arg-type]
        )
    except (LookupError, TypeError, ValueError, AttributeError) as exc:
        raise BrokenError("its ledger cannot be read") from exc


def _counts(item: Mapping[str, Any]) -> dict[str, int]:
    if not all(type(value) is int for value in item.values()):
        raise TypeError("figures are integers")
    return {str(name)[:TEXT_MAX]: value for name, value in item.items()}


def _figures(item: Mapping[str, Any]) -> Figures:
    values = {part.name: item[part.name] for part in fields(Figures) if part.name in item}
    if not all(type(value) is int for value in values.values()):
        raise TypeError("figures are integers")
    return Figures(**values)


def part_path(path: Path, part: int) -> Path:
    """Return the name of one of the files of a recording."""
    return path if not part else path.with_name(f"{path.name}.{part}")
