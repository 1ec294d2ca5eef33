"""Reads recordings, on any machine and without privileges. Whatever the bytes, what goes wrong is a RecordingError."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Self

import msgspec

from traceleft.errors import RecordingError
from traceleft.tracer import _native
from traceleft.tracer.account.ledger import Ledger
from traceleft.tracer.decode.ahead import Ahead
from traceleft.tracer.decode.batch import Batch
from traceleft.tracer.decode.decoder import Decoder
from traceleft.tracer.decode.event import Event
from traceleft.tracer.decode.records import iter_events
from traceleft.tracer.output.fdnames import FdNames
from traceleft.tracer.recording.file_format import BrokenError, part_path
from traceleft.tracer.recording.part import Part, open_part
from traceleft.tracer.schema.spec import EventSpec, Schema
from traceleft.tracer.stacks.recorded_stacks import RecordedStacks

if TYPE_CHECKING:
    from traceleft.tracer.output.event_paths import EventPaths

GROUP_BYTES: Final = 4 << 20


class Recording:
    """A recording that is open for reading. ``Recording.open`` returns one; use it in a with statement.

    ::

        with Recording.open("make.rec") as recording:
            for event in recording.events():
                print(event.event, event.args)

    Events come in the order in which they were delivered: by time, apart from a few that the ledger counts as late.
    Whatever reads events raises RecordingError at damage, or where the writer was killed, after all events before that
    place. Reading needs neither root nor libbpf, and works on any machine. For one thread and one iteration at a time.
    """

    def __init__(self, parts: Sequence[Part], stack: ExitStack) -> None:
        self._parts = parts
        self._stack = stack
        self._decoders: dict[int, Decoder] = {}
        self.head = parts[0].head
        self.schema: Schema = parts[0].schema
        self.cgroups: dict[int, str] = {}
        """Paths of cgroups by id, as far as they were found while recording."""
        self.stacks = RecordedStacks()
        """The stacks that its events carry, where they were asked for."""
        for part in parts:
            self.cgroups |= part.cgroups
            self.stacks.join(part.stacks)
        self.ledger: Ledger | None = parts[-1].ledger
        """The account of the trace; None where the writer was killed, and for one of several files by itself."""
        self.undecodable = 0
        """Records that the last iteration over `events` passed over, as their bytes do not fit their events."""

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open a recording by its first file, or by the directory that it lies in.

        Another file of a split recording is opened by itself. Raises RecordingError for a file that is not a recording,
        for a newer version, and where the head cannot be read.
        """
        with ExitStack() as stack:
            first = Path(path)
            if first.is_dir():
                first = _find_first(first)
            parts = [open_part(first, stack)]
            while parts[0].head.part == 0 and _is_continued(parts[-1]):
                part = _open_following(first, len(parts), stack)
                if part is None or not _belongs(part, parts[0], len(parts)):
                    break
                parts.append(part)
            return cls(parts, stack.pop_all())

    @classmethod
    def read_from(cls, file: BinaryIO, name: str) -> Self:
        """Read a recording from an open file that can be sought; closing the recording closes it.

        Raises RecordingError as ``open`` does.
        """
        with ExitStack() as stack:
            return cls([Part(stack.enter_context(file), name)], stack.pop_all())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; may be called again."""
        self._stack.close()

    @property
    def host(self) -> str:
        """The name of the host that was traced."""
        return self.head.host

    @property
    def directory(self) -> str:
        """The directory in which the traced command began, empty where it is not known."""
        return self.head.directory

    @property
    def kernel(self) -> str:
        """The release of the host's kernel."""
        return self.head.kernel

    @property
    def machine(self) -> str:
        """The host's type of machine, as ``uname -m`` prints it."""
        return self.head.machine

    @property
    def offset_ns(self) -> int:
        """The nanoseconds to add to the records' clock for the time since the epoch."""
        return self.head.offset_ns

    @property
    def span_ns(self) -> tuple[int, int] | None:
        """The times of the first and of the last record, in nanoseconds since the epoch; None without records."""
        spans = [part.span for part in self._parts if part.span is not None]
        if not spans:
            return None
        return min(first for first, _ in spans) + self.offset_ns, max(last for _, last in spans) + self.offset_ns

    @property
    def specs(self) -> Mapping[str, EventSpec]:
        """The events that were traced, by name."""
        return self.schema.events

    @property
    def files(self) -> tuple[str, ...]:
        """The files that the recording consists of, in their order."""
        return tuple(part.name for part in self._parts)

    def records(self) -> Iterator[_native.Records]:
        """Yield all records, some megabytes at a time.

        Raises RecordingError at damage.
        """
        read = 0
        for part in self._parts:
            try:
                for group in _groups(part):
                    records = _native.Records(group)
                    read += len(records)
                    yield records
            except BrokenError as exc:
                raise part.damage(str(exc), read) from exc
        last = self._parts[-1]
        if self.head.part == 0 and _is_continued(last):
            missing = f"{part_path(Path(self._parts[0].name), len(self._parts))}"
            raise RecordingError("is missing: the recording goes on there", file=missing, events_read=read)

    def batches(self, events: Collection[str] | None = None, *, resolves_paths: bool = False) -> Iterator[Batch]:
        """Yield batches of one event each, for these names of events (None: all).

        Batches of one event come in the order of the file. ``resolves_paths`` lets them have the files that events are
        about (``Batch.paths``). Raises RecordingError at damage.
        """
        for batches in self.rounds(events, resolves_paths=resolves_paths):
            yield from batches

    def rounds(self, events: Collection[str] | None = None, *, resolves_paths: bool = False) -> Iterator[list[Batch]]:
        """Yield lists of the batches that came together, each as ``batches`` yields them.

        Raises RecordingError at damage.
        """
        wanted = {spec.id: spec for name, spec in self.specs.items() if events is None or name in events}
        ahead = Ahead(self.records())
        resolver = self._path_resolver(ahead) if resolves_paths else None
        for records in ahead:
            present = {event for event, _ in records.tally()}
            paths = None if resolver is None else resolver.resolve(records)
            batches = []
            for event in sorted(present & wanted.keys()):
                fixed, tails, ends, rows = records.columns(event, wanted[event].fixed_size)
                if not fixed:
                    continue
                of_batch = None if paths is None else [paths[row] for row in memoryview(rows).cast("I")]
                batches.append(Batch(self.decoder(event), fixed, tails, ends, offset_ns=self.offset_ns, paths=of_batch))
            yield batches

    def _path_resolver(self, ahead: Ahead) -> "EventPaths":
        from traceleft.tracer.output.event_paths import EventPaths

        names = recorded_names(self)
        names.look_ahead_by(self.specs.values(), self.schema.tables, ahead.look)
        return EventPaths(self.specs.values(), self.schema.tables, names)

    def events(self) -> Iterator[Event]:
        """Yield the events one by one, in the order of the file.

        Records that do not fit their events are left out and counted. Raises RecordingError at damage.
        """
        self.undecodable = 0
        decoders = [self.decoder(spec.id) for spec in self.specs.values()]
        for records in self.records():
            refused: list[tuple[int, int]] = []
            for _, event in iter_events(records, len(records), decoders, self.offset_ns, refused):
                yield event
            self.undecodable += len(refused)

    def decoder(self, event: int) -> Decoder:
        """Return the decoder of an event, by its ID."""
        if event not in self._decoders:
            spec = next(spec for spec in self.specs.values() if spec.id == event)
            self._decoders[event] = decoder = Decoder(spec, self.schema.tables)
            decoder.stacks = self.stacks
        return self._decoders[event]


