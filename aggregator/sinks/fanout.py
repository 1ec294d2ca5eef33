"""Several sinks that are fed as one."""

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from traceleft.aggregator.rollups.rollup import Result
from traceleft.aggregator.sinks.sink import LIMIT_S, PATIENCE_S, Account, Item, Kind, Sink
from traceleft.tracer.decode.batch import Batch


class Sinks:
    """Several sinks as one. ``open_sinks`` returns it; use it in a with statement.

    Whatever is given to it returns at once. Leaving it writes what is queued and closes all sinks, within a time limit.
    It can be given to ``Tracer.write_json``. The constructor takes pairs of a sink and whether it takes events as
    batches instead of lines.
    """

    def __init__(self, sinks: Sequence[tuple[Sink, bool]]) -> None:
        self._sinks = sinks
        self.taken = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def wants_lines(self) -> bool:
        """Whether a sink takes events as lines of JSON."""
        return any("events" in sink.takes and not batches for sink, batches in self._sinks)

    @property
    def wants_batches(self) -> bool:
        """Whether a sink takes events as batches."""
        return any("events" in sink.takes and batches for sink, batches in self._sinks)

    def wants(self, kind: Kind) -> bool:
        """Return whether a sink takes this kind of item."""
        return any(kind in sink.takes for sink, _ in self._sinks)

    def start(self) -> None:
        """Start the threads of all sinks. To be called after a command was forked (``Tracer.start``)."""
        for sink, _ in self._sinks:
            sink.start()

    def events(self, lines: bytes) -> None:
        """Give whole lines of JSON, one event each."""
        records = lines.count(b"\n")
        for sink, batches in self._sinks:
            if "events" in sink.takes and not batches:
                sink.offer(Item("events", lines, records))

    def write(self, data: bytes) -> None:
        """Give whole lines of JSON, one event each.

        ``taken`` is the number of bytes of the last call that were taken.
        """
        self.taken = 0
        self.events(data)
        self.taken = len(data)

    def batch(self, batch: Batch) -> None:
        """Give a batch of events."""
        for sink, batches in self._sinks:
            if "events" in sink.takes and batches:
                # What names addresses is not for another thread.
                batch.stacks()
                sink.offer(Item("events", batch, len(batch)))

    def rows(self, result: Result) -> None:
        """Give rows of a rollup: of closed windows, each once, or of the whole trace so far."""
        self._offer("rows", result, len(result.rows))

    def alert(self, alert: Mapping[str, object]) -> None:
        """Give an alert, as ``Alert.to_json`` returns it."""
        self._offer("alerts", alert, 1)

    def ledger(self, figures: Mapping[str, object]) -> None:
        """Give the account of the trace so far, as ``Figures.to_json`` returns it."""
        self._offer("ledger", figures, 1)

    def account(self) -> dict[str, dict[str, object]]:
        """Return ``accepted``, ``written``, ``dropped``, ``retries`` and ``last_error`` of each sink, by its name."""
        return {name: account.to_json() for name, account in self.accounts().items()}

    def accounts(self) -> dict[str, Account]:
        """Return the account of each sink, by its name. The figures add up once all sinks are closed."""
        return {sink.name: sink.account() for sink, _ in self._sinks}

    def close(self, *, patience_s: float = PATIENCE_S, limit_s: float = LIMIT_S) -> None:
        """Write what is queued and close all sinks, within ``limit_s`` seconds.

        A sink that makes no progress for ``patience_s`` is abandoned.
        """
        deadline = time.monotonic() + limit_s
        for sink, _ in self._sinks:
            sink.begin_close()
        for sink, _ in self._sinks:
            sink.end_close(patience_s=patience_s, deadline=deadline)

    def _offer(self, kind: Kind, payload: Result | Mapping[str, object], records: int) -> None:
        for sink, _ in self._sinks:
            if kind in sink.takes:
                sink.offer(Item(kind, payload, records))
