"""The headers of all records of a batch as columns, whatever their events; needs numpy."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy

from traceleft.tracer import _native

if TYPE_CHECKING:
    from numpy.typing import NDArray

WORD: Final = 8


class HeaderColumns:
    """Columns of the headers of records, by row, in this machine's byte order, which is little-endian."""

    def __init__(self, records: _native.Records) -> None:
        self._words = numpy.frombuffer(records.data, "u8")
        self._starts = numpy.frombuffer(records.offsets, "u4").astype("i8") // WORD

    def places(self, offset: int) -> "NDArray[numpy.int64]":
        """Return where a record's eight bytes at an offset lie, as the number of a word of all data."""
        return self._starts + offset // WORD

    def word(self, offset: int) -> "NDArray[numpy.uint64]":
        """Return the eight bytes at an offset, a multiple of eight."""
        words: NDArray[numpy.uint64] = self._words[self.places(offset)]
        return words

    def half(self, offset: int) -> "NDArray[numpy.uint32]":
        """Return the four bytes at an offset, a multiple of four."""
        halves: NDArray[numpy.uint32] = self._words.view("u4")[self._starts * 2 + offset // 4]
        return halves

    def events(self) -> "NDArray[numpy.uint32]":
        """Return the ids of the events."""
        return self.half(4) & numpy.uint32(0xFFFF)

    def flags(self) -> "NDArray[numpy.uint32]":
        """Return the records' flags."""
        return self.half(4) >> numpy.uint32(16)

    def by_event(self) -> "Iterator[tuple[int, NDArray[numpy.bool_]]]":
        """Yield each event's id that occurs, and which rows are its."""
        events = self.events()
        for event in numpy.unique(events).tolist():
            yield event, events == event

    def times(self) -> tuple[int, int]:
        """Return the earliest and the latest time of the records' own clock."""
        times = self.word(8)
        return int(times.min()), int(times.max())

    def cgroups(self) -> list[int]:
        """Return the ids of cgroups, each once, except 0."""
        return [each for each in numpy.unique(self.word(40)).tolist() if each]

    def select(self, mask: "NDArray[numpy.bool_]") -> bytes:
        """Return the records of the rows that a mask chooses, end to end."""
        sizes = numpy.diff(self._starts, append=len(self._words))
        chosen: Any = self._words[numpy.repeat(mask, sizes)]
        data: bytes = chosen.tobytes()
        return data