def _groups(part: Part) -> Iterator[bytes]:
    """Yield records of several blocks together; raise ``BrokenError`` at damage, once what lies before was yielded."""
    waiting: list[bytes] = []
    size = 0
    try:
        for data in part.records():
            waiting.append(data)
            size += len(data)
            if size >= GROUP_BYTES:
                yield b"".join(waiting)
                waiting, size = [], 0
    except BrokenError:
        if waiting:
            yield b"".join(waiting)
        raise
    if waiting:
        yield b"".join(waiting)


def _is_continued(part: Part) -> bool:
    return part.end is not None and part.end.is_continued


def _belongs(part: Part, first: Part, number: int) -> bool:
    return part.head == msgspec.structs.replace(first.head, part=number)


def _open_following(first: Path, number: int, stack: ExitStack) -> Part | None:
    path = part_path(first, number)
    return open_part(path, stack) if path.exists() else None


def _find_first(directory: Path) -> Path:
    """Return the first file of the one recording in a directory."""
    found = []
    try:
        files = [path for path in sorted(directory.iterdir()) if path.is_file()]
    except OSError as exc:
        raise RecordingError((exc.strerror or str(exc)).lower(), file=str(directory)) from exc
    for path in files:
        with suppress(RecordingError), ExitStack() as stack:
            if open_part(path, stack).head.part == 0:
                found.append(path)
    if len(found) == 1:
        return found[0]
    names = ", ".join(path.name for path in found[:3])
    reason = f"is a directory with {len(found)} recordings: name one of {names}" if found else "holds no recording"
    raise RecordingError(reason, file=str(directory))


def recorded_names(recording: Recording) -> FdNames:
    """Return what learns the descriptors of a recording's processes, by its events alone: /proc has other processes."""
    return FdNames(
        recording.specs,
        recording.specs,
        read_link=read_no_link,
        read_parent=lambda pid: None,
        directory=recording.directory or None,
    )


def read_no_link(path: str) -> bytes:
    """Stand for a link that is not there."""
    raise FileNotFoundError(path)
