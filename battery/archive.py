"""Batteries as one file: packed so that the same battery gives the same bytes, unpacked as from a stranger."""

import io
import lzma
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from traceleft.battery.manifest import MANIFEST_BYTES_MAX, OBJECT_BYTES_MAX, one_line
from traceleft.battery.signature import FILE as SIGNATURE
from traceleft.battery.signature import SIGNATURE_BYTES_MAX
from traceleft.battery.store import SCHEMA_BYTES_MAX, Battery, describe, is_full, read_file
from traceleft.battery.verify import named_files, verify_battery
from traceleft.errors import BatteryError

BLOCK_BYTES: Final = 512
# What an archive may become: bytes in all, files, and how much more than what was read so far.
TOTAL_BYTES_MAX: Final = 2 << 30
FILES_MAX: Final = 100_000
RATIO_MAX: Final = 500
RATIO_FREE_BYTES: Final = 4 << 20
READ_BYTES: Final = 64 << 10
CHUNK_BYTES: Final = 1 << 20
# A dictionary of 64 MiB is xz's largest preset.
MEMORY_BYTES_MAX: Final = 128 << 20
PRESET: Final = 6
NAMES: Final = (
    (re.compile(r"manifest\.json", re.ASCII), MANIFEST_BYTES_MAX),
    (re.compile(r"manifest\.sig", re.ASCII), SIGNATURE_BYTES_MAX),
    (re.compile(r"objects/[0-9a-f]{2}/[0-9a-f]{62}\.o", re.ASCII), OBJECT_BYTES_MAX),
    (re.compile(r"schemas/[0-9a-f]{64}\.json", re.ASCII), SCHEMA_BYTES_MAX),
)
Check = Callable[[Battery], object]


def pack_battery(path: Path, output: Path) -> int:
    """Pack a battery that verifies into one file, which appears whole or not at all; return its size in bytes.

    The file is a tar archive in xz: names sorted, no times, owners or modes but 0644.
    """
    battery = verify_battery(path)
    files = sorted(named_files(battery) | ({path / SIGNATURE} if (path / SIGNATURE).exists() else set()))
    try:
        with _replacing(output) as passing:
            with lzma.open(passing, "wb", format=lzma.FORMAT_XZ, check=lzma.CHECK_SHA256, preset=PRESET) as packed:
                for each in files:
                    packed.write(_member(str(each.relative_to(path)), read_file(each, SCHEMA_BYTES_MAX)))
                packed.write(bytes(2 * BLOCK_BYTES))
            return passing.stat().st_size
    except OSError as exc:
        raise BatteryError(describe(exc), path=str(output)) from exc


def unpack_battery(archive: Path, directory: Path, *, check: Check | None = None) -> Battery:
    """Unpack an archive, made by anyone, into a directory that is not there yet or is empty; return the battery.

    Nothing appears there unless the whole of it verifies, and passes ``check``. Raises BatteryError, of one line.
    """
    directory = directory.absolute()
    try:
        if directory.is_symlink() or (directory.exists() and (not directory.is_dir() or any(directory.iterdir()))):
            raise BatteryError("is there already, and not empty; name another directory", path=str(directory))
        with _working_next_to(directory) as work:
            try:
                _extract(archive, work)
                battery = verify_battery(work)
                if check is not None:
                    check(battery)
            except BatteryError as exc:
                message = str(exc).removeprefix(f"{work}: ").replace(f"{work}/", "")
                raise BatteryError(message, path=str(archive)) from exc
            work.chmod(0o755)
            os.replace(work, directory)
    except OSError as exc:
        place = directory if is_full(exc) else exc.filename or directory
        raise BatteryError(describe(exc), path=str(place)) from exc
    return Battery.read(directory)


@contextmanager
def _working_next_to(directory: Path) -> Iterator[Path]:
    """Yield a directory next to another one; it is gone afterwards, as are parents that were made for nothing."""
    missing = [each for each in directory.parents if not each.exists()]
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)
    finally:
        for each in missing:
            with suppress(OSError):
                each.rmdir()


