"""From batches of records to events, callbacks, and the account of what reached them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from traceleft.errors import TraceleftError
from traceleft.tracer import _native
from traceleft.tracer.account.handout import Account, Handout, RecordSink
from traceleft.tracer.decode.batch import Batch
from traceleft.tracer.decode.decoder import Decoder
from traceleft.tracer.decode.event import Event
from traceleft.tracer.decode.records import cut_records, iter_events
from traceleft.tracer.schema.spec import EventSpec, Tables

if TYPE_CHECKING:
    from traceleft.tracer.decode.stack import StackSource
    from traceleft.tracer.output.event_paths import EventPaths
    from traceleft.tracer.output.fdnames import FdNames
    from traceleft.tracer.output.lines import LineWriter, Writer

EventCallback = Callable[[Event], object]
BatchCallback = Callable[[Batch], object]

# So many events take less than a tenth of a second to be shown.
CHECKED_EVERY: Final = 256


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
        self._sink: RecordSink | None = None
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
        """Write all events as lines of JSON in addition to all else; these lines do not count as delivery."""
        self._more_lines = self._line_writer(writer, raw=raw)

    def _line_writer(self, writer: "Writer", *, raw: bool) -> "LineWriter":
        from traceleft.tracer.output.lines import LineWriter

        return LineWriter(self._specs.values(), self._tables, self._decoder, writer, raw=raw)

    def take_stacks(self, stacks: "StackSource") -> None:
        """Let these tell the stacks that records carry, and take note of all records as they come."""
        self._stacks = stacks
        for decoder in self._decoders.values():
            decoder.stacks = stacks

    def record(self, sink: "RecordSink") -> None:
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
