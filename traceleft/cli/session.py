"""One run of ``trace``: refusals first, then the battery, then events until it ends, then the account."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from traceleft.cli.batteries import Choice, catalogue_of, choose_battery, make_battery
from traceleft.cli.names import live_names
from traceleft.cli.output import (
    Output,
    PrintOptions,
    connect_output,
    counts_of,
    folding,
    open_output,
    print_counts,
    report,
)
from traceleft.cli.signals import SIGNAL_BASE, signals_held
from traceleft.cli.sinks import Outlets, directories_of, use_network
from traceleft.cli.status import LOSS
from traceleft.errors import BatteryError, TraceleftError
from traceleft.expression import named
from traceleft.terminal import notice
from traceleft.tracer.kernel.features import probe_kernel
from traceleft.tracer.session.command import find_command
from traceleft.tracer.session.following import find_targets

if TYPE_CHECKING:
    from traceleft.battery import Battery
    from traceleft.tracer import Tracer
    from traceleft.tracer.session.kernel_rollup import KernelRollup

    MakeTracer = Callable[["TraceOptions", Battery, Sequence[str]], Tracer]

# Longer than a command takes to end that is about to.
BRIEFLY_S = 0.2
# What a shorter trace may save is not worth the time that measuring takes.
BRIEF_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceOptions(PrintOptions):
    """The options of ``trace``, by the names that the command gives them; other commands lack those that print."""

    pids: tuple[tuple[int, ...], ...]
    follow: bool
    expressions: tuple[str, ...]
    battery: Path | None
    signer: Path | None
    hook: str
    level: str | None
    text_limit: int
    success_only: bool
    failed_only: bool
    error: int | None
    uid: int | None
    comm: str | None
    cgroup: Path | None
    max_events: int | None
    duration_s: float | None
    buffer_pages: int | None
    max_overhead_pct: float | None
    fail_on_loss: bool
    ledger: Path | None
    command: tuple[str, ...]
    kill: bool = False
    stacks: bool = False
    environment: bool = False
    sandbox: bool = False

    @property
    def all_pids(self) -> tuple[int, ...]:
        """The pids of every ``-p``."""
        return tuple(pid for pids in self.pids for pid in pids)


def run_trace(options: TraceOptions) -> int:
    """Trace as the options say and return the exit status."""
    choice = choose(options)
    with ExitStack() as stack:
        outlets = stack.enter_context(Outlets(options)) if options.sinks or options.rules else None
        output = stack.enter_context(open_output(options.output))
        ledger = stack.enter_context(open_output(options.ledger)) if options.ledger else None
        tracer, battery = make_ready(options, choice)
        output.ends_with(lambda: tracer.signal is not None)
        if outlets is not None:
            outlets.follow(tracer, battery, raw=options.raw)
        if outlets is None or outlets.leaves_printing(options, output):
            connect_output(options, tracer, output, names=lambda: live_names(tracer, battery))
        stack.enter_context(folding(options, tracer, output))
        at_end = partial(print_counts, options, lambda: counts_of(tracer), output) if options.counting else None
        return follow_tracer(options, tracer, ledger, at_end=at_end, outlets=outlets)


def choose(options: TraceOptions) -> Choice:
    """Choose battery and events, and refuse what can be refused before anything is made."""
    choice = choose_battery(options.battery, options.expressions, options.level)
    require_signature(options, choice.battery)
    refuse_early(options)
    return choice


def make_ready(options: TraceOptions, choice: Choice, make: "MakeTracer | None" = None) -> "tuple[Tracer, Battery]":
    """Return a tracer that is not started, with its notices printed, and the battery, made if there was none."""
    probe_kernel(only=("privileges",)).require("privileges")
    battery = choice.battery or make_battery(choice.events, options.level)
    tracer = (make or make_tracer)(options, battery, choice.events)
    for text in tracer.notices:
        notice(text)
    tracer.on_warning(warn)
    return tracer, battery


def warn(text: str) -> None:
    """Print one line on stderr between events; where nobody reads it, the trace goes on."""
    with suppress(OSError):
        notice(text)


def require_signature(options: TraceOptions, battery: "Battery | None") -> None:
    """Refuse a battery that was not signed with the key that the options name, before anything else is done."""
    if options.signer is None:
        return
    if battery is None:
        raise BatteryError("no battery fits that could be signed; name one with --battery")
    from traceleft.battery.ed25519 import check_signature

    check_signature(battery, options.signer)


def refuse_early(options: TraceOptions) -> None:
    """Refuse pids that do not exist and a command that cannot be found, before anything is made."""
    find_targets(options.all_pids, own_pid=os.getpid())
    if options.command:
        find_command(options.command[0])


def make_tracer(
    options: TraceOptions,
    battery: "Battery",
    events: Sequence[str],
    *,
    rollup: "KernelRollup | None" = None,
    unfinished: bool | None = None,
) -> "Tracer":
    """Return a tracer that is not started."""
    import traceleft as api
    from traceleft.tracer.schema.core import calls_of

    if options.counting == "only" and not options.expressions:
        events = calls_of(events)
    return api.Tracer(
        battery,
        events=events or options.expressions,
        pids=options.all_pids,
        command=options.command or None,
        follow=options.follow,
        filters=api.FilterOptions(
            uid=options.uid,
            comm=options.comm,
            cgroup=options.cgroup,
            success_only=options.success_only,
            failed_only=options.failed_only,
            errno=options.error,
        ),
        details=api.DetailOptions(
            durations=options.durations,
            text_limit=options.text_limit,
            environment=options.environment,
            unfinished=unfinished,
        ),
        stacks=api.StackOptions() if options.stacks or options.folds else None,
        counts=api.CountOptions(counting=options.counting, rollup=rollup),
        probes=api.ProbeOptions(
            hook=options.hook,
            level=options.level,
            required=named(options.expressions, catalogue_of(battery)) if options.expressions else (),
            brief=options.duration_s is not None and options.duration_s < BRIEF_S,
        ),
        buffers=api.BufferOptions(pages=options.buffer_pages),
        limits=api.LimitOptions(max_overhead_pct=options.max_overhead_pct, kill=options.kill, sandbox=options.sandbox),
    )


def follow_tracer(
    options: TraceOptions,
    tracer: "Tracer",
    ledger: Output | None,
    *,
    at_end: Callable[[], None] | None = None,
    meanwhile: AbstractContextManager[object] | None = None,
    outlets: Outlets | None = None,
    written: Sequence[Path] = (),
) -> int:
    """Let a tracer run to its end, and account for its events however it ends; return the exit status.

    What happens ``meanwhile`` begins when the command was forked, which waits until then. A command that still runs
    when the trace ends goes on, and is waited for, unless the options say that it is ended. ``written``: directories
    in which files are still to be made, and files that are still to be opened.
    """
    status: int | None = None
    try:
        with accounted(tracer, ledger, outlets):
            tracer.start()
            if options.sandbox:
                confine_reader(tracer, options.sinks, written)
            if outlets is not None:
                outlets.start()
            with meanwhile or nullcontext():
                tracer.run(duration_s=options.duration_s, max_events=options.max_events)
            status = tracer.status
            if at_end is not None:
                at_end()
    except (OSError, TraceleftError) as exc:
        if not options.kill:
            await_command(tracer, why=f": {exc.strerror or exc if isinstance(exc, OSError) else exc}")
        raise
    if not options.kill:
        status = await_command(tracer)
    has_dropped = outlets is not None and outlets.has_dropped
    return LOSS if options.fail_on_loss and has_dropped else exit_status(options, tracer, status)


def confine_reader(tracer: "Tracer", sinks: Sequence[str], written: Sequence[Path]) -> None:
    """Give up privileges that only attaching needs: this process only reads from now on."""
    from traceleft.tracer.sandbox import call_filter
    from traceleft.tracer.sandbox import privileges as sandbox

    keep = tracer.needed_capabilities()
    if not sandbox.may_write([*written, *directories_of(sinks)]):
        keep.add(sandbox.CAP_DAC_OVERRIDE)
    for line in sandbox.confine(keep, calls=call_filter.of_reader(network=bool(sinks) and use_network(sinks))):
        warn(line)


def await_command(tracer: "Tracer", *, why: str = "") -> int | None:
    """Wait for a command that the trace did not outlive, and say so; return its status, None without a command.

    One that was sent SIGTERM, and goes on, is not waited for.
    """
    if tracer.unended is None and tracer.wait(BRIEFLY_S) is None and tracer.is_command_running:
        warn(f"the trace has ended before its command{why}; waiting for the command (Ctrl-C ends the waiting)")
        tracer.wait()
    return tracer.status


@contextmanager
def accounted(tracer: "Tracer", ledger: Output | None, outlets: Outlets | None = None) -> Iterator[None]:
    """Close a tracer at the end, print its account if it was started; a closed pipe is an end like others.

    From the end on no signal interrupts: the account is written first.
    """
    with signals_held() as released:
        try:
            with released(), suppress(BrokenPipeError):
                yield
        except (KeyboardInterrupt, SystemExit):
            # A signal, before the trace handles it or at the same time: nothing goes on.
            tracer.kill = True
            raise
        finally:
            tracer.close()
            if tracer.buffer_pages is not None:
                try:
                    if outlets is not None:
                        outlets.finish(tracer.ledger)
                finally:
                    report(tracer, ledger, sinks=None if outlets is None else outlets.dropped())
            if (pid := tracer.unended) is not None:
                warn(f"the command was sent SIGTERM and still runs as process {pid}; kill -KILL {pid} ends it")


def exit_status(options: TraceOptions, tracer: "Tracer", status: int | None) -> int:
    """Return loss, if that was asked for, else the signal that ended us, else the command's status."""
    if options.fail_on_loss and tracer.ledger.has_loss:
        return LOSS
    if tracer.signal is not None:
        return SIGNAL_BASE + tracer.signal
    return status or 0
