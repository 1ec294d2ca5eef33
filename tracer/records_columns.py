"""The headers of all records of a batch as columns, whatever their events; needs numpy."""

from typing import TYPE_CHECKING, Any, Final

import numpy

from traceleft.tracer import _native

if TYPE_CHECKING:
    from numpy.typing import NDArray

WORD: Final = 8


class HeaderColumns:
    """Columns of the headers of records, by row; records are multiples of eight bytes."""

    def __init__(self, records: _native.Records) -> None:
        self._words = numpy.frombuffer(records.data, "u8")
        self._starts = numpy.frombuffer(records.offsets, "u4") // WORD

    def word(self, offset: int) -> "NDArray[numpy.uint64]":
        """Return the eight bytes at an offset that is a multiple of eight."""
        words: NDArray[numpy.uint64] = self._words[self._starts + offset // WORD]
        return words

    def half(self, offset: int) -> "NDArray[numpy.uint32]":
        """Return the four bytes at an offset that is a multiple of four."""
        halves: NDArray[numpy.uint32] = self._words.view("u4")[self._starts.astype("i8") * 2 + offset // 4]
        return halves

    def times(self) -> tuple[int, int]:
        """Return the earliest and the latest time of the records' own clock."""
        times = self.word(8)
        return int(times.min()), int(times.max())

    def cgroups(self) -> list[int]:
        """Return the ids of cgroups, each once, but for 0."""
        return [each for each in numpy.unique(self.word(40)).tolist() if each]

    def select(self, mask: "NDArray[numpy.bool_]") -> bytes:
        """Return the records of the rows that a mask chooses, end to end."""
        ends = numpy.append(self._starts[1:], numpy.uint32(len(self._words)))
        chosen: Any = self._words[numpy.repeat(mask, ends - self._starts)]
        data: bytes = chosen.tobytes()
        return data
