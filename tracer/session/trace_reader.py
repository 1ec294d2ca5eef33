"""A running trace: batches of records until it ends, and the account of them."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from traceleft.tracer import _native
from traceleft.tracer.account.handout import Handout
from traceleft.tracer.account.ledger import Figures, KernelCounts, Ledger, ReaderCounts, Tally, add_tallies, make_ledger
from traceleft.tracer.decode.ahead import AheadQueue
from traceleft.tracer.session.following import Watch, make_unfinished
from traceleft.tracer.session.maps import Count
from traceleft.tracer.session.session import Session

if TYPE_CHECKING:
    from traceleft.tracer.session.kernel_rollup import RawGroups

WAIT_MS: Final = 20
# So many batches are looked at before their turn, and so long is waited for them while one batch is handed out.
AHEAD_MAX: Final = 8
AHEAD_S: Final = 0.04
# How often to look whether what is followed has ended, while records keep coming.
LOOK_S: Final = 0.25


class Reader:
    """Reads a session's records and ends it: at a deadline, on stop(), when nothing is left to follow.

    Any thread may stop() or close() it while another waits for a batch.
    """

    def __init__(self, session: Session, *, follows: bool, wants_unfinished: bool) -> None:
        self._session = session
        self._follows = follows
        self._wants_unfinished = wants_unfinished
        self._specs = {part.spec.id: part.spec for part in session.plan.parts}
        self._watch = Watch(session.maps)
        self._lock = threading.Lock()
        self._stop = False
        self._has_ended = False
        self._deadline: float | None = None
        self._next_look = 0.0
        self._ahead = AheadQueue(AHEAD_MAX)
        self._ahead_s = AHEAD_S
        self._made = b""
        self._made_tally: Tally = {}
        self._kernel = KernelCounts()
        self._delivered: Counter[tuple[int, int]] = Counter()
        self._dropped: Counter[tuple[int, int]] = Counter()
        self._undecodable: Counter[tuple[int, int]] = Counter()
        self._surplus = 0
        self._handout: Handout | None = None
        self._settling = threading.Lock()
        self._counts: Mapping[str, Count] = {}
        self._rolled_up: RawGroups | None = None
        self._ticks: list[Callable[[], object]] = []

    def rolled_up(self) -> "RawGroups":
        """Return what the kernel has rolled up so far, where it was asked to; complete after the end."""
        return self._session.rolled_up() if self._rolled_up is None else self._rolled_up

    @property
    def counts(self) -> Mapping[str, Count]:
        """What the kernel counted by event name, where it was asked to; complete after the end."""
        return self._counts

    def set_deadline(self, duration_s: float | None) -> None:
        """End the trace after a time."""
        self._deadline = None if duration_s is None else time.monotonic() + duration_s

    def on_tick(self, tick: Callable[[], object]) -> None:
        """Call this as well, often while the trace runs, between batches, from the thread that reads."""
        self._ticks.append(tick)

    def stop(self) -> None:
        """End the trace; what is in the buffer can still be read. May be called from a signal handler."""
        self._stop = True

    def next_batch(self) -> _native.Records | None:
        """Return the next records in order of time; None when the trace has ended and all were read."""
        with self._lock:
            self._ahead_s = AHEAD_S
            while not self._has_ended:
                records = self._take(self._wait_ms())
                for tick in self._ticks:
                    tick()
                if self._is_due(is_idle=not len(records)):
                    self._end()
                if len(records):
                    return records
            rest = self._take(0, final=True)
            if len(rest):
                return rest
            made, self._made = self._made, b""
            return _native.Records(made) if made else None

    def look_ahead(self) -> _native.Records | None:
        """Return records before `next_batch` returns them, for the forks among them; None if nothing came yet.

        Not after stop(): then what is left has to be handed out soon.
        """
        with self._lock:
            return None if self._stop else self._ahead.look(self._take_early)

    def hand_out(self, records: _native.Records) -> Handout:
        """Begin to deliver records; whoever does so settles the account at the end, or close() does."""
        self._handout = Handout(records)
        return self._handout

    def figures(self) -> Figures:
        """Return the account so far, for the thread that reads; what is under way is emitted and not delivered yet."""
        kernel = self._session.maps.kernel_counts(self._specs, self._session.cpus)
        account = self._session.drain.account()
        return Figures(
            emitted=sum(kernel.emitted.values()),
            delivered=sum(self._delivered.values()),
            # Below v5.1 the kernel's own count misses what a perf buffer lost.
            lost=max(sum(kernel.lost.values()), sum((account["lost"] or {}).values())),
            dropped=sum(self._dropped.values()) + sum(account["dropped"].values()),
            undecodable=sum(self._undecodable.values()) + sum(account["undecodable"].values()),
            compat=sum(kernel.compat_by_cpu.values()),
            missed=sum(kernel.missed.values()) + sum(kernel.missed_by_cpu.values()),
        )

    def settle(self, handout: Handout) -> None:
        """Account for what was handed out as delivered and for the rest as thrown away; may be called again."""
        with self._settling:
            if handout.is_settled:
                return
            handout.is_settled = True
        records, done = handout.records, handout.done
        self._delivered.update(records.tally(0, done))
        if done < len(records):
            self._drop(records.tally(done, len(records)))
        for key in handout.refused:
            self._delivered[key] -= 1
            self._undecodable[key] += 1

    def close(self) -> Ledger:
        """End the trace if it has not, throw away what is left, and return the ledger; may be called again."""
        self._stop = True
        # An iteration that was broken off may never come back; one that is going on settles by itself.
        if self._handout is not None and self._handout.take_up():
            self.settle(self._handout)
        with self._lock:
            self._end()
            while len(rest := self._take(0, final=True)):
                self._drop(rest.tally())
            if self._made:
                self._drop(_native.Records(self._made).tally())
                self._made = b""
            return self._make_ledger()

    def _take(self, wait_ms: int, *, final: bool = False) -> _native.Records:
        found = self._ahead.pop()
        return self._session.drain.take(wait_ms, final=final) if found is None else found

    def _take_early(self) -> _native.Records | None:
        begun = time.monotonic()
        wait_ms = 0 if self._has_ended else int(1000 * min(self._ahead_s, WAIT_MS / 1000))
        records = self._session.drain.take(wait_ms, final=self._has_ended)
        self._ahead_s = max(0.0, self._ahead_s - (time.monotonic() - begun))
        return records if len(records) else None

    def _wait_ms(self) -> int:
        if self._deadline is None:
            return WAIT_MS
        return max(0, min(WAIT_MS, int((self._deadline - time.monotonic()) * 1000)))

    def _is_due(self, *, is_idle: bool) -> bool:
        now = time.monotonic()
        if self._stop or (self._deadline is not None and now >= self._deadline):
            return True
        if not self._follows or not (is_idle or now >= self._next_look):
            return False
        self._next_look = now + LOOK_S
        return self._watch.is_over()

    def _end(self) -> None:
        """Stop the flow, and read the kernel's accounts once they stand still."""
        if self._has_ended:
            return
        self._has_ended = True
        session = self._session
        session.disable()
        if self._wants_unfinished:
            specs = {id: spec for id, spec in self._specs.items() if spec.entry != "emit"}
            # Whose threads are asked for by more than their process, the kernel alone can tell.
            made = make_unfinished(session.maps, specs, with_earlier=not session.asks_identity)
            self._made = b"".join(made)
            self._made_tally = _native.Records(self._made).tally()
        session.detach()
        session.drain.stop()
        self._kernel = session.counts()
        self._rolled_up = session.rolled_up()
        found = {spec.name: session.maps.count(spec.id, session.cpus) for spec in self._specs.values()}
        self._counts = {name: count for name, count in found.items() if count is not None}

    def _drop(self, tally: Tally) -> None:
        self._dropped.update(tally)
        self._surplus += sum(tally.values())

    def _make_ledger(self) -> Ledger:
        account = self._session.drain.account()
        kernel = replace(self._kernel, emitted=add_tallies(self._kernel.emitted, self._made_tally))
        reader = ReaderCounts(
            delivered=self._delivered,
            dropped=add_tallies(self._dropped, account["dropped"]),
            undecodable=add_tallies(self._undecodable, account["undecodable"]),
            received={key: received for key, (received, _) in account["sequences"].items()},
            late=account["late"],
            surplus=self._surplus,
            buffer_lost=account["lost"],
            is_final=account["lost_is_final"],
            waits=account["waits"],
        )
        return make_ledger(kernel, reader, {id: spec.name for id, spec in self._specs.items()})
