"""Records that are looked at before their turn, where something has to know what comes next."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from traceleft.tracer import _native

AHEAD_MAX: Final = 4


class AheadQueue:
    """Keeps at most ``most`` batches of records that were looked at, until their turn comes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._seen: deque[_native.Records] = deque()

    def look(self, take: "Callable[[], _native.Records | None]") -> "_native.Records | None":
        """Return the records that ``take`` finds; None where it finds nothing, or enough wait for their turn."""
        found = take() if len(self._seen) < self._most else None
        if found is not None:
            self._seen.append(found)
        return found

    def pop(self) -> "_native.Records | None":
        """Return the first records whose turn has not come; None where nothing was looked at."""
        return self._seen.popleft() if self._seen else None


class Ahead:
    """Iterates over records; ``look`` returns some of them before. An error comes in its turn, after all before it."""

    def __init__(self, records: "Iterator[_native.Records]") -> None:
        self._records = records
        self._queue = AheadQueue(AHEAD_MAX)
        self._error: Exception | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> "_native.Records":
        if (found := self._queue.pop()) is not None:
            return found
        if self._error is not None:
            raise self._error
        return next(self._records)

    def look(self) -> "_native.Records | None":
        """Return records that will come; None where there are no more, or enough wait for their turn."""
        return self._queue.look(self._take)

    def _take(self) -> "_native.Records | None":
        if self._error is not None:
            return None
        try:
            return next(self._records, None)
        except Exception as error:
            self._error = error
            return None
