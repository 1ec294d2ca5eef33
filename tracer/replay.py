"""Recorded events again, as a trace shows them: chosen, filtered, handed to callbacks or written as lines.

Filters work on the columns of headers, whatever the events: no event is made for what is passed over.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING, Final

from traceleft.linux import MAX_ERROR
from traceleft.record_layout import DURATION, NO_RETURN, SLOT, UNFINISHED
from traceleft.tracer import _native
from traceleft.tracer.account.handout import Handout
from traceleft.tracer.callbacks import Callbacks
from traceleft.tracer.decode.ahead import Ahead
from traceleft.tracer.decode.records import cut_records
from traceleft.tracer.dispatch import Dispatcher
from traceleft.tracer.output.counts import Count
from traceleft.tracer.recording import Recording
from traceleft.tracer.schema.select import select_specs
from traceleft.tracer.schema.spec import EventSpec

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from traceleft.tracer.decode.header_columns import HeaderColumns
    from traceleft.tracer.output.event_paths import EventPaths
    from traceleft.tracer.output.fdnames import FdNames

    Mask = NDArray[numpy.bool_]

_LENGTH_SHIFT: Final = 8 * SLOT["length"].offset
_CUT_KINDS: Final = frozenset({"text", "buffer", "array"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayFilters:
    """Which recorded events are shown. Every condition that is given must hold.

    ``pids``, ``uid``, ``comm``, ``success_only``, ``failed_only`` and ``errno`` are as in ``FilterOptions``.
    ``text_limit`` cuts longer texts and buffers, in bytes, and arrays, in elements.
    """

    pids: tuple[int, ...] = ()
    uid: int | None = None
    comm: str | None = None
    success_only: bool = False
    failed_only: bool = False
    errno: int | None = None
    text_limit: int | None = None

    @property
    def asks_result(self) -> bool:
        """Whether calls are chosen by what they returned. Calls that did not return are left out then."""
        return self.success_only or self.failed_only or self.errno is not None


class Replay(Callbacks):
    """Shows a recording as a trace shows running processes.

    ::

        with Recording.open("make.rec") as recording:
            replay = Replay(recording, events=["%file"], filters=ReplayFilters(failed_only=True))
            replay.on("openat", lambda event: print(event.comm, event.args.filename))
            replay.run()

    It goes through the recording once. ``events`` are expressions as ``-e`` takes them, by default all that were
    recorded. Needs neither root nor libbpf. Raises ExpressionError for an event that the recording does not have.
    """

    def __init__(
        self, recording: Recording, *, events: Sequence[str] = (), filters: ReplayFilters | None = None
    ) -> None:
        chosen = select_specs(recording.specs, events) if events else recording.specs.values()
        self._recording = recording
        self._filters = filters or ReplayFilters()
        self._specs = {spec.id: spec for spec in chosen}
        self._dispatcher = Dispatcher(self._specs, recording.schema.tables)
        self._dispatcher.offset_ns = recording.offset_ns
        self._dispatcher.take_stacks(recording.stacks)
        self._records = Ahead(recording.records())
        self._account = _Account(self._records)
        self._tallies: list[Callable[[_native.Records], object]] = []
        self._paths: EventPaths | None = None

    @property
    def recording(self) -> Recording:
        """The recording that is shown."""
        return self._recording

    @property
    def specs(self) -> Mapping[str, EventSpec]:
        """The events that are shown, by name."""
        return {spec.name: spec for spec in self._specs.values()}

    @property
    def shown(self) -> int:
        """The number of events that have been handed over."""
        return self._account.done

    @property
    def undecodable(self) -> int:
        """The number of records that were left out, because their bytes do not fit their events."""
        return self._account.refused

    def resolve_paths(self, names: "FdNames") -> None:
        """Let each batch have the files that its events are about (``Batch.paths``).

        They are looked up in the recording by ``names``.
        """
        from traceleft.tracer.output.event_paths import EventPaths

        self._paths = EventPaths(self._recording.specs.values(), self._recording.schema.tables, names)
        self.foresee(names)

    def foresee(self, names: "FdNames") -> None:
        """Let ``names`` look at events before their turn, to find the forks among all that were recorded."""
        names.look_ahead_by(self._recording.specs.values(), self._recording.schema.tables, self._records.look)

    def run(self, *, max_events: int | None = None) -> None:
        """Go through the recording and call back, for at most ``max_events`` events.

        Raises RecordingError at damage, after all events before it were handed over.
        """
        left = max_events
        for records in self._records:
            paths = None if self._paths is None else self._paths.resolve(records)
            shown, mask = self._filter(records)
            if paths is not None and mask is not None:
                paths = [*compress(paths, mask.tolist())]
            if left is not None and len(shown) >= left:
                shown = cut_records(shown, left)
            for tally in self._tallies:
                tally(shown)
            self._dispatcher.dispatch(self._account, shown, len(shown), paths=paths)
            left = None if left is None else left - len(shown)
            if left == 0:
                return

    def count(self) -> Callable[[], list[Count]]:
        """Count calls, errors and time by event from now on. Returns a function that gives the counts so far."""
        from traceleft.tracer.decode.header_columns import HeaderColumns

        counts: dict[int, list[int]] = {}

        def tally(records: _native.Records) -> None:
            columns = HeaderColumns(records)
            is_over = (columns.flags() & UNFINISHED) == 0
            for event, rows in columns.by_event():
                mask = rows & is_over
                found = counts.setdefault(event, [0, 0, 0])
                found[0] += int(mask.sum())
                found[1] += int((mask & _failed(columns)).sum())
                timed = mask & ((columns.flags() & DURATION) != 0)
                found[2] += int(columns.field("duration")[timed].sum())

        self._tallies.append(tally)
        return lambda: [Count(self._specs[event].name, *found) for event, found in counts.items()]

    def _filter(self, records: _native.Records) -> "tuple[_native.Records, Mask | None]":
        """Return the records that are to be shown, and which of all these are; None: all."""
        filters = self._filters
        present = {event for event, _ in records.tally()}
        if filters == ReplayFilters() and present <= self._specs.keys():
            return records, None
        from traceleft.tracer.decode.header_columns import HeaderColumns

        columns = HeaderColumns(records)
        mask = self._mask(columns)
        chosen = records if mask.all() else _native.Records(columns.select(mask))
        return chosen if filters.text_limit is None else self._cut_texts(chosen, filters.text_limit), mask

    def _mask(self, columns: "HeaderColumns") -> "Mask":
        import numpy

        filters = self._filters
        mask: Mask = numpy.isin(columns.events(), list(self._specs))
        if filters.pids:
            mask &= numpy.isin(columns.field("tgid"), filters.pids)
        if filters.uid is not None:
            mask &= columns.field("uid") == filters.uid
        if filters.comm is not None:
            mask &= _is_called(columns, os.fsencode(filters.comm))
        if filters.asks_result:
            syscalls = [spec.id for spec in self._specs.values() if spec.kind == "syscall"]
            mask &= _passes_result(filters, columns) | ~numpy.isin(columns.events(), syscalls)
        return mask

    def _cut_texts(self, records: _native.Records, limit: int) -> _native.Records:
        """Let slots hold less of what was captured; the status tells of the rest, as it did before."""
        import numpy

        from traceleft.tracer.decode.header_columns import HeaderColumns

        columns = HeaderColumns(records)
        words = numpy.frombuffer(records.data, "u8").copy()
        for event, mask in columns.by_event():
            for offset, longest in _cuts(self._specs[event], limit):
                places = columns.places(offset)[mask]
                slots = words[places]
                lengths = numpy.minimum((slots >> _LENGTH_SHIFT) & 0xFFFF, longest)
                words[places] = (slots & ~numpy.uint64(0xFFFF << _LENGTH_SHIFT)) | (lengths << _LENGTH_SHIFT)
        return _native.Records(words.tobytes())


class _Account:
    """Stands where a reader accounts for what was handed out: how much was, and how much was refused."""

    def __init__(self, records: Ahead) -> None:
        self.done = 0
        self.refused = 0
        self.look_ahead = records.look

    def hand_out(self, records: _native.Records) -> Handout:
        """Begin to deliver records."""
        return Handout(records)

    def settle(self, handout: Handout) -> None:
        """Add up what was delivered."""
        self.done += handout.done - len(handout.refused)
        self.refused += len(handout.refused)


def _cuts(spec: EventSpec, limit: int) -> Iterable[tuple[int, int]]:
    """Yield the slots that are cut to a limit, by their offset, and the most bytes that they keep."""
    for arg in spec.args:
        if arg.value.kind not in _CUT_KINDS or arg.value.show == "bits":
            continue
        for slot in (arg.slot, arg.slot_out):
            if slot is not None:
                yield spec.slots[slot].offset, limit * (arg.value.size if arg.value.kind == "array" else 1)


def _failed(columns: "HeaderColumns") -> "Mask":
    rets = columns.field("ret")
    mask: Mask = (rets < 0) & (rets >= -MAX_ERROR) & _has_returned(columns)
    return mask


def _has_returned(columns: "HeaderColumns") -> "Mask":
    mask: Mask = (columns.flags() & (NO_RETURN | UNFINISHED)) == 0
    return mask


def _passes_result(filters: ReplayFilters, columns: "HeaderColumns") -> "Mask":
    failed, mask = _failed(columns), _has_returned(columns)
    if filters.success_only:
        mask &= ~failed
    if filters.failed_only:
        mask &= failed
    if filters.errno is not None:
        mask &= columns.field("ret") == -filters.errno
    return mask


def _is_called(columns: "HeaderColumns", name: bytes) -> "Mask":
    """Tell which tasks have a name."""
    import numpy

    each, inverse = numpy.unique(columns.names(), axis=0, return_inverse=True)
    is_it = numpy.array([row.tobytes().split(b"\0", 1)[0] == name for row in each])
    mask: Mask = is_it[inverse.reshape(-1)]
    return mask
