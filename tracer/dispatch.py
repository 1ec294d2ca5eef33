"""From batches of records to events, callbacks, and the account of what reached them."""

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from traceleft.errors import TraceleftError
from traceleft.tracer import _native
from traceleft.tracer.decode.batch import Batch
from traceleft.tracer.decode.decoder import Decoder, UndecodableError
from traceleft.tracer.decode.event import Event
from traceleft.tracer.schema.spec import EventSpec, Tables
from traceleft.tracer.session.reader import Handout

if TYPE_CHECKING:
    from traceleft.tracer.output.event_paths import EventPaths
    from traceleft.tracer.output.fdnames import FdNames
    from traceleft.tracer.output.lines import LineWriter, Writer
    from traceleft.tracer.session.record import RecordingSink
    from traceleft.tracer.stacks.stack import StackSource

EventCallback = Callable[[Event], object]
BatchCallback = Callable[[Batch], object]

CUT_RECORDS: Final = 1024
# So many events take less than a tenth of a second to be shown.
CHECKED_EVERY: Final = 256
_CPU: Final = struct.Struct("=I")
_CPU_AT: Final = 20


class Account(Protocol):
    """Who accounts for what is handed out: a reader, or who shows a recording."""

    def hand_out(self, records: _native.Records) -> Handout: ...
    def settle(self, handout: Handout) -> None: ...
    def look_ahead(self) -> _native.Records | None: ...


