"""Kernel images for x86_64: which files are such images, and what they call themselves.

The header is that of Documentation/arch/x86/boot.rst.
"""

import struct
from pathlib import Path
from typing import Final

from traceleft.battery.manifest import one_line
from traceleft.battery.store import describe, natural_key, read_file
from traceleft.errors import UnsupportedError

IMAGE_NAMES: Final = ("vmlinuz*", "bzImage*")
IMAGE_BYTES_MAX: Final = 256 << 20
HEADER_BYTES: Final = 0x238
MAGIC: Final = (0x202, b"HdrS")
VERSION_AT: Final = 0x206
# Where the text of the version lies, from 0x200 on.
RELEASE_AT: Final = 0x20E
RELEASE_BASE: Final = 0x200
RELEASE_BYTES_MAX: Final = 128
# xloadflags, from version 2.12 of the header on (Linux 3.8): bit 0 marks a kernel of 64 bits.
FLAGS_AT: Final = 0x236
FLAGS_SINCE: Final = 0x20C
FLAG_64: Final = 1


def read_kernel(path: Path) -> bytes:
    """Return a kernel's image; UnsupportedError for a file that cannot be booted as one."""
    try:
        data = read_file(path.resolve(), IMAGE_BYTES_MAX)
    except OSError as exc:
        raise UnsupportedError(one_line(path), f"the kernel cannot be read: {describe(exc)}") from exc
    start, magic = MAGIC
    if len(data) > IMAGE_BYTES_MAX or len(data) < HEADER_BYTES or data[start : start + len(magic)] != magic:
        raise UnsupportedError(one_line(path), "is not a kernel for x86_64: give a bzImage, such as /boot/vmlinuz-*")
    if _number(data, VERSION_AT) >= FLAGS_SINCE and not _number(data, FLAGS_AT) & FLAG_64:
        raise UnsupportedError(one_line(path), "is a kernel of 32 bits; give one for x86_64")
    return data


def find_images(directory: Path) -> dict[str, Path]:
    """Return the kernels for x86_64 in a directory and below by the releases that they state, the oldest first.

    UnsupportedError where there is none, or two state the same release.
    """
    paths = {path.resolve() for name in IMAGE_NAMES for path in directory.rglob(name) if path.is_file()}
    found: dict[str, Path] = {}
    for path in sorted(paths):
        try:
            release = release_of(read_kernel(path))
        except UnsupportedError:
            # Other files have such names as well: a linker script, an image for another machine.
            continue
        if release in found:
            raise UnsupportedError(one_line(path), f"has the same release as {one_line(found[release])}: {release}")
        found[release] = path
    if not found:
        raise UnsupportedError(one_line(directory), f"holds no kernel for x86_64 ({' or '.join(IMAGE_NAMES)})")
    return dict(sorted(found.items(), key=lambda item: natural_key(item[0])))


def release_of(image: bytes) -> str:
    """Return the release that an image states, as ``uname -r`` shows it; nothing if it states none."""
    offset = _number(image, RELEASE_AT)
    text = image[RELEASE_BASE + offset :][:RELEASE_BYTES_MAX] if offset else b""
    return text.partition(b"\0")[0].partition(b" ")[0].decode(errors="replace")


def _number(image: bytes, offset: int) -> int:
    (number,) = struct.unpack_from("<H", image, offset)
    return int(number)
