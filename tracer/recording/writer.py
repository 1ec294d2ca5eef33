"""Writes recordings: records into blocks, blocks into a file, or into one after another."""

import errno
import os
import time
from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG
from typing import Final, Self

import msgspec

from traceleft.errors import TraceleftError
from traceleft.tracer import _native
from traceleft.tracer.account.ledger import Ledger
from traceleft.tracer.decode.texts import to_column
from traceleft.tracer.recording.file_format import (
    CGROUPS,
    END,
    HEAD,
    RECORDS,
    STACKS,
    Head,
    encode,
    make_end,
    pack_block,
    pack_preamble,
    part_path,
)
from traceleft.tracer.schema.name_limits import BLOCK_BYTES_MAX, CGROUP_PATH_MAX, cut, portions, size_of_text
from traceleft.tracer.stacks.recorded_stacks import StackNotes, split

BLOCK_BYTES: Final = 256 << 10
FLUSH_S: Final = 1.0
# What the end of a file may take: a ledger of hundreds of events.
END_ROOM_BYTES: Final = 32 << 10
FindCgroups = Callable[[Collection[int]], Mapping[int, str]]
# No O_EXCL: exactly this file, whatever it is. Emptied when there is something to write, and not before.
CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
# What is recorded may be secret.
PRIVATE: Final = 0o600


@dataclass(slots=True)
class _Waiting:
    """Records that make up the next block."""

    parts: list[memoryview] = field(default_factory=list)
    size: int = 0
    records: int = 0
    since: float = 0.0


