"""The tracer: events of the running kernel, through a battery."""

import contextlib
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, Self

from traceleft.battery import Battery
from traceleft.errors import TraceleftError
from traceleft.tracer.account.ledger import Figures, Ledger
from traceleft.tracer.decode.event import Event
from traceleft.tracer.decode.values import error_name
from traceleft.tracer.dispatch import Dispatcher
from traceleft.tracer.facts import Facts
from traceleft.tracer.kernel.clock import clock_offset_ns
from traceleft.tracer.kernel.levels import LEVELS, refuse_stack_level
from traceleft.tracer.session.choice import Choice, choose
from traceleft.tracer.session.command import Command, find_command
from traceleft.tracer.session.costs import shape_of
from traceleft.tracer.session.ending import Patience, ended_by_signals
from traceleft.tracer.session.fallback import open_session
from traceleft.tracer.session.filters import FilterOptions, OneProcess, make_filters
from traceleft.tracer.session.following import find_targets, is_process, seed_tasks
from traceleft.tracer.session.loss import LossWatch
from traceleft.tracer.session.maps import WAIT_EXEC, Task
from traceleft.tracer.session.objections import check_plan
from traceleft.tracer.session.options import (
    BufferOptions,
    CountOptions,
    DetailOptions,
    LimitOptions,
    ProbeOptions,
    StackOptions,
    make_options,
)
from traceleft.tracer.session.overhead import Overhead, watch_overhead
from traceleft.tracer.session.session import Session
from traceleft.tracer.session.trace_reader import Reader

if TYPE_CHECKING:
    from traceleft.tracer.output.fdnames import FdNames
    from traceleft.tracer.recording.writer import Recorder
    from traceleft.tracer.session.kernel_rollup import KernelGroups
    from traceleft.tracer.session.recording_sink import RecordingSink
    from traceleft.tracer.stacks.live_stacks import LiveStacks

WarningCallback = Callable[[str], object]
# How long what is in the buffer is still handed out after a signal.
DRAIN_S: Final = 1.0


