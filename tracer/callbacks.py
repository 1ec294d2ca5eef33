"""What a trace and a replay hand their events to."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from traceleft.tracer.dispatch import BatchCallback, Dispatcher, EventCallback
from traceleft.tracer.schema.select import select_specs
from traceleft.tracer.schema.spec import EventSpec

if TYPE_CHECKING:
    from traceleft.tracer.output.lines import Writer


class Callbacks(ABC):
    """The callbacks of a trace or of a replay, to be set before it runs. A subclass sets ``_dispatcher``."""

    _dispatcher: Dispatcher

    @property
    @abstractmethod
    def specs(self) -> Mapping[str, EventSpec]:
        """The events that are handed over, by name."""
        ...

    def on(self, events: str, callback: EventCallback) -> None:
        """Call ``callback(event)`` with each event that an expression chooses, in order of time.

        ::

            tracer.on("openat", lambda event: print(event.comm, event.args.filename))

        ``events`` is an expression as ``-e`` takes it, over the events that are traced: ``openat,close``, ``%file``.
        An exception that a callback raises ends ``run()``. Raises ExpressionError for an event that is not traced.
        """
        self._dispatcher.on(select_specs(self.specs, [events]), callback)

    def on_batch(self, events: str, callback: BatchCallback) -> None:
        """Call ``callback(batch)`` with each batch of an event that an expression chooses.

        A ``Batch`` holds up to some tens of thousands of events of one kind, as columns without an object for each. The
        events of a batch are in order of time. Raises ExpressionError for an event that is not traced.
        """
        self._dispatcher.on_batch(select_specs(self.specs, [events]), callback)

    def on_round(self, callback: Callable[[], object]) -> None:
        """Call back when the batches of all events that came together have been handed over.

        After that no earlier event follows: results by window of time can be completed.
        """
        self._dispatcher.on_round(callback)

    def write_json(self, writer: "Writer", *, raw: bool = False) -> None:
        """Write every event as one line of JSON, in bulk, the fastest way to print events.

        ``writer`` has ``write(data: bytes)`` and ``taken``, the number of bytes of the last write that were taken, as
        ``open_sinks`` returns one. ``raw`` adds the arguments as the kernel passed them, as numbers. Takes
        the place of callbacks with single events; batches are still called back.
        """
        self._dispatcher.write_json(writer, raw=raw)

    def write_json_too(self, writer: "Writer", *, raw: bool = False) -> None:
        """Write every event as one line of JSON, in addition to callbacks and other lines.

        The account does not depend on these lines. See ``write_json``.
        """
        self._dispatcher.write_json_too(writer, raw=raw)