class Dispatcher:
    """Decodes the records of some events; keeps the callbacks. `offset_ns` leads from their clock to the epoch's."""

    def __init__(self, specs: Mapping[int, EventSpec], tables: Tables) -> None:
        self.offset_ns = 0
        self._specs = specs
        self._tables = tables
        self._decoders: dict[int, Decoder] = {}
        self._event_callbacks: dict[int, list[EventCallback]] = {}
        self._batch_callbacks: dict[int, list[BatchCallback]] = {}
        self._round_callbacks: list[Callable[[], object]] = []
        self._is_late: Callable[[], bool] = lambda: False
        self._lines: LineWriter | None = None
        self._more_lines: LineWriter | None = None
        self._sink: RecordingSink | None = None
        self._stacks: StackSource | None = None
        self._paths: EventPaths | None = None
        self._account: Account | None = None

    def on(self, specs: Sequence[EventSpec], callback: EventCallback) -> None:
        """Call back with each of these events."""
        for spec in specs:
            self._event_callbacks.setdefault(spec.id, []).append(callback)

    def on_batch(self, specs: Sequence[EventSpec], callback: BatchCallback) -> None:
        """Call back with the batches of each of these events."""
        for spec in specs:
            self._batch_callbacks.setdefault(spec.id, []).append(callback)

    def ends_when(self, is_late: Callable[[], bool]) -> None:
        """Hand nothing out any more once it is too late; what is left is dropped."""
        self._is_late = is_late

    def on_round(self, callback: Callable[[], object]) -> None:
        """Call back when the batches of all events that came together have been handed over."""
        self._round_callbacks.append(callback)

    def write_json(self, writer: "Writer", *, raw: bool) -> None:
        """Write all events as lines of JSON, in place of callbacks with single ones."""
        self._lines = self._line_writer(writer, raw=raw)

    def write_json_too(self, writer: "Writer", *, raw: bool) -> None:
        """Write all events as lines of JSON beside all else; what a record's delivery is, is not told by these."""
        self._more_lines = self._line_writer(writer, raw=raw)

    def _line_writer(self, writer: "Writer", *, raw: bool) -> "LineWriter":
        from traceleft.tracer.output.lines import LineWriter

        return LineWriter(self._specs.values(), self._tables, self._decoder, writer, raw=raw)

    def take_stacks(self, stacks: "StackSource") -> None:
        """Let these tell the stacks that records carry, and take note of all records as they come."""
        self._stacks = stacks
        for decoder in self._decoders.values():
            decoder.stacks = stacks

    def record(self, sink: "RecordingSink") -> None:
        """Let a recording have all records; then those are delivered that it has written."""
        self._sink = sink

    def resolve_paths(self, names: "FdNames") -> None:
        """Let batches tell the files that their events are about."""
        from traceleft.tracer.output.event_paths import EventPaths

        self._paths = EventPaths(self._specs.values(), self._tables, names)
        self.foresee(names)

    def foresee(self, names: "FdNames") -> None:
        """Let names look at records before their turn, for the forks among them."""
        names.look_ahead_by(self._specs.values(), self._tables, self._look_ahead)

    def _look_ahead(self) -> _native.Records | None:
        return None if self._account is None else self._account.look_ahead()

    def dispatch(
        self,
        reader: Account,
        records: _native.Records,
        wanted: int,
        *,
        paths: "Sequence[str | None] | None" = None,
    ) -> None:
        """Call back with the first `wanted` records; one counts as delivered once its callbacks have returned.

        ``paths`` are the files that the records are about, where they have been resolved before.
        """
        if self._sink is None:
            handout = reader.hand_out(records)
        else:
            self._sink.take(reader, records, records if wanted == len(records) else cut_records(records, wanted))
            handout = Handout(records)
        self._account = reader
        try:
            if self._stacks is not None:
                self._stacks.take(records)
            if self._batch_callbacks:
                if self._paths is not None and paths is None:
                    paths = self._paths.resolve(records)
                self._dispatch_batches(records if wanted == len(records) else cut_records(records, wanted), paths)
            for done in self._round_callbacks:
                done()
            if self._more_lines is not None:
                self._more_lines.write(Handout(records), wanted, offset_ns=self.offset_ns)
            if self._lines is not None:
                self._lines.write(handout, wanted, offset_ns=self.offset_ns, is_late=self._is_late)
                return
            for row, event in self._decode(records, wanted, self._event_callbacks, handout.refused):
                handout.done = row
                if not row % CHECKED_EVERY and self._is_late():
                    return
                for callback in self._event_callbacks[event.spec.id]:
                    callback(event)
            handout.done = wanted
        finally:
            # Kept no longer than needed: a reader has the buffers.
            self._account = None
            if self._sink is None:
                reader.settle(handout)

    def events(self, reader: Account, records: _native.Records) -> Iterator[Event]:
        """Yield the events of all records; one counts as delivered once it is handed over."""
        if self._sink is not None:
            raise TraceleftError("a trace that is recorded is read by run(), not by iteration")
        handout = reader.hand_out(records)
        try:
            if self._stacks is not None:
                self._stacks.take(records)
            for row, event in self._decode(records, len(records), self._specs, handout.refused):
                handout.done = row + 1
                handout.suspend()
                yield event
                if not handout.take_up():
                    return
            handout.done = len(records)
        finally:
            reader.settle(handout)

    def _decode(
        self, records: _native.Records, wanted: int, chosen: Iterable[int], refused: list[tuple[int, int]]
    ) -> Iterator[tuple[int, Event]]:
        """Yield the chosen events among the first records with their rows; list those that are refused."""
        yield from iter_events(records, wanted, map(self._decoder, chosen), self.offset_ns, refused)

    def _dispatch_batches(self, records: _native.Records, paths: "Sequence[str | None] | None") -> None:
        for event, callbacks in self._batch_callbacks.items():
            fixed, tails, ends, rows = records.columns(event, self._specs[event].fixed_size)
            if fixed:
                of_batch = None if paths is None else [paths[row] for row in memoryview(rows).cast("I")]
                batch = Batch(
                    self._decoder(event), fixed, tails, ends, offset_ns=self.offset_ns, rows=rows, paths=of_batch
                )
                for callback in callbacks:
                    callback(batch)

    def _decoder(self, event: int) -> Decoder:
        if event not in self._decoders:
            self._decoders[event] = decoder = Decoder(self._specs[event], self._tables)
            decoder.stacks = self._stacks
        return self._decoders[event]


def iter_events(
    records: _native.Records,
    wanted: int,
    decoders: Iterable[Decoder],
    offset_ns: int,
    refused: list[tuple[int, int]],
) -> Iterator[tuple[int, Event]]:
    """Yield the events that there are decoders for among the first records, with their rows.

    Those whose bytes do not fit are listed in ``refused``, as (event, cpu).
    """
    # Records of an event with nothing to check them by are each left to the decoder.
    table = {decoder.spec.id: (decoder, *(decoder.layout or (0, 0, 0))) for decoder in decoders}
    for first in range(0, wanted if table else 0, CUT_RECORDS):
        for row, decoder, record, is_checked in records.cut(first, min(first + CUT_RECORDS, wanted), table):
            if is_checked:
                yield row, Event(decoder, record, offset_ns)
                continue
            try:
                yield row, decoder.decode(record, offset_ns=offset_ns)
            except UndecodableError:
                refused.append((decoder.spec.id, _CPU.unpack_from(record, _CPU_AT)[0]))


def cut_records(records: _native.Records, count: int) -> _native.Records:
    """Return the first of some records."""
    starts = memoryview(records.offsets).cast("I")
    return _native.Records(records.data[: starts[count]])
