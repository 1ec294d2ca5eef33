"""An initial RAM disk: a cpio archive as every kernel unpacks it (newc), not compressed.

Which compressions a kernel has is its configuration; no compression needs none.
"""

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

END: Final = "TRAILER!!!"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of an image: its bytes, or where they are; a device has numbers instead."""

    data: bytes | Path = b""
    mode: int = stat.S_IFREG | 0o644
    device: tuple[int, int] = (0, 0)


def write_image(file: IO[bytes], entries: Mapping[str, Entry]) -> None:
    """Write an archive of entries by name and the directories they need; the same entries give the same bytes."""
    directories = {str(parent) for name in entries for parent in Path(name).parents if str(parent) != "."}
    every = dict.fromkeys(directories, Entry(mode=stat.S_IFDIR | 0o755)) | dict(entries)
    for number, name in enumerate(sorted(every), start=1):
        entry = every[name]
        data = entry.data if isinstance(entry.data, bytes) else entry.data.read_bytes()
        file.write(_header(number, name, len(data), mode=entry.mode, device=entry.device))
        file.write(data + bytes(-len(data) % 4))
    file.write(_header(0, END, 0))


def _header(number: int, name: str, size: int, *, mode: int = 0, device: tuple[int, int] = (0, 0)) -> bytes:
    """Return a file's header: number, mode, uid, gid, links, mtime, size, two device numbers, name's length, 0."""
    raw = name.encode() + b"\0"
    words = (number, mode, 0, 0, 1, 0, size, 0, 0, *device, len(raw), 0)
    header = b"070701" + b"".join(b"%08X" % word for word in words) + raw
    return header + bytes(-len(header) % 4)
