"""One file of a recording, block by block."""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

from traceleft.errors import RecordingError
from traceleft.tracer import _native
from traceleft.tracer.account.ledger import Ledger
from traceleft.tracer.recording.file_format import (
    END,
    HEAD,
    HEADER_BYTES,
    PREAMBLE,
    RECORDS,
    STACKS,
    VERSION,
    Block,
    BrokenError,
    End,
    Head,
    decode,
    read_cgroups,
    read_header,
    read_ledger,
    read_preamble,
    unpack_block,
)
from traceleft.tracer.schema.name_limits import CGROUPS_MAX
from traceleft.tracer.stacks.recorded_stacks import RecordedStacks, StackNames


class Part:
    """One file of a recording: its head, what its other blocks tell, and where it is damaged, if it is."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.name = name
        self.end: End | None = None
        self.ledger: Ledger | None = None
        self.cgroups: dict[int, str] = {}
        self.stacks = RecordedStacks()
        self.span: tuple[int, int] | None = None
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        self._at = 0
        self._number = 0
        try:
            self._check_version()
            self.head = self._read_head()
            self.schema = self.head.check()
        except BrokenError as exc:
            raise RecordingError(str(exc), file=name) from exc
        if self.schema.tables.byte_order != sys.byteorder:
            reason = f"was made on a {self.schema.tables.byte_order}-endian machine: replay it on one"
            raise RecordingError(reason, file=name)
        self._start = self._at
        self._by_id = {spec.id for spec in self.schema.events.values()}
        self._look_through()

    def records(self) -> Iterator[bytes]:
        """Yield the records of block after block; raise ``BrokenError`` at damage, whose place `damage` tells."""
        records = 0
        for block in self._blocks():
            if block.kind == RECORDS:
                records += block.records
                yield self._checked(block, self._content(block))
            else:
                self._learn(block)
        if self.end is None or self.end.records != records:
            raise BrokenError("holds more or fewer records than its end says")

    def damage(self, reason: str, events_read: int) -> RecordingError:
        """Return the error for damage at the block that was read last."""
        return RecordingError(reason, file=self.name, offset=self._at, events_read=events_read)

    def _check_version(self) -> None:
        if not self._size:
            raise BrokenError("is empty, no recording")
        version = read_preamble(self._read(PREAMBLE.size))
        if version > VERSION:
            remedy = "replay it with a newer traceleft"
            raise BrokenError(f"is a recording of version {version}, this traceleft knows {VERSION}: {remedy}")
        self._at = PREAMBLE.size

    def _read_head(self) -> Head:
        block = self._next_header()
        if block is None or block.kind != HEAD:
            raise BrokenError("its head is missing: nothing of it can be read")
        head = decode(self._content(block), Head, "head")
        self._at += HEADER_BYTES + block.stored
        return head

    def _look_through(self) -> None:
        """Find the account, the cgroups and the span of time; damage is met again where records are read."""
        with suppress(BrokenError):
            for block in self._blocks():
                if block.kind == RECORDS:
                    first, last = self.span or (block.first_ns, block.last_ns)
                    self.span = min(first, block.first_ns), max(last, block.last_ns)
                else:
                    self._learn(block)

    def _learn(self, block: Block) -> None:
        """Take what a block tells that holds no records."""
        if block.kind == HEAD:
            raise BrokenError("a second head lies within it")
        content = self._content(block)
        if block.kind == END:
            end = decode(content, End, "end")
            self.ledger = read_ledger(end)
            self.end = end
        elif block.kind == STACKS:
            self.stacks.learn(decode(content, StackNames, "stacks"))
        elif len(self.cgroups) < CGROUPS_MAX:
            self.cgroups |= read_cgroups(content)

    def _blocks(self) -> Iterator[Block]:
        """Yield the headers after the head; raise ``BrokenError`` at damage, or where the end is missing."""
        self._at, self._number, last = self._start, 1, HEAD
        self._seek(self._at)
        while (block := self._next_header()) is not None:
            if last == END:
                raise BrokenError("something follows its end")
            yield block
            last = block.kind
            self._at += HEADER_BYTES + block.stored
            self._seek(self._at)
        if last != END:
            raise BrokenError("ends without its account: its writer was killed, or its disk was full")

    def _next_header(self) -> Block | None:
        data = self._read(HEADER_BYTES)
        if not data:
            return None
        if len(data) < HEADER_BYTES:
            raise BrokenError("is cut off within a block")
        block = read_header(data)
        if block.number != self._number:
            raise BrokenError("a block is missing or out of order")
        if block.stored > self._size - self._at - HEADER_BYTES:
            raise BrokenError("is cut off within a block")
        self._number += 1
        return block

    def _content(self, block: Block) -> bytes:
        return unpack_block(block, self._read(block.stored))

    def _checked(self, block: Block, data: bytes) -> bytes:
        """Return records, once it is sure that they are as many as was said, and of known events."""
        try:
            records = _native.Records(data)
        except _native.Error as exc:
            raise BrokenError("a block holds something else than records") from exc
        if len(records) != block.records or not records:
            raise BrokenError("a block holds more or fewer records than it says")
        if unknown := {event for event, _ in records.tally()} - self._by_id:
            raise BrokenError(f"a block holds records of an event (id {min(unknown)}) that its schema lacks")
        return data

    def _read(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except OSError as exc:
            raise RecordingError(exc.strerror or "cannot be read", file=self.name) from exc

    def _seek(self, place: int) -> None:
        self._file.seek(place)


def open_part(path: Path, stack: ExitStack) -> Part:
    """Open a regular file; a FIFO or a device is refused, and not waited for."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        file = stack.enter_context(os.fdopen(fd, "rb"))
    except OSError as exc:
        raise RecordingError((exc.strerror or str(exc)).lower(), file=str(path)) from exc
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise RecordingError("is not a regular file: pipe it into: traceleft replay -", file=str(path))
    return Part(file, str(path))
