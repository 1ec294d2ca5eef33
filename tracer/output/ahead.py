"""Records that are looked at before their turn, by who has to know what comes next."""

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from traceleft.tracer import _native

AHEAD_MAX: Final = 4


class Ahead:
    """Iterates over records; ``look`` returns some of them before. An error comes in its turn, after all before it."""

    def __init__(self, records: "Iterator[_native.Records]") -> None:
        self._records = records
        self._seen: deque[_native.Records] = deque()
        self._error: Exception | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> "_native.Records":
        if self._seen:
            return self._seen.popleft()
        if self._error is not None:
            raise self._error
        return next(self._records)

    def look(self) -> "_native.Records | None":
        """Return records that will come; None where there are no more, or enough wait for their turn."""
        if len(self._seen) >= AHEAD_MAX or self._error is not None:
            return None
        try:
            found = next(self._records, None)
        except Exception as error:
            self._error = error
            return None
        if found is not None:
            self._seen.append(found)
        return found
