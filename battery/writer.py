"""Batteries on disk, written: one writer at a time, all or nothing."""

import fcntl
import os
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from traceleft.battery.manifest import MANIFEST_BYTES_MAX, Manifest, dump_manifest, parse_manifest
from traceleft.battery.store import Battery, describe, object_path, read_file, schema_path
from traceleft.errors import BatteryError

WORK: Final = ".building"
SIGNATURE: Final = "manifest.sig"
OURS: Final = frozenset({"manifest.json", SIGNATURE, "objects", "schemas", WORK})


class BatteryWriter:
    """The one writer of a battery, from ``open_writer``. Until ``publish`` returns, readers see what was there."""

    def __init__(self, path: Path, manifest: Manifest | None) -> None:
        self.path = path
        self.manifest = manifest
        self.work = path / WORK
        self._made: list[Path] = []

    def publish(self, manifest: Manifest, *, objects: Mapping[str, bytes], schemas: Mapping[str, bytes]) -> None:
        """Put new objects and schemas in place, then the manifest in one step, then take away what it does not name."""
        try:
            for digest, data in sorted(objects.items()):
                self._place(object_path(self.path, digest), data)
            for digest, data in sorted(schemas.items()):
                self._place(schema_path(self.path, digest), data)
            data = dump_manifest(manifest)
            is_same = _holds(self.path / "manifest.json", data)
            self._place(self.path / "manifest.json", data)
        except BaseException:
            self._take_back()
            raise
        if not is_same:
            # What it was of is gone.
            (self.path / SIGNATURE).unlink(missing_ok=True)
        self.manifest = manifest
        self._made.clear()
        self.sweep()

    def sign(self, signature: bytes) -> None:
        """Put a signature next to the manifest."""
        self._replace(self.path / SIGNATURE, signature)

    def sweep(self) -> None:
        """Take away objects and schemas that the manifest does not name; what resists is left to the next build."""
        if self.manifest is None:
            return
        named = {object_path(self.path, digest) for digest in self.manifest.objects}
        named |= {schema_path(self.path, release.schema) for release in self.manifest.releases.values()}
        for directory, _, files in os.walk(self.path, topdown=False):
            place = Path(directory)
            if place.name == WORK or place == self.path:
                continue
            for name in files:
                if place / name not in named:
                    with suppress(OSError):
                        (place / name).unlink()
            with suppress(OSError):
                place.rmdir()

    def _place(self, path: Path, data: bytes) -> None:
        """Write a part that is named by its digest, unless it is there, whole."""
        if _holds(path, data):
            return
        for directory in (path.parent.parent, path.parent):
            if directory != self.path and not directory.is_dir():
                self._made.append(directory)
                directory.mkdir(mode=0o755)
        if not os.path.lexists(path):
            self._made.append(path)
        self._replace(path, data)

    def _replace(self, path: Path, data: bytes) -> None:
        """Write a file under another name and give it its own when it is whole and on the disk."""
        passing = self.work / "passing"
        with open(passing, "wb") as file:
            file.write(data)
            file.flush()
            if path.parent == self.path:
                os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o644)
        os.replace(passing, path)

    def _take_back(self) -> None:
        for path in reversed(self._made):
            with suppress(OSError):
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


def _holds(path: Path, data: bytes) -> bool:
    with suppress(OSError):
        return read_file(path, len(data)) == data
    return False


@contextmanager
def open_writer(path: Path, *, exists: bool = False) -> Iterator[BatteryWriter]:
    """Open a battery for writing, or begin one, unless it has to exist; wait for whoever else writes it.

    What was begun and not published is taken away again. Raises BatteryError for a directory that is not a battery,
    for one that cannot be read, and for whatever the file system refuses.
    """
    made: list[Path] = []
    lock = -1
    if exists:
        Battery.read(path)
    try:
        lock = _lock(path, made)
        writer = BatteryWriter(path, _read_manifest(path))
        _clear(writer.work)
        writer.work.mkdir(mode=0o700)
        yield writer
    except OSError as exc:
        raise BatteryError(describe(exc), path=str(path)) from exc
    finally:
        with _uninterrupted():
            _leave(path, lock, made)


def _leave(path: Path, lock: int, made: Sequence[Path]) -> None:
    """Take away what served the build only, and let the next one in."""
    if lock >= 0:
        with suppress(OSError):
            _clear(path / WORK)
    for directory in reversed(made):
        # Refused, as it should be, for those that hold a battery now.
        with suppress(OSError):
            directory.rmdir()
    if lock >= 0:
        os.close(lock)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let neither Ctrl-C nor SIGTERM cut short what takes milliseconds and must be done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _lock(path: Path, made: list[Path]) -> int:
    """Make the battery's directory and lock it; ``made`` receives every directory that was made."""
    while True:
        for directory in [*reversed(path.absolute().parents), path]:
            if not directory.is_dir():
                with suppress(FileExistsError):
                    directory.mkdir(mode=0o755)
                    made.append(directory)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            # Whoever held the lock may have taken the directory away, or put another there.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.stat(path), os.fstat(fd)):
                    return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _read_manifest(path: Path) -> Manifest | None:
    file = path / "manifest.json"
    try:
        return parse_manifest(read_file(file, MANIFEST_BYTES_MAX), path=str(file))
    except FileNotFoundError:
        foreign = sorted(set(os.listdir(path)) - OURS)
    if foreign:
        raise BatteryError(f"no battery, and not empty (it has {foreign[0]!a}); name another", path=str(path))
    return None


def _clear(directory: Path) -> None:
    """Remove what an earlier build that was killed may have left."""
    if directory.is_symlink():
        directory.unlink()
    elif directory.exists():
        shutil.rmtree(directory)
