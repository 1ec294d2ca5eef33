"""ELF files of functions, as a linker would write them, or as nobody would."""

import struct
import zlib
from collections.abc import Sequence
from typing import Final

BASE: Final = 0x400000
TEXT_AT: Final = 0x1000
PT_LOAD, SHT_SYMTAB, SHT_STRTAB, SHT_NOTE, SHT_PROGBITS, SHT_DYNSYM = 1, 2, 3, 7, 1, 11
FUNCTION: Final = 2

Function = tuple[str | bytes, int, int]
"""Name, place in the file, size."""


def make_elf(
    functions: Sequence[Function],
    *,
    build_id: bytes = b"",
    link: bytes = b"",
    packed: bytes = b"",
    kind: int = SHT_SYMTAB,
    shared_name: bytes | None = None,
    symbol_type: int = FUNCTION,
) -> bytes:
    """Return a file of 64 bits whose functions are at these places; ``shared_name``: all have this one."""
    strings, symbols = bytearray(b"\0"), bytearray(24)
    if shared_name is not None:
        strings += shared_name + b"\0"
    for name, place, size in functions:
        at = 1 if shared_name is not None else len(strings)
        if shared_name is None:
            strings += (name.encode() if isinstance(name, str) else name) + b"\0"
        symbols += struct.pack("<IBBHQQ", at, 0x10 | symbol_type, 0, 1, BASE + place, size)
    note = struct.pack("<III4s", 4, len(build_id), 3, b"GNU\0") + build_id + bytes(-len(build_id) % 4)
    sections = [
        (b"", 0, b"", 0),
        (b".symtab" if kind == SHT_SYMTAB else b".dynsym", kind, bytes(symbols), 2),
        (b".strtab", SHT_STRTAB, bytes(strings), 0),
        *([(b".note.gnu.build-id", SHT_NOTE, note, 0)] if build_id else []),
        *([(b".gnu_debuglink", SHT_PROGBITS, link, 0)] if link else []),
        *([(b".gnu_debugdata", SHT_PROGBITS, packed, 0)] if packed else []),
    ]
    return _put_together(sections)


def make_link(name: bytes, target: bytes) -> bytes:
    """Return the section .gnu_debuglink for a file of debug information."""
    padded = name + b"\0" + bytes(-(len(name) + 1) % 4)
    return padded + zlib.crc32(target).to_bytes(4, "little")


def _put_together(sections: Sequence[tuple[bytes, int, bytes, int]]) -> bytes:
    names = bytearray(b"\0")
    body, rows = bytearray(), []
    for name, kind, data, link in [*sections, (b".shstrtab", SHT_STRTAB, b"", 0)]:
        place = len(names)
        names += name + b"\0"
        content = bytes(names) if name == b".shstrtab" else data
        rows.append(struct.pack("<IIQQQQIIQQ", place, kind, 0, 0, 64 + 56 + len(body), len(content), link, 0, 1, 0))
        body += content
    segment = struct.pack("<IIQQQQQQ", PT_LOAD, 5, 0, BASE, BASE, 1 << 32, 1 << 32, 0x1000)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack(
        "<HHIQQQIHHHHHH", 2, 62, 1, BASE, 64, 64 + 56 + len(body), 0, 64, 56, 1, 64, len(rows), len(rows) - 1
    )
    return header + segment + bytes(body) + b"".join(rows)
