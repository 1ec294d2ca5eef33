"""How a record is laid out: the one table of its header, slots and flags (docs/reference/schema.md, section 2).

The generator renders the programs' C from it, ``scripts/make_record_header.py`` the native module's.
"""

import struct
from dataclasses import dataclass
from typing import Final

# A type by what the programs' C, the native module's C, and ``struct`` call it.
_TYPES: Final = {
    "u16": ("__u16", "uint16_t", "H"),
    "u32": ("__u32", "uint32_t", "I"),
    "u64": ("__u64", "uint64_t", "Q"),
    "s32": ("__s32", "int32_t", "i"),
    "s64": ("__s64", "int64_t", "q"),
    "char": ("char", "char", "s"),
}


@dataclass(frozen=True, slots=True)
class RecordField:
    """One member of a part of a record; ``column`` is the name that numpy and Arrow have for it.

    ``rank`` is its place in an unpacked part, ``offset`` the one in bytes; ``count`` tells how many characters it has.
    """

    name: str
    type: str
    count: int
    column: str
    rank: int
    offset: int

    @property
    def code(self) -> str:
        """The field's format for ``struct``."""
        return f"{self.count}s" if self.type == "char" else _TYPES[self.type][2]

    @property
    def size(self) -> int:
        """The field's bytes."""
        return struct.calcsize(f"={self.code}")

    @property
    def column_type(self) -> str:
        """The field's type for numpy, without its byte order."""
        return f"{'S' if self.type == 'char' else self.type[0].replace('s', 'i')}{self.size}"

    @property
    def in_programs(self) -> str:
        """The member as the programs' C declares it."""
        return f"{_TYPES[self.type][0]} {self._declarator}"

    @property
    def in_native(self) -> str:
        """The member as the native module's C declares it."""
        return f"{_TYPES[self.type][1]} {self._declarator}"

    @property
    def _declarator(self) -> str:
        return f"{self.name}[{self.count}]" if self.type == "char" else self.name


@dataclass(frozen=True, slots=True)
class RecordPart:
    """A part of a record: fields without a gap between them."""

    fields: tuple[RecordField, ...]

    def __getitem__(self, name: str) -> RecordField:
        """Return a field by its name in C; ``KeyError`` if there is no such field."""
        return {field.name: field for field in self.fields}[name]

    @property
    def codes(self) -> str:
        """The whole part for ``struct``, without a byte order."""
        return "".join(field.code for field in self.fields)

    @property
    def size(self) -> int:
        """The part's bytes."""
        return struct.calcsize(f"={self.codes}")

    def picker(self, *names: str) -> struct.Struct:
        """Return what unpacks these fields, in their order here, from a part in this machine's byte order."""
        codes, end = [], 0
        for field in self.fields:
            if field.name in names:
                codes.append(f"{field.offset - end}x{field.code}")
                end = field.offset + field.size
        return struct.Struct("=" + "".join(codes))


def _lay_out(*rows: tuple[str, str] | tuple[str, str, str]) -> RecordPart:
    """Make a part of names, types and columns; a column is named like its field where no other name is given."""
    fields: list[RecordField] = []
    for name, type_, *column in rows:
        kind, _, count = type_.rstrip("]").partition("[")
        offset = fields[-1].offset + fields[-1].size if fields else 0
        fields.append(RecordField(name, kind, int(count or 1), column[0] if column else name, len(fields), offset))
    return RecordPart(tuple(fields))


HEADER: Final = _lay_out(
    ("length", "u32"),
    ("event", "u16", "event_id"),
    ("flags", "u16", "record_flags"),
    ("timestamp", "u64"),
    ("seq", "u32"),
    ("cpu", "u32"),
    ("tgid", "u32", "pid"),
    ("tid", "u32"),
    ("uid", "u32"),
    ("gid", "u32"),
    ("cgroup_id", "u64"),
    ("ret", "s64"),
    ("duration", "u64", "duration_ns"),
    ("comm", "char[16]"),
)
SLOT: Final = _lay_out(("offset", "u16"), ("length", "u16"), ("status", "s32"))
STACK_IDS: Final = _lay_out(("kernel", "s64"), ("user", "s64"))
"""The first of a record's tail where it has the flag STACKS."""

HEADER_BYTES: Final = HEADER.size
WORD_BYTES: Final = 8
SLOT_BYTES: Final = SLOT.size
STACK_IDS_BYTES: Final = STACK_IDS.size
HEADER_COLUMNS: Final = tuple((field.column, field.column_type, field.offset) for field in HEADER.fields)
"""Names, types and offsets of the header's columns; ``timestamp`` is the record's own clock."""

# Flags of a record. Of slot i, one of the first four, SUBSTITUTE << i: what was read is the new image's.
NO_RETURN, NEW_STACK, CLASS_1, DURATION, UNFINISHED, UNSETTLED, STACKS, COUNTED = 1, 2, 4, 8, 16, 32, 64, 128
SUBSTITUTE: Final = 256
SUBSTITUTES: Final = 0xF * SUBSTITUTE
# A slot's status where it is neither a true length nor -errno.
STATUS_LONGER: Final = 0x7FFFFFFF
STATUS_NOT_READ: Final = -1000
# Bits of a slot's length in a record that is UNSETTLED, and those that remain for the length.
LENGTH_IS_TEXT, LENGTH_IS_CHUNKS, LENGTH_MASK = 0x4000, 0x8000, 0x3FFF


def slots_offset(args: int) -> int:
    """Return where the slots of a record with so many arguments begin."""
    return HEADER_BYTES + WORD_BYTES * args
