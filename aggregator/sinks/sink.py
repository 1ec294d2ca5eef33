"""A sink: a bounded queue and the thread that empties it, so that what is slow or dead delays nobody.

What does not fit into the queue is dropped, and counted. What cannot be written is tried again, after longer and longer
pauses, for a while. The account adds up: ``accepted`` is ``written`` and ``dropped`` together, once a sink is closed.
"""

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

import msgspec

from traceleft.aggregator.rollups.rollup import Result
from traceleft.errors import TraceleftError
from traceleft.terminal import hide_credentials
from traceleft.tracer.decode.batch import Batch
from traceleft.tracer.sandbox.privileges import block_signals

Kind = Literal["events", "rows", "alerts", "ledger"]
KINDS: Final[tuple[Kind, ...]] = ("events", "rows", "alerts", "ledger")

QUEUE_BYTES: Final = 64 << 20
IDLE_S: Final = 0.5
"""How often a target is asked whether it has something to do while nothing comes."""
PATIENCE_S: Final = 5.0
"""How long closing waits for a sink that gets nothing done."""
LIMIT_S: Final = 30.0
"""How long closing waits at most."""
_ROW_BYTES: Final = 256


class SinkError(TraceleftError):
    """A sink cannot be opened, or refuses what it is given. Trying again would not help."""


class LostError(Exception):
    """Records that a target had taken are gone. ``records`` is their number; they had counted as written."""

    def __init__(self, records: int, reason: str) -> None:
        self.records = records
        super().__init__(reason)


@dataclass(slots=True)
class Item:
    """What a sink's target is given.

    ``kind`` is ``events``, ``rows``, ``alerts`` or ``ledger``. ``payload`` holds lines of JSON, a batch, a rollup's
    result, an alert or the ledger, and ``records`` counts the events, rows or alerts in it. ``size`` is about how many
    bytes they take. A target that wrote a part of the lines takes these off, so that only the rest is tried again.
    """

    kind: Kind
    payload: bytes | Batch | Result | Mapping[str, object]
    records: int
    size: int = 0
    """About how many bytes it holds as it is queued."""

    def __post_init__(self) -> None:
        self.size = _size_of(self.payload)

    def lines(self) -> bytes:
        """Return the content as lines of JSON. The item holds these lines from then on."""
        if isinstance(self.payload, Result):
            name = self.payload.rollup.name
            self.payload = b"".join(_line({"rollup": name, **row}) for row in self.payload.to_json())
        elif isinstance(self.payload, Mapping):
            self.payload = _line({"ledger": self.payload} if self.kind == "ledger" else self.payload)
        assert isinstance(self.payload, bytes)
        return self.payload

    def take_off(self, size: int) -> None:
        """Take off the first lines, ``size`` bytes of them."""
        lines = self.lines()
        self.records -= lines.count(b"\n", 0, size)
        self.payload = lines[size:]


def _size_of(payload: bytes | Batch | Result | Mapping[str, object]) -> int:
    match payload:
        case bytes():
            return len(payload)
        case Batch():
            return payload.size
        case Result():
            texts = (key for row in payload.rows for key in row.keys or () if isinstance(key, str))
            return _ROW_BYTES * (1 + len(payload.rows)) + sum(map(len, texts))
    return _ROW_BYTES + len(msgspec.json.encode(payload))


def _line(value: object) -> bytes:
    return msgspec.json.encode(value) + b"\n"


