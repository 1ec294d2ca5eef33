"""The sink ``ndjson``: lines of JSON in a file that is rotated by size and time; a line is never split or cut."""

import errno
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from traceleft.aggregator.sinks.sink import Item, SinkError

APPEND: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
# What events hold may be secret.
PRIVATE: Final = 0o600
Sync = Literal["never", "rotate", "always"]
SYNCS: Final[tuple[Sync, ...]] = ("never", "rotate", "always")
"""When a file is made to be on the disk: never, when it is done with, after every write."""


@dataclass(slots=True, kw_only=True)
class NdjsonTarget:
    """Appends to a file. It becomes ``PATH.1``, and that ``PATH.2``, up to ``keep`` of them, before a line would make
    it larger than ``rotate_bytes``, and when another ``every_s`` begins (since the epoch); None: it is not rotated.

    A file that someone else moved away, or that could not be written, is opened anew. ``open`` raises SinkError.
    """

    path: Path
    rotate_bytes: int | None = None
    every_s: int | None = None
    keep: int = 10
    sync: Sync = "rotate"
    clock: Callable[[], float] = time.time
    _fd: int = -1
    _size: int = 0
    _period: int = 0
    _is_regular: bool = True
    _torn: bool = False

    @property
    def pending(self) -> int:
        """None: what is written is in the file."""
        return 0

    def open(self) -> None:
        """Open the file now, so that what is wrong with it is reported before a trace begins."""
        try:
            self._open()
        except OSError as error:
            raise SinkError(f"{self.path}: {(error.strerror or str(error)).lower()}") from error
        if not self._is_regular and (self.rotate_bytes or self.every_s):
            self.close()
            raise SinkError(f"{self.path}: only a regular file can be rotated")

    def write(self, item: Item) -> None:
        """Append an item's lines, rotating between two of them where it is due."""
        try:
            while item.lines():
                self._make_ready()
                self._append(item)
        except OSError:
            self.close()
            raise

    def idle(self) -> None:
        """Rotate a file whose time is over."""
        if self._fd >= 0 and self._is_due():
            self._rotate()

    def finish(self) -> None:
        """Nothing is kept back."""

    def close(self) -> None:
        """Close the file; the next write opens it again."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            try:
                if self.sync != "never":
                    _sync(fd)
            finally:
                os.close(fd)

    def _open(self) -> None:
        # Not waiting for a FIFO's reader: without one this fails.
        fd = os.open(self.path, APPEND, PRIVATE)
        try:
            os.set_blocking(fd, True)
            status = os.fstat(fd)
            self._is_regular = stat.S_ISREG(status.st_mode)
            self._size = status.st_size if self._is_regular else 0
            self._torn = self._size > 0 and not self._ends_a_line()
            self._period = self._period_of(status.st_mtime if self._size else self.clock())
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def _ends_a_line(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def _make_ready(self) -> None:
        if self._fd >= 0 and self._is_regular and self._was_moved():
            self.close()
        if self._fd < 0:
            self._open()
        if self._is_due():
            self._rotate()

    def _was_moved(self) -> bool:
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return True
        return not os.path.samestat(status, os.fstat(self._fd))

    def _append(self, item: Item) -> None:
        """Append as many whole lines as the file may still take, one at least where it is empty."""
        lines = item.lines()
        size = self._fitting(lines)
        if size == 0:
            self._rotate()
            return
        if self._torn:
            # What was there before ends within a line: that one stays as it is, and alone.
            self._write(b"\n", self._size)
            self._torn = False
        # A chunk that fits is not copied.
        self._write(lines if size == len(lines) else lines[:size], self._size, item)

    def _fitting(self, lines: bytes) -> int:
        if self.rotate_bytes is None or self._size + len(lines) <= self.rotate_bytes:
            return len(lines)
        size = lines.rfind(b"\n", 0, max(self.rotate_bytes - self._size, 0)) + 1
        return size or (0 if self._size else lines.index(b"\n") + 1)

    def _write(self, data: bytes, base: int, item: Item | None = None) -> None:
        """Write all of it, or fail with whole lines only in the file, which are then off the item."""
        done, rest = 0, memoryview(data)
        try:
            while done < len(data):
                done += os.write(self._fd, rest[done:])
            if self.sync == "always":
                _sync(self._fd)
        except OSError:
            if self._is_regular:
                done = data.rfind(b"\n", 0, done) + 1
                os.ftruncate(self._fd, base + done)
            raise
        finally:
            self._size += done
            if item is not None:
                item.take_off(done)

    def _is_due(self) -> bool:
        return self.every_s is not None and self._size > 0 and self._period_of(self.clock()) != self._period

    def _period_of(self, time_s: float) -> int:
        return 0 if self.every_s is None else int(time_s // self.every_s)

    def _rotate(self) -> None:
        """Move the files on by one, the oldest away, and begin another."""
        self.close()
        for number in range(self.keep, 1, -1):
            with suppress(FileNotFoundError):
                self._numbered(number - 1).replace(self._numbered(number))
        if self.keep:
            with suppress(FileNotFoundError):
                self.path.replace(self._numbered(1))
        else:
            self.path.unlink(missing_ok=True)
        self._open()

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


def _sync(fd: int) -> None:
    try:
        os.fsync(fd)
    except OSError as error:
        # A pipe or a terminal is on no disk.
        if error.errno not in (errno.EINVAL, errno.EROFS):
            raise
