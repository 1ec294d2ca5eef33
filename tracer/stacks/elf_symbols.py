"""The functions of an ELF file that a stranger may have written.

Every number of it is held against a bound before it is used, nothing is read before it is needed, and names are read
one by one as they are shown: a file of few functions may have names of gigabytes. ``read(offset, size)`` returns the
file's bytes, fewer at its end. See elf(5).
"""

import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from traceleft.tracer.stacks.places import Place, Places, pack

Read = Callable[[int, int], bytes]

SECTIONS_MAX: Final = 1 << 16
SEGMENTS_MAX: Final = 1 << 12
# Of one file, functions and all else.
SYMBOLS_MAX: Final = 1 << 21
NAME_MAX: Final = 4096
NOTE_MAX: Final = 1 << 16
# What lies compressed within a file, and what that may become.
PACKED_MAX: Final = 16 << 20
UNPACKED_MAX: Final = 64 << 20
CHUNK: Final = 1 << 20

PT_LOAD: Final = 1
PF_X: Final = 1
SHT_SYMTAB, SHT_NOTE, SHT_DYNSYM = 2, 7, 11
STT_FUNC, STT_GNU_IFUNC = 2, 10
NT_GNU_BUILD_ID: Final = 3


@dataclass(frozen=True, slots=True)
class _Class:
    """How files of 32 or of 64 bits lay out what is read of them."""

    header: struct.Struct
    segment: struct.Struct
    section: struct.Struct
    symbol: struct.Struct
    # Whether it has 64 bits: its program headers and symbols have their members in another order.
    is_wide: bool


_WIDE: Final = _Class(
    struct.Struct("<16xHHIQQQIHHHHHH"),
    struct.Struct("<IIQQQQQQ"),
    struct.Struct("<IIQQQQIIQQ"),
    struct.Struct("<IBBHQQ"),
    True,
)
_NARROW: Final = _Class(
    struct.Struct("<16xHHIIIIIHHHHHH"),
    struct.Struct("<IIIIIIII"),
    struct.Struct("<IIIIIIIIII"),
    struct.Struct("<IIIBBH"),
    False,
)


class ElfError(Exception):
    """It is no ELF file whose functions could be read."""


@dataclass(frozen=True, slots=True)
class Section:
    """A section's place in the file; ``name`` is where its name begins among all names, ``link`` another section."""

    name: int
    kind: int
    offset: int
    size: int
    link: int


@dataclass(frozen=True, slots=True)
class Segment:
    """So many bytes from an offset in the file, the address at which they are, and whether they are code."""

    offset: int
    size: int
    address: int
    is_code: bool = True


@dataclass(frozen=True, slots=True)
class DebugLink:
    """The name of the file that a file's debug information was moved to, and that file's checksum."""

    name: str
    checksum: int