def _member(name: str, data: bytes) -> bytes:
    """Return a file as it lies in the archive."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644
    return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % BLOCK_BYTES)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Yield a file next to ``path`` that takes its place when all went well, and is gone when not."""
    fd, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.absolute().parent)
    os.close(fd)
    passing = Path(name)
    try:
        yield passing
        mask = os.umask(0)
        os.umask(mask)
        passing.chmod(0o666 & ~mask)
        os.replace(passing, path)
    finally:
        passing.unlink(missing_ok=True)


def _extract(archive: Path, work: Path) -> None:
    """Write an archive's files below a directory: plain files of a battery's names only, each once."""
    seen: set[str] = set()
    with open(archive, "rb") as file:
        content = _Content(file)
        while (header := content.read(BLOCK_BYTES)) != bytes(BLOCK_BYTES):
            info = _read_header(header)
            limit = _limit(info.name)
            if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
                raise BatteryError(f"{one_line(info.name)}: not a plain file; not packed by traceleft")
            if not 0 <= info.size <= limit:
                raise BatteryError(f"{info.name}: larger than {limit} bytes; not packed by traceleft")
            if info.name in seen or len(seen) >= FILES_MAX:
                raise BatteryError(f"{info.name}: there twice, or too many files; not packed by traceleft")
            seen.add(info.name)
            data = content.read(info.size)
            content.read(-info.size % BLOCK_BYTES)
            _write(work / info.name, data)
        content.end()


def _read_header(header: bytes) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(header, "ascii", "strict")
    except (tarfile.TarError, ValueError) as exc:
        raise BatteryError(f"no tar archive of traceleft: {one_line(exc)}") from exc


def _limit(name: str) -> int:
    """Return how large a file of this name may be; one that no battery has is refused, wherever it would lead."""
    limit = next((limit for pattern, limit in NAMES if pattern.fullmatch(name)), None)
    if limit is None:
        raise BatteryError(f"{one_line(name)!a}: not a file of a battery; not packed by traceleft")
    return limit


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    with open(path, "xb") as file:
        file.write(data)
        os.fchmod(file.fileno(), 0o644)


class _Content:
    """What an xz file holds, never more of it than was asked for, and never out of proportion to what was read."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self._decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY_BYTES_MAX)
        self._held = bytearray()
        self._read_bytes = 0
        self._made_bytes = 0

    def read(self, size: int) -> bytes:
        """Return exactly so many bytes."""
        while len(self._held) < size:
            if not self._more(max(size - len(self._held), BLOCK_BYTES)):
                raise BatteryError("the archive is cut short")
        data = bytes(self._held[:size])
        del self._held[:size]
        return data

    def end(self) -> None:
        """Make sure that nothing but padding follows."""
        while True:
            if any(self._held):
                raise BatteryError("something follows the archive's end; not packed by traceleft")
            self._held.clear()
            if not self._more(CHUNK_BYTES):
                break
        if self._decompressor.unused_data or self._file.read(1):
            raise BatteryError("something follows the archive's end; not packed by traceleft")

    def _more(self, size: int) -> bool:
        """Decompress some more; return whether there was any."""
        if self._decompressor.eof:
            return False
        fed = b""
        if self._decompressor.needs_input:
            fed = self._file.read(READ_BYTES)
            self._read_bytes += len(fed)
            if not fed:
                raise BatteryError("the archive is cut short")
        try:
            made = self._decompressor.decompress(fed, max_length=min(size, CHUNK_BYTES))
        except (lzma.LZMAError, EOFError) as exc:
            raise BatteryError(f"no xz file that can be read: {one_line(exc)}") from exc
        self._made_bytes += len(made)
        if self._made_bytes > min(TOTAL_BYTES_MAX, RATIO_FREE_BYTES + RATIO_MAX * self._read_bytes):
            raise BatteryError("unpacks to far more than it was packed from; not packed by traceleft")
        self._held += made
        return bool(made) or not self._decompressor.eof