class Tracer(Facts):
    """Traces system calls and other events of the running kernel.

    ::

        battery = Battery.open("build/battery")
        with Tracer(battery, events=["openat", "%network"], command=["curl", "example.org"], follow=True) as tracer:
            for event in tracer:
                print(event.comm, event.event, event.args, event.ret)
        print(tracer.ledger)

    Take events in one of three ways: by callbacks and ``run()``, by iteration, or by ``async for``. After the tracer is
    closed, ``ledger`` accounts for every event.

    - ``events``: expressions as ``-e`` takes them, such as ``openat``, ``%file`` or ``!futex``. By default every system
      call. Events that this kernel lacks are left out, and ``notices`` names them.
    - ``pids``: processes to trace, or single threads. ``command``: a command to run and trace, as a list of words.
      ``follow``: also trace the children of both. Without pids and command, every process but this one is traced.
    - ``filters``: which of these calls become events. ``details``: how much an event tells. ``stacks``: stacks of
      events, none by default. ``counts``: figures that the kernel adds up.
    - ``probes``: hooks and levels. ``buffers``: memory. ``limits``: what the trace may cost.

    Needs root, or CAP_BPF and CAP_PERFMON; Linux 4.4 or later; libbpf 1.0 or later. What can be refused before
    anything is loaded is refused here. Raises UnsupportedError where the kernel, a privilege or libbpf lacks
    something, ExpressionError for an unknown event, CommandError for a command that cannot be found, BatteryError for a
    damaged battery, and TraceleftError for a text in place of a list. Each message is one line that names the remedy.
    """

    _on_warning: WarningCallback | None = None
    _overhead: Overhead | None = None
    _sink: "RecordingSink | None" = None
    _stacks: "LiveStacks | None" = None
    _session: Session | None = None
    _reader: Reader | None = None
    _command: Command | None = None
    _is_released = False
    _ledger: Ledger | None = None
    signal: int | None = None

    def __init__(
        self,
        battery: Battery,
        *,
        events: Sequence[str] = (),
        pids: Sequence[int] = (),
        command: Sequence[str] | None = None,
        follow: bool = False,
        filters: FilterOptions | None = None,
        details: DetailOptions | None = None,
        stacks: StackOptions | None = None,
        counts: CountOptions | None = None,
        probes: ProbeOptions | None = None,
        buffers: BufferOptions | None = None,
        limits: LimitOptions | None = None,
    ) -> None:
        _refuse_text(events=events, command=command)
        filters, details, counts = filters or FilterOptions(), details or DetailOptions(), counts or CountOptions()
        self._limits = limits or LimitOptions()
        self.kill = self._limits.kill
        follows = bool(pids) or command is not None
        self._filters = make_filters(
            filters, pids=find_targets(pids, own_pid=os.getpid()), follow=follow, text_limit=details.text_limit
        )
        self._options = make_options(
            counts,
            details,
            buffers or BufferOptions(),
            stacks,
            follows=follows,
            asks_result=filters.asks_result,
            sheds=self._limits.max_overhead_pct is not None,
        )
        if command is not None:
            find_command(command[0] if command else "")
        self._battery = battery
        self._command_line = command
        self._choice = self._choose(battery, events, probes or ProbeOptions(), follows=follows)
        self._plan = self._choice.best()
        self._tables = self._choice.schema.tables
        self._dispatcher = Dispatcher({part.spec.id: part.spec for part in self._plan.parts}, self._tables)
        self._on_ticks: list[Callable[[], object]] = []
        self._stack = contextlib.ExitStack()
        self._closing = threading.Lock()
        self._patience = Patience()  # Not a method of ours, which would keep us, and the buffers, from being freed.
        self._dispatcher.ends_when(self._patience.is_over)

    def _choose(self, battery: Battery, events: Sequence[str], probes: ProbeOptions, *, follows: bool) -> Choice:
        options = self._options
        if options.stacks is not None and probes.level is not None:
            refuse_stack_level(LEVELS[probes.level])
        is_brief = probes.brief or self._command_line is not None or options.rollup is not None
        return choose(
            battery,
            events,
            hook=probes.hook,
            uses_pids=follows,
            level=probes.level,
            required=probes.required,
            shape=None if is_brief else shape_of(self._filters, options),
            check=partial(check_plan, filters=self._filters, options=options),
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def start(self) -> None:
        """Load and attach all programs, and let events flow. Entering the tracer does this.

        A command still waits until events are first read. Raises ProbeError or RefusedError where the kernel refuses a
        program, UnsupportedError where it lacks something, CommandError where the command cannot be executed, and
        TraceleftError for a second start.
        """
        if self._session is not None:
            raise TraceleftError("a tracer can be started once; make another one")
        with contextlib.ExitStack() as stack:
            # The command is forked first: it inherits nothing of what follows.
            if self._command_line is not None:
                self._command = Command(self._command_line, has_ender=self._limits.sandbox)
                stack.callback(self._end_command, self._command)
            if self._options.stacks is not None:
                from traceleft.tracer.stacks.live_stacks import LiveStacks

                self._stacks = stack.enter_context(LiveStacks(self._notice, self._patience.is_over))
            session = stack.enter_context(
                open_session(self._choice, self._plan, self._filters, self._options, tell=self._notice)
            )
            self._plan = replace(session.plan, notices=self._plan.notices)
            if self._command is not None:
                session.maps.put_task(
                    self._command.pid, Task(0 if self._filters.follow else self._command.pid, WAIT_EXEC)
                )
            seed_tasks(session.maps, self._filters.pids, follow=self._filters.follow)
            self._narrow(session)
            self._dispatcher.offset_ns = clock_offset_ns()
            if self._stacks is not None:
                self._begin_stacks(self._stacks, session)
            if self._sink is not None:
                self._begin_sink(self._sink)
            session.enable()
            self._session = session
            self._reader = Reader(session, follows=self._options.tasks_only, wants_unfinished=self._options.unfinished)
            self._watch(session, self._reader, stack)
            self._stack = stack.pop_all()

    def _notice(self, line: str) -> None:
        self._plan = replace(self._plan, notices=(*self._plan.notices, line))
        if self._on_warning is not None:
            self._on_warning(line)

    def _begin_sink(self, sink: "RecordingSink") -> None:
        sink.begin(offset_ns=self._dispatcher.offset_ns, hook=self.hook, level=self.level, stacks=self._stacks)

    def _begin_stacks(self, stacks: "LiveStacks", session: Session) -> None:
        stacks.begin(session.maps.fds["stacks"], {part.spec.id: part.spec.fixed_size for part in self._plan.parts})
        self._dispatcher.take_stacks(stacks)

    def _narrow(self, session: Session) -> None:
        command = self._command
        processes = [*self._filters.pids, *([] if command is None else [command.pid])]
        if len(processes) == 1 and not self._filters.follow and is_process(processes[0]):
            session.trace_only(OneProcess(processes[0], is_waiting=command is not None))

    def on_warning(self, callback: WarningCallback) -> None:
        """Call ``callback(line)`` with one line of text when events are lost or shed while the trace runs.

        Set it before the start. It is called between events, in the thread that reads.
        """
        self._on_warning = callback

    def on_tick(self, callback: Callable[[], object]) -> None:
        """Call ``callback()`` often while the trace runs, some 50 times a second, between batches.

        All events that were read before have reached their callbacks then. Set it before the start. It is called in the
        thread that reads.
        """
        self._on_ticks.append(callback)

    def resolve_paths(self, names: "FdNames") -> None:
        """Let each batch have the files that its events are about (``Batch.paths``), looked up by ``names``."""
        self._dispatcher.resolve_paths(names)

    def record(self, recorder: "Recorder", *, command: str = "", directory: str = "") -> None:
        """Write every record that ``run`` reads to a recording, in addition to callbacks.

        ::

            with Tracer(battery, events=["openat"]) as tracer, Recorder("x.rec") as recorder:
                tracer.record(recorder)
                tracer.run(duration_s=10)
                tracer.close()
                recorder.close(tracer.ledger)

        An event counts as delivered once its block is written. Close the recorder with the ledger. ``command`` tells
        readers of the recording what was traced, and ``directory`` where the command began.
        """
        from traceleft.tracer.session.recording_sink import RecordingSink

        self._sink = RecordingSink(recorder, self._battery, self.specs, command=command, directory=directory)
        self._dispatcher.record(self._sink)
        if self._reader is not None:
            self._begin_sink(self._sink)
            self._reader.on_tick(self._sink.tick)

    def run(self, *, duration_s: float | None = None, max_events: int | None = None) -> None:
        """Read events and call back until the trace ends.

        It ends when all that is followed has ended, after ``duration_s`` seconds, after ``max_events`` events, by
        ``stop()``, and, in the main thread, by SIGINT, SIGTERM or SIGHUP, which ``signal`` names then. Events that are
        still in the buffer are read; after a signal for at most one second. Starts the tracer if it was not started.
        Raises what a callback raises.
        """
        reader = self._begin(duration_s)
        with ended_by_signals(self._end_by_signal):
            left = max_events
            while (records := reader.next_batch()) is not None:
                wanted = len(records) if left is None else min(left, len(records))
                self._dispatcher.dispatch(reader, records, wanted)
                left = None if left is None else left - wanted
                if left == 0 or self._patience.is_over():
                    break
            if self._sink is not None:
                self._sink.flush()
            self._finish()

    def events(self, *, duration_s: float | None = None) -> Iterator[Event]:
        """Yield events in order of time until the trace ends, as ``run`` does. Iterating over the tracer is the same.

        Raises TraceleftError where a recording is made, which ``run`` is for.
        """
        reader = self._begin(duration_s)
        while (records := reader.next_batch()) is not None:
            yield from self._dispatcher.events(reader, records)
        self._finish()

    def __iter__(self) -> Iterator[Event]:
        return self.events()

    async def __aiter__(self) -> AsyncIterator[Event]:
        import asyncio  # Who iterates so has imported it; for others it is a tenth of the start.

        reader = self._begin(None)
        while (records := await asyncio.to_thread(reader.next_batch)) is not None:
            for event in self._dispatcher.events(reader, records):
                yield event
        await asyncio.to_thread(self._finish)

    def stop(self) -> None:
        """End the trace, from any thread or signal handler. Events that are in the buffer are still read."""
        if self._reader is not None:
            self._reader.stop()

    def close(self) -> None:
        """Detach and release everything; leaving the tracer does this.

        A command that still runs is ended, unless it may go on (``LimitOptions(kill=False)``). May be called again,
        from any thread.
        """
        with self._closing:
            if self._reader is not None:
                self._ledger = self._end_reader(self._reader)
            self._stack.close()

    @property
    def ledger(self) -> Ledger:
        """The account of the trace, complete once the trace has ended.

        Raises TraceleftError before that.
        """
        if self._ledger is None:
            raise TraceleftError("the ledger is made at the end of a trace: close the tracer first")
        return self._ledger

    def figures(self) -> Figures:
        """Return the account so far while the trace runs. Call it in the thread that reads (``on_tick``)."""
        return Figures() if self._reader is None else self._reader.figures()

    @property
    def rolled_up(self) -> "KernelGroups":
        """The groups that the kernel has rolled up so far, complete once the trace has ended.

        ``CountOptions(rollup=…)`` asks for them, and ``result_of`` makes rows of them. May be read from any thread.
        Raises TraceleftError where no rollup was asked for.
        """
        spec = self._options.rollup
        if spec is None:
            raise TraceleftError("nothing is rolled up: give the tracer a rollup")
        with self._closing:
            raw = {} if self._reader is None else self._reader.rolled_up()
        names = {part.spec.id: part.spec.name for part in self._plan.parts}
        return spec.show(
            raw, event=names.__getitem__, error=lambda each: self._tables.errno.get(each) or error_name(each)
        )

    def _watch(self, session: Session, reader: Reader, stack: contextlib.ExitStack) -> None:
        ticks = [*self._on_ticks]
        if self._on_warning is not None:
            ticks.append(LossWatch(session, self._on_warning).tick)
        if (limit_pct := self._limits.max_overhead_pct) is not None:
            self._overhead = stack.enter_context(self._watch_overhead(session, limit_pct))
            ticks.append(self._overhead.tick)
        ticks += [each.tick for each in (self._sink, self._stacks) if each is not None]
        for tick in ticks:
            reader.on_tick(tick)

    def _watch_overhead(self, session: Session, limit_pct: float) -> contextlib.AbstractContextManager[Overhead]:
        tell = self._on_warning or (lambda line: None)
        return watch_overhead(session, limit_pct=limit_pct, counts_calls=self._options.is_only_counting, tell=tell)

    def _end_reader(self, reader: Reader) -> Ledger:
        if self._sink is not None:
            self._sink.finish()
        ledger = reader.close()
        if self._stacks is not None:
            ledger = replace(ledger, stacks_lost=self._stacks.lost)
        return ledger if self._overhead is None else replace(ledger, shed=dict(self._overhead.shed))

    def _begin(self, duration_s: float | None) -> Reader:
        if self._session is None:
            self.start()
        assert self._reader is not None
        self._reader.set_deadline(duration_s)
        if self._command is not None and not self._is_released:
            self._is_released = True
            self._command.release()
        return self._reader

    def _finish(self) -> None:
        with self._closing:
            if self._reader is not None:
                self._ledger = self._end_reader(self._reader)

    def _end_by_signal(self, number: int) -> None:
        self.signal = number
        self._patience.begin(DRAIN_S)
        self.stop()


def _refuse_text(**lists: Sequence[str] | None) -> None:
    """Raise TraceleftError for a text in place of a list: its letters would be taken one by one."""
    for name, value in lists.items():
        if isinstance(value, str):
            raise TraceleftError(f"{name} is a list, not a text: write {name}={value.split()}")