class ElfFile:
    """What is read of an ELF file; ElfError for any other file."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._class = _class_of(read(0, 16))
        header = self._unpack(self._class.header, 0)
        (
            _,
            _,
            _,
            _,
            segments_at,
            sections_at,
            _,
            _,
            segment_size,
            segment_count,
            section_size,
            section_count,
            names,
        ) = header
        self.segments = list(self._load_segments(segments_at, segment_size, segment_count))
        self.sections = list(self._load_sections(sections_at, section_size, section_count))
        self._names = self.sections[names] if names < len(self.sections) else None

    @property
    def build_id(self) -> bytes | None:
        """What tells this build from others, None without one."""
        for section in self.sections:
            if section.kind == SHT_NOTE:
                found = _find_build_id(self._read(section.offset, min(section.size, NOTE_MAX)))
                if found is not None:
                    return found
        return None

    @property
    def debug_link(self) -> DebugLink | None:
        """Where its debug information is, as it says itself."""
        section = self.find_section(b".gnu_debuglink")
        data = b"" if section is None else self._read(section.offset, min(section.size, NAME_MAX))
        name, end, _ = data.partition(b"\0")
        checksum = data[len(name) + 4 & ~3 :][:4]
        if not end or not name or b"/" in name or len(checksum) != 4:
            return None
        return DebugLink(name.decode(errors="surrogateescape"), int.from_bytes(checksum, "little"))

    @property
    def has_all_symbols(self) -> bool:
        """Whether it was not stripped."""
        return any(section.kind == SHT_SYMTAB for section in self.sections)

    def find_section(self, name: bytes) -> Section | None:
        """Return the section of a name."""
        if self._names is None:
            return None
        wanted = name + b"\0"
        start = self._names.offset
        return next((each for each in self.sections if self._read(start + each.name, len(wanted)) == wanted), None)

    def functions(self) -> Iterator[tuple[int, int, int]]:
        """Yield address, size and the place of its name in the file for each function among the first symbols."""
        left = SYMBOLS_MAX
        for section in self.sections:
            if section.kind in (SHT_SYMTAB, SHT_DYNSYM) and section.link < len(self.sections):
                names = self.sections[section.link]
                count = min(section.size // self._class.symbol.size, left)
                left -= count
                for address, size, name in self._symbols(section, count):
                    if name < names.size:
                        yield address, size, names.offset + name

    def name_at(self, offset: int) -> str:
        """Return the name that begins at a place of the file, cut where it is too long."""
        data = self._read(offset, NAME_MAX + 1)
        name = data.partition(b"\0")[0]
        text = name[:NAME_MAX].decode(errors="backslashreplace")
        return text if len(name) <= NAME_MAX else f"{text[: NAME_MAX - 1]}…"

    def unpacked(self) -> "ElfFile | None":
        """Return the file of symbols that lies compressed within this one (.gnu_debugdata), None without one."""
        section = self.find_section(b".gnu_debugdata")
        if section is None or section.size > PACKED_MAX:
            return None
        try:
            data = lzma.LZMADecompressor(memlimit=UNPACKED_MAX).decompress(
                self._read(section.offset, section.size), UNPACKED_MAX
            )
            return ElfFile(lambda offset, size: data[offset : offset + size])
        except (lzma.LZMAError, EOFError, ElfError):
            return None

    def _symbols(self, section: Section, count: int) -> Iterator[tuple[int, int, int]]:
        layout = self._class.symbol
        step = CHUNK // layout.size * layout.size
        for at in range(0, count * layout.size, step):
            data = self._read(section.offset + at, min(step, count * layout.size - at))
            if not data:
                return
            for fields in layout.iter_unpack(data[: len(data) // layout.size * layout.size]):
                name, kind, address, size = (
                    (fields[0], fields[1], fields[4], fields[5])
                    if self._class.is_wide
                    else (fields[0], fields[3], fields[1], fields[2])
                )
                if kind & 15 in (STT_FUNC, STT_GNU_IFUNC) and name and address:
                    yield address, size, name

    def _load_segments(self, at: int, size: int, count: int) -> Iterator[Segment]:
        layout = self._class.segment
        for rank in range(min(count, SEGMENTS_MAX) if size == layout.size else 0):
            fields = self._unpack(layout, at + rank * size)
            offset, address, length, flags = (
                (fields[2], fields[3], fields[5], fields[1])
                if self._class.is_wide
                else (fields[1], fields[2], fields[4], fields[6])
            )
            if fields[0] == PT_LOAD:
                yield Segment(offset, length, address, bool(flags & PF_X))

    def _load_sections(self, at: int, size: int, count: int) -> Iterator[Section]:
        layout = self._class.section
        if not at or size != layout.size:
            return
        data = self._read(at, min(count, SECTIONS_MAX) * size)
        for fields in layout.iter_unpack(data[: len(data) // size * size]):
            yield Section(fields[0], fields[1], fields[4], fields[5], fields[6])

    def _unpack(self, layout: struct.Struct, at: int) -> tuple[int, ...]:
        data = self._read(at, layout.size)
        if len(data) != layout.size:
            raise ElfError("it ends too early")
        return layout.unpack(data)


class ElfSymbols:
    """The functions of a file, with those of the file of its debug information once that is there."""

    def __init__(self, file: ElfFile) -> None:
        # Others may hold the same bytes of the file, at another address.
        self._segments = [each for each in file.segments if each.is_code] or file.segments
        self._files = [file]
        self._places: list[Places] = []
        if (packed := file.unpacked()) is not None:
            self._files.append(packed)

    def add(self, file: ElfFile) -> None:
        """Take the functions of a file of debug information as well."""
        self._files.append(file)
        self._places.clear()

    def find(self, place: int) -> Place | None:
        """Name a place in the file."""
        if not self._places:
            self._places = [_places_of(file) for file in self._files]
        for segment in self._segments:
            if segment.offset <= place < segment.offset + segment.size:
                address = place - segment.offset + segment.address
                found = [each for each in (places.find(address) for places in self._places) if each is not None]
                # The nearest: a file of debug information has more functions than a file that was stripped.
                return min(found, key=lambda each: each[1]) if found else None
        return None


def matches(debug: ElfFile, read: Read, *, build_id: bytes | None, checksum: int | None) -> bool:
    """Tell whether a file of debug information belongs to a file with this build id, or this checksum in its link."""
    if build_id is not None and debug.build_id is not None:
        return debug.build_id == build_id
    return checksum is not None and _checksum(read) == checksum


def _checksum(read: Read) -> int:
    value = at = 0
    while data := read(at, CHUNK):
        value = zlib.crc32(data, value)
        at += len(data)
    return value


def _places_of(file: ElfFile) -> Places:
    # A name's place in its file may take more than 32 bits: what lies beyond is left out.
    found = (pack(start, size, name) for start, size, name in file.functions() if name >> 32 == 0)
    return Places(found, file.name_at)


def _class_of(ident: bytes) -> _Class:
    if ident[:4] != b"\x7fELF" or len(ident) < 16 or ident[5] != 1 or ident[4] not in (1, 2):
        raise ElfError("it is not an ELF file of this byte order")
    return _WIDE if ident[4] == 2 else _NARROW


def _find_build_id(data: bytes) -> bytes | None:
    at = 0
    while at + 12 <= len(data):
        name_size, size, kind = struct.unpack_from("<III", data, at)
        name_end = at + 12 + (name_size + 3 & ~3)
        if kind == NT_GNU_BUILD_ID and data[at + 12 : at + 12 + name_size] == b"GNU\0":
            found = data[name_end : name_end + size]
            return found if 2 <= size <= 64 and len(found) == size else None
        at = name_end + (size + 3 & ~3)
    return None