class Target(Protocol):
    """Where a sink writes. Derive a target of your own from this protocol, or give a class the same methods.

    All methods are called in the sink's thread.
    """

    @property
    def pending(self) -> int:
        """The number of records that were taken and may still be lost."""
        ...

    def write(self, item: Item) -> None:
        """Write an item.

        Raises OSError for what may work later, SinkError for what will not, and LostError for pending records that are
        gone.
        """

    def idle(self) -> None:
        """Do what is due while nothing comes. Called now and then."""

    def finish(self) -> None:
        """Write what is pending, at the end."""

    def close(self) -> None:
        """Release everything; may be called again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How a failed write is tried again.

    The first pause is ``first_s`` seconds. Each further pause is twice as long, up to ``longest_s``. After ``limit_s``
    seconds the item is dropped.
    """

    first_s: float = 0.1
    longest_s: float = 5.0
    limit_s: float = 30.0

    def pause_s(self, tries: int) -> float:
        """Return the pause in seconds after so many tries. Up to half of it is left to chance."""
        return float(min(self.longest_s, self.first_s * 2.0 ** min(tries - 1, 32)) * random.uniform(0.5, 1))


@dataclass(slots=True)
class Account:
    """What became of a sink's records: events, rows, alerts. ``ledger`` figures do not count."""

    accepted: int = 0
    written: int = 0
    dropped: int = 0
    retries: int = 0
    last_error: str | None = None

    def to_json(self) -> dict[str, object]:
        """Return the figures by name."""
        return {
            "accepted": self.accepted,
            "written": self.written,
            "dropped": self.dropped,
            "retries": self.retries,
            "last_error": self.last_error,
        }

    def __str__(self) -> str:
        text = f"{self.dropped:,} of {self.accepted:,} records dropped"
        return f"{text}: {self.last_error}" if self.last_error else text


