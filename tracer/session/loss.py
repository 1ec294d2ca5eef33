"""Loss, reported while it happens: what is missing so far, and which option helps."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from traceleft.tracer.account.ledger import Tally
from traceleft.tracer.account.remedy import buffer_remedy, busiest, reader_remedy
from traceleft.tracer.session.session import Session

LOOK_S: Final = 0.5
REPEAT_S: Final = 5.0


class LossWatch:
    """Looks for loss now and then, and tells it: at once the first time, then every few seconds while it grows.

    ``tell`` takes one line for the user. Not for more than one thread.
    """

    def __init__(self, session: Session, tell: Callable[[str], object], *, clock: Callable[[], float] = time.monotonic):
        self._session = session
        self._tell = tell
        self._clock = clock
        self._names = {part.spec.id: part.spec.name for part in session.plan.parts}
        self._next_look = clock() + LOOK_S
        self._told = 0

    def tick(self) -> None:
        """Look if it is time to; costs next to nothing otherwise."""
        now = self._clock()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_S
        kernel = self._session.maps.kernel_counts(self._names, self._session.cpus)
        account = self._session.drain.account()
        # Below v5.1 the kernel's own count misses what a perf buffer lost.
        lost = max(sum(kernel.lost.values()), sum((account["lost"] or {}).values()))
        dropped = sum(account["dropped"].values())
        if lost + dropped <= self._told:
            return
        self._told = lost + dropped
        self._next_look = now + REPEAT_S
        for line in self._lines(lost, dropped, kernel.emitted, waits=account["waits"]):
            self._tell(line)

    def _lines(self, lost: int, dropped: int, emitted: Tally, *, waits: int) -> list[str]:
        by_event: Counter[str] = Counter()
        for (event, _), number in emitted.items():
            by_event[self._names[event]] += number
        return describe_loss(lost, dropped, by_event, buffer_pages=self._session.buffer_pages, waits=waits)


def describe_loss(
    lost: int, dropped: int, by_event: Mapping[str, int], *, buffer_pages: int, waits: int = 0
) -> list[str]:
    """Return a line for each kind of loss so far; ``by_event`` is what was emitted, ``waits`` as in ReaderCounts."""
    lines = []
    if lost and waits:
        lines.append(
            f"{lost:,} records lost so far, the buffer is full, as their reader is too slow: "
            f"{reader_remedy(busiest(by_event))}"
        )
    elif lost:
        lines.append(f"{lost:,} records lost so far, the buffer is full: {buffer_remedy(buffer_pages, by_event)}")
    if dropped:
        lines.append(
            f"{dropped:,} records dropped so far, their reader is too slow: {reader_remedy(busiest(by_event))}"
        )
    return lines
