"""The headers of all records of a batch as columns, whatever their events; needs numpy."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy

from traceleft.record_layout import HEADER, WORD_BYTES
from traceleft.tracer import _native

if TYPE_CHECKING:
    from numpy.typing import NDArray


class HeaderColumns:
    """Columns of the headers of records, by row, in this machine's byte order, which is little-endian."""

    def __init__(self, records: _native.Records) -> None:
        self._words = numpy.frombuffer(records.data, "u8")
        self._starts = numpy.frombuffer(records.offsets, "u4").astype("i8") // WORD_BYTES

    def places(self, offset: int) -> "NDArray[numpy.int64]":
        """Return where a record's eight bytes at an offset lie, as the number of a word of all data."""
        return self._starts + offset // WORD_BYTES

    def field(self, name: str) -> "NDArray[Any]":
        """Return a number of the header, by its name in ``record_layout.HEADER``."""
        field = HEADER[name]
        column: NDArray[Any] = self._words.view(field.column_type)[
            self._starts * (WORD_BYTES // field.size) + field.offset // field.size
        ]
        return column

    def names(self) -> "NDArray[numpy.uint64]":
        """Return the tasks' names, each as a row of words; what lies behind the end of a name means nothing."""
        comm = HEADER["comm"]
        words = range(comm.offset, comm.offset + comm.size, WORD_BYTES)
        return numpy.stack([self._words[self.places(offset)] for offset in words], axis=1)

    def events(self) -> "NDArray[numpy.uint16]":
        """Return the ids of the events."""
        return self.field("event")

    def flags(self) -> "NDArray[numpy.uint16]":
        """Return the records' flags."""
        return self.field("flags")

    def by_event(self) -> "Iterator[tuple[int, NDArray[numpy.bool_]]]":
        """Yield each event's id that occurs, and which rows are its."""
        events = self.events()
        for event in numpy.unique(events).tolist():
            yield event, events == event

    def times(self) -> tuple[int, int]:
        """Return the earliest and the latest time of the records' own clock."""
        times = self.field("timestamp")
        return int(times.min()), int(times.max())

    def cgroups(self) -> list[int]:
        """Return the ids of cgroups, each once, except 0."""
        return [each for each in numpy.unique(self.field("cgroup_id")).tolist() if each]

    def select(self, mask: "NDArray[numpy.bool_]") -> bytes:
        """Return the records of the rows that a mask chooses, end to end."""
        sizes = numpy.diff(self._starts, append=len(self._words))
        chosen: Any = self._words[numpy.repeat(mask, sizes)]
        data: bytes = chosen.tobytes()
        return data