@dataclass(slots=True)
class Sink:
    """A target, a queue before it, and a thread between them.

    ::

        sinks = Sinks([(Sink("mine", target, takes=frozenset({"events"})), False)])

    Whatever is offered is queued at once and written by the thread, so that a slow target does not slow a trace. What
    fails is tried again (``retry``). What does not fit into ``queue_bytes`` is dropped and counted, or waited for where
    ``waits`` is set. ``takes`` are the kinds of items. ``tell`` is called with one line, in the sink's thread, when the
    target first fails.
    """

    name: str
    target: Target
    takes: frozenset[Kind] = frozenset(KINDS)
    queue_bytes: int = QUEUE_BYTES
    waits: bool = False
    retry: Retry = field(default_factory=Retry)
    tell: Callable[[str], object] = lambda line: None
    _account: Account = field(default_factory=Account)
    _queue: deque[Item] = field(default_factory=deque)
    _queued_bytes: int = 0
    _current: Item | None = None
    _in_hand: int = 0
    _has_failed: bool = False
    _is_closing: bool = False
    _is_abandoned: bool = False
    _change: threading.Condition = field(default_factory=threading.Condition)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread. To be called after a command was forked (``Tracer.start``)."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"sink {self.name}", daemon=True)
            self._thread.start()

    def offer(self, item: Item) -> None:
        """Queue an item, or drop it where the queue is full. Returns at once unless the sink ``waits``."""
        with self._change:
            self._account.accepted += _counted(item)
            if self.waits and not self._has_failed and self._thread is not None:
                self._change.wait_for(lambda: self._has_room(item) or self._has_failed or self._is_abandoned)
            if self._is_closing or not self._has_room(item):
                self._account.dropped += _counted(item)
                self._account.last_error = self._account.last_error or "its queue was full"
                return
            self._queue.append(item)
            self._queued_bytes += item.size
            self._change.notify_all()

    def account(self) -> Account:
        """Return a copy of the account: records that were accepted, written and dropped."""
        with self._change:
            account = self._account
            return Account(account.accepted, account.written, account.dropped, account.retries, account.last_error)

    def begin_close(self) -> None:
        """Accept no more, and let the thread end once the queue is empty."""
        self.start()
        with self._change:
            self._is_closing = True
            self._change.notify_all()

    def end_close(self, *, patience_s: float = PATIENCE_S, deadline: float) -> None:
        """Wait for the thread until ``deadline`` (monotonic clock, in seconds).

        A thread that makes no progress for ``patience_s`` is abandoned, and what is left is dropped.
        """
        assert self._thread is not None
        progress, stalled_at = -1, time.monotonic() + patience_s
        while self._thread.is_alive() and time.monotonic() < min(deadline, stalled_at):
            self._thread.join(0.05)
            account = self.account()
            if account.written + account.dropped != progress:
                progress, stalled_at = account.written + account.dropped, time.monotonic() + patience_s
        with self._change:
            if self._thread.is_alive():
                self._abandon()

    def _abandon(self) -> None:
        # Of what the thread has in hand, a part may have arrived that is not counted yet.
        held = 0 if self._current is None else _counted(self._current)
        pending = self.target.pending
        self._account.written += self._in_hand - held - pending
        self._account.dropped += sum(map(_counted, self._queue)) + held + pending
        self._account.last_error = self._account.last_error or "it took too long"
        self._queue.clear()
        self._is_abandoned = True
        self._change.notify_all()

    def _has_room(self, item: Item) -> bool:
        return not self._queue or self._queued_bytes + item.size <= self.queue_bytes

    def _run(self) -> None:
        block_signals()
        try:
            self._empty()
        finally:
            self._attempt(self.target.close, Item("ledger", {}, 0))

    def _empty(self) -> None:
        while (item := self._next()) is not None or not self._is_over():
            if item is None:
                self._attempt(self.target.idle, Item("ledger", {}, 0))
            else:
                self._deliver(item)
        if not self._is_abandoned:
            self._attempt(self.target.finish, Item("ledger", {}, 0))

    def _is_over(self) -> bool:
        with self._change:
            return self._is_abandoned or (self._is_closing and not self._queue)

    def _next(self) -> Item | None:
        with self._change:
            self._change.wait_for(lambda: self._queue or self._is_closing or self._is_abandoned, IDLE_S)
            if not self._queue:
                return None
            item = self._current = self._queue.popleft()
            self._in_hand = _counted(item)
            self._queued_bytes -= item.size
            self._change.notify_all()
            return item

    def _deliver(self, item: Item) -> None:
        """Write an item, trying again until it is written or given up."""
        begun, tries = time.monotonic(), 0
        while self._attempt(lambda: self.target.write(item), item):
            tries += 1
            pause_s = self.retry.pause_s(tries)
            with self._change:
                is_late = time.monotonic() + pause_s > begun + self.retry.limit_s and not self._is_closing
                if is_late or self._is_abandoned:
                    break
                self._account.retries += 1
                closing = self._is_closing
                # Closing tries once more at once, and then goes on with the pauses until it is abandoned.
                self._change.wait_for(lambda: self._is_abandoned or self._is_closing != closing, pause_s)  # noqa: B023
        self._settle(item)

    def _settle(self, item: Item) -> None:
        with self._change:
            if not self._is_abandoned:
                self._account.dropped += _counted(item)
            self._current = None
            self._in_hand = 0

    def _attempt(self, action: Callable[[], None], item: Item) -> bool:
        """Do something with an item, count what of it is done; tell whether it is worth trying again."""
        before, lost, error, again = _counted(item), 0, "", False
        try:
            action()
            item.records = 0
        except LostError as exc:
            lost, error, again = exc.records, str(exc), bool(item.records)
        except OSError as exc:
            error, again = (exc.strerror or str(exc)).lower(), True
        except SinkError as exc:
            error = str(exc)
        except Exception as exc:
            # The thread goes on: what it cannot write is dropped, and said.
            error = f"{type(exc).__name__}: {exc}"
        # Libraries repeat the address that they were given.
        self._count(before - _counted(item), lost, hide_credentials(error))
        return again

    def _count(self, written: int, lost: int, error: str) -> None:
        with self._change:
            if self._is_abandoned:
                return
            self._in_hand -= written
            self._account.written += written - lost
            self._account.dropped += lost
            is_first = bool(error) and self._account.last_error is None
            self._has_failed = bool(error)
            self._account.last_error = error or self._account.last_error
            self._change.notify_all()
        if is_first:
            self.tell(f"sink {self.name}: {error}")


def _counted(item: Item) -> int:
    return 0 if item.kind == "ledger" else item.records