class Recorder:
    """Writes records of a trace to a file. Use it in a with statement.

    ``Tracer.record`` gives it everything it needs; close it with the ledger of the trace. A file holds at most
    ``rotate_bytes`` bytes, though always one block, and events of at most ``rotate_s`` seconds. The recording goes on
    in PATH.1, PATH.2 and so on. ``find_cgroups`` leads from IDs of cgroups to their paths. For one thread only.

    Raises OSError, which names the file, where it cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        rotate_bytes: int | None = None,
        rotate_s: float | None = None,
        find_cgroups: FindCgroups | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = Path(path)
        self._rotate_bytes = rotate_bytes
        self._rotate_ns = None if rotate_s is None else int(rotate_s * 1e9)
        self._find_cgroups = find_cgroups
        self._clock = clock
        self._waiting = _Waiting()
        self._cgroups: dict[int, str] = {}
        self._head: Head | None = None
        self._stacks: StackNotes | None = None
        self._part = 0
        self._first_ns: int | None = None
        self._size = 0
        self._blocks = 0
        self._part_records = 0
        self._is_broken = False
        self._has_head = False
        self.stored = 0
        """Records that have been written to the file."""
        self._is_new = not os.path.lexists(self._path)
        self._fd: int | None = os.open(self._path, CREATE, PRIVATE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()

    @property
    def file(self) -> Path:
        """The path of the file that is being written."""
        return part_path(self._path, self._part)

    def begin(self, head: Head) -> None:
        """Write the head: what the recording says about itself. Comes before all records.

        Raises TraceleftError where the recording was begun before, and OSError where the file cannot be written.
        """
        if self._head is not None:
            raise TraceleftError("a recording begins once")
        self._head = head
        self._begin_part()

    def keep_stacks(self, stacks: StackNotes) -> None:
        """Keep the stacks of records. To be called before ``begin``."""
        self._stacks = stacks

    def write(self, records: _native.Records | bytes) -> None:
        """Take records. Whole blocks are written, the rest waits for ``flush``.

        Raises OSError, which names the file, where it cannot be written.
        """
        if isinstance(records, bytes):
            records = _native.Records(records)
        offsets, data = memoryview(records.offsets).cast("I"), memoryview(records.data)
        row, count = 0, len(records)
        while row < count:
            room = BLOCK_BYTES - self._waiting.size
            # The first record that ends beyond the room; at the end of the data all fit.
            is_last = len(data) - offsets[row] <= room
            stop = count if is_last else bisect_right(offsets, offsets[row] + room) - 1
            if stop == row and not self._waiting.records:
                stop = row + 1
            if stop > row:
                self._take(data[offsets[row] : offsets[stop] if stop < count else len(data)], stop - row)
            if stop < count:
                self.flush()
            row = stop

    def flush(self) -> None:
        """Write the records that wait, as a block."""
        # Who only reads recordings does without numpy.
        from traceleft.tracer.decode.header_columns import HeaderColumns

        waiting, self._waiting = self._waiting, _Waiting()
        if not waiting.records:
            return
        data = b"".join(waiting.parts)
        records = _native.Records(data)
        columns = HeaderColumns(records)
        first_ns, last_ns = columns.times()
        if self._is_part_full(first_ns):
            self._next_part()
        if self._first_ns is None:
            self._first_ns = first_ns
        blocks = self._pack_records(records, first_ns, last_ns)
        if self._part_records and self._would_overflow(sum(map(len, blocks))):
            self._next_part()
            self._first_ns = first_ns
            blocks = self._pack_records(records, first_ns, last_ns)
        for block in blocks:
            self._put(block)
        self._part_records += waiting.records
        self.stored += waiting.records
        self._name_cgroups(columns.cgroups())

    def flush_if_due(self) -> bool:
        """Write the records that have waited for a second, and return whether there were any."""
        if not self._waiting.records or self._clock() - self._waiting.since < FLUSH_S:
            return False
        self.flush()
        return True

    def close(self, ledger: Ledger | None) -> None:
        """Write what waits and the account, and close the file; may be called again.

        Where a write failed before, the account takes the place of the broken block if there is room.
        """
        try:
            if self._fd is not None and self._head is not None:
                if not self._is_broken:
                    self.flush()
                if self._has_head:
                    self._put(self._pack(END, encode(make_end(self._part_records, ledger))))
        except OSError:
            if not self._is_broken:
                raise
        finally:
            self.release()

    def release(self) -> None:
        """Close the file as it is; may be called again. A file without a head is removed."""
        fd, self._fd = self._fd, None
        if fd is not None:
            is_plain = S_ISREG(os.fstat(fd).st_mode) and not self.file.is_symlink()
            os.close(fd)
            if not self._has_head and is_plain and (self._is_new or self._head is not None):
                self.file.unlink(missing_ok=True)

    def _take(self, data: memoryview, records: int) -> None:
        if not self._waiting.records:
            self._waiting.since = self._clock()
        self._waiting.parts.append(data)
        self._waiting.size += len(data)
        self._waiting.records += records

    def _pack(self, kind: int, data: bytes, *, after: int = 0, **span: int) -> bytes:
        """Pack a block that will follow so many which are not written yet."""
        if len(data) > BLOCK_BYTES_MAX:
            raise TraceleftError(f"{self._path}: {len(data)} bytes are more than a block of a recording holds")
        return pack_block(kind, self._blocks + after, data, **span)

    def _pack_records(self, records: _native.Records, first_ns: int, last_ns: int) -> list[bytes]:
        """Pack records, and before them what was not written yet of their stacks."""
        names = None if self._stacks is None else self._stacks.tell(records)
        parts = () if names is None else split(names)
        blocks = [self._pack(STACKS, encode(part), after=rank) for rank, part in enumerate(parts)]
        span = {"records": len(records), "first_ns": first_ns, "last_ns": last_ns}
        return [*blocks, self._pack(RECORDS, records.data, after=len(blocks), **span)]

    def _is_part_full(self, first_ns: int) -> bool:
        return (
            self._rotate_ns is not None and self._first_ns is not None and first_ns - self._first_ns >= self._rotate_ns
        )

    def _would_overflow(self, size: int) -> bool:
        return self._rotate_bytes is not None and self._size + size + END_ROOM_BYTES > self._rotate_bytes

    def _begin_part(self) -> None:
        assert self._head is not None
        self._take_back()
        self._put(pack_preamble(), is_block=False)
        self._put(self._pack(HEAD, encode(msgspec.structs.replace(self._head, part=self._part))))
        self._has_head = True
        self._put_cgroups(self._cgroups)

    def _next_part(self) -> None:
        self._put(self._pack(END, encode(make_end(self._part_records, None, is_continued=True))))
        self.release()
        self._part += 1
        self._size = self._blocks = self._part_records = 0
        self._has_head = False
        self._first_ns = None
        if self._stacks is not None:
            self._stacks.begin()
        self._fd = os.open(self.file, CREATE, PRIVATE)
        self._begin_part()

    def _name_cgroups(self, ids: Collection[int]) -> None:
        new = [each for each in ids if each not in self._cgroups]
        if new and self._find_cgroups is not None:
            found = dict(self._find_cgroups(new))
            self._cgroups |= found
            self._put_cgroups(found)

    def _put_cgroups(self, named: Mapping[int, str]) -> None:
        texts = [(str(each), cut(to_column(path), CGROUP_PATH_MAX)) for each, path in sorted(named.items())]
        for portion in portions(texts, lambda item: size_of_text(item[0]) + size_of_text(item[1])):
            self._put(self._pack(CGROUPS, encode(dict(portion))))

    def _put(self, data: bytes, *, is_block: bool = True) -> None:
        """Write all of it, or as good as nothing: a block that found no room is taken back."""
        if self._fd is None:
            raise TraceleftError(f"{self._path}: the recording is closed")
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except BaseException as error:
            self._is_broken = True
            self._take_back()
            if not isinstance(error, OSError) or error.errno == errno.EPIPE:
                raise
            raise OSError(error.errno, error.strerror, str(self.file)) from error
        self._size += len(data)
        self._blocks += is_block

    def _take_back(self) -> None:
        """Cut the file where what was written whole ends."""
        assert self._fd is not None
        if S_ISREG(os.fstat(self._fd).st_mode):
            os.ftruncate(self._fd, self._size)
            os.lseek(self._fd, self._size, os.SEEK_SET)
