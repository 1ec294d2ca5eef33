"""From a running trace into a recording: records as they come, and which of them are written by now."""

import os
from collections import deque
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from traceleft.battery import Battery
from traceleft.tracer import _native
from traceleft.tracer.account.handout import Account, Handout
from traceleft.tracer.kernel.formats import select_running
from traceleft.tracer.recording.file_format import make_head
from traceleft.tracer.recording.writer import Recorder
from traceleft.tracer.stacks.recorded_stacks import StackNotes

if TYPE_CHECKING:
    from traceleft.tracer.stacks.live_stacks import LiveStacks


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A handout, how many of its records were taken, and the number of the last one taken, ``end``."""

    reader: Account
    handout: Handout
    taken: int
    end: int


class RecordingSink:
    """Hands records to a recorder and settles each batch of them once it is in the file; not for more than one thread.

    What waits for a block to be full waits for a second at most.
    """

    def __init__(
        self,
        recorder: Recorder,
        battery: Battery,
        events: Collection[str],
        *,
        command: str = "",
        directory: str = "",
    ) -> None:
        host = os.uname()
        self._recorder = recorder
        self._make_head = partial(
            make_head,
            battery.schema_bytes(select_running(battery).name),
            events,
            host=host.nodename,
            kernel=host.release,
            command=command,
            directory=directory,
        )
        self._waiting: deque[_Waiting] = deque()
        self._taken = 0
        self._has_failed = False

    def begin(self, *, offset_ns: int, hook: str, level: str, stacks: "LiveStacks | None" = None) -> None:
        """Write the head; ``offset_ns`` leads from the records' clock to the epoch's, ``stacks`` from ids to stacks.

        ``hook`` and ``level`` are those that the trace has come to.
        """
        if stacks is not None:
            self._recorder.keep_stacks(StackNotes(stacks))
        head = self._make_head(hook=hook, level=level)
        self._recorder.begin(msgspec.structs.replace(head, offset_ns=offset_ns))

    def take(self, reader: Account, records: _native.Records, wanted: _native.Records) -> None:
        """Take the first of a batch of records, those that are ``wanted``."""
        self._taken += len(wanted)
        self._waiting.append(_Waiting(reader, reader.hand_out(records), len(wanted), self._taken))
        self._try(lambda: self._recorder.write(wanted))

    def tick(self) -> None:
        """Write what has waited long enough."""
        self._try(self._recorder.flush_if_due)

    def flush(self) -> None:
        """Write what waits."""
        self._try(self._recorder.flush)

    def finish(self) -> None:
        """Write what waits if that can be done, and settle all; may be called again."""
        if not self._has_failed:
            with suppress(OSError):
                self.flush()
        while self._waiting:
            self._settle(self._waiting.popleft())

    def _try(self, write: Callable[[], object]) -> None:
        try:
            write()
        except BaseException:
            self._has_failed = True
            raise
        finally:
            while self._waiting and self._waiting[0].end <= self._recorder.stored:
                self._settle(self._waiting.popleft())

    def _settle(self, waiting: _Waiting) -> None:
        """Account for what is in the file as delivered, for the rest as thrown away."""
        begin = waiting.end - waiting.taken
        waiting.handout.done = min(max(self._recorder.stored - begin, 0), waiting.taken)
        waiting.reader.settle(waiting.handout)
