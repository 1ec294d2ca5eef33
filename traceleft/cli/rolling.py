"""Rollups on the command line: the options that make one, and the running trace that fills it."""

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from traceleft.cli.option_types import Decorated, seconds, shorten
from traceleft.errors import TraceleftError, UnsupportedError

if TYPE_CHECKING:
    from traceleft.aggregator.rollups.results import Groups
    from traceleft.aggregator.rollups.rollup import Result, Rollup
    from traceleft.aggregator.streaming.engine import Aggregator
    from traceleft.aggregator.streaming.kernel import CgroupPath
    from traceleft.battery import Battery
    from traceleft.cli.batteries import Choice
    from traceleft.cli.session import TraceOptions
    from traceleft.tracer import Tracer
    from traceleft.tracer.decode.batch import Batch
    from traceleft.tracer.session.kernel_rollup import KernelRollup

Engine = Literal["auto", "kernel", "user"]
ENGINES: tuple[Engine, ...] = ("auto", "kernel", "user")
NS_A_SECOND = 1_000_000_000
SHORTEST_NS = 1_000_000


def by_option(function: Decorated) -> Decorated:
    """Add ``--by``, which may be repeated."""
    option = click.option(
        "--by",
        "by",
        multiple=True,
        metavar="KEY",
        help="Group by KEY: event, comm, pid, error, path, args.NAME, ...; repeatable.  [default: event]",
    )
    return option(function)


def engine_option(function: Decorated) -> Decorated:
    """Add ``--engine``."""
    option = click.option(
        "--engine",
        type=click.Choice(ENGINES),
        default="auto",
        show_default=True,
        help="Where to aggregate calls: in the kernel, or in user space.",
    )
    return option(function)


def interval(value: str) -> int:
    """Read a number of seconds of at least a millisecond, as nanoseconds."""
    number = round(seconds(value) * NS_A_SECOND)
    if number < SHORTEST_NS:
        raise click.BadParameter(f"{shorten(value)} is shorter than a millisecond")
    return number


def grouped(by: Sequence[str], *, by_stack: bool) -> tuple[str, ...]:
    """Return the keys of ``--by``, and that of ``-k``."""
    return (*(by or ("event",)), "stack") if by_stack and "stack" not in by else tuple(by)


def find_rollup(text: str) -> "Rollup":
    """Return the rollup that ``--rollup`` means: a built-in one's name, ``FILE`` that holds one, or ``FILE:NAME``."""
    from traceleft.aggregator.rollups.rollup_files import find_rollups
    from traceleft.expression import suggest

    place, colon, name = text.rpartition(":")
    if not colon or Path(text).exists():
        place, name = text, ""
    found = {rollup.name: rollup for rollup in find_rollups(place)}
    if name and name not in found:
        raise TraceleftError(f"{place}: no rollup is named {name[:64]!r}{suggest(name, found)}")
    if name:
        return found[name]
    if len(found) != 1:
        hint = f"; choose one: {place}:{next(iter(found))}" if found else ""
        raise TraceleftError(f"{place}: holds {len(found)} rollups{hint}")
    return next(iter(found.values()))


@dataclass(slots=True)
class Rolling:
    """A rollup that a running trace fills: in the kernel, or in user space by an aggregator, and then ``why``."""

    rollup: "Rollup"
    tracer: "Tracer"
    aggregator: "Aggregator | None"
    why: str | None
    cgroups: "CgroupPath"
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def groups(self) -> "Groups":
        """Return what was added up so far, or all once the trace has ended. Any thread may ask."""
        if self.aggregator is None:
            from traceleft.aggregator.streaming.kernel import groups_of

            return groups_of(self.rollup, self.tracer.rolled_up, cgroups=self.cgroups)
        with self._lock:
            return self.aggregator.groups()

    def result(self) -> "Result":
        """Return the rows that were not given out yet, once the trace has ended."""
        if self.aggregator is None:
            from traceleft.aggregator.streaming.kernel import result_of

            return result_of(self.rollup, self.tracer.rolled_up, cgroups=self.cgroups)
        return self.aggregator.finish()

    def add(self, batch: "Batch") -> None:
        """Add a batch of the trace."""
        assert self.aggregator is not None
        with self._lock:
            self.aggregator.add(batch)


def with_events(options: "TraceOptions", rollup: "Rollup") -> "TraceOptions":
    """Return the options of a trace for a rollup: of its events, unless ``-e`` chose others."""
    return options if options.expressions else replace(options, expressions=rollup.events)


def make_rolling(options: "TraceOptions", choice: "Choice", rollup: "Rollup", engine: Engine) -> Rolling:
    """Return a tracer, not started, that fills a rollup, by the engine asked for; ``auto``: the kernel if it can.

    UnsupportedError where the kernel has to and cannot.
    """
    from traceleft.aggregator.streaming.kernel import try_kernel
    from traceleft.cli.session import make_ready
    from traceleft.tracer.schema.core import calls_of

    reasons: list[str | None] = []

    def make(options: "TraceOptions", battery: "Battery", events: Sequence[str]) -> "Tracer":
        wanted = events if options.expressions else calls_of(events)
        make_one = partial(make_filled, options, battery, wanted, rollup)
        why = why_in_user_space(options, rollup, engine)
        tracer, why = try_kernel(rollup, make_one) if why is None else (make_one(None), why)
        reasons.append(why)
        if why is not None and engine == "kernel":
            raise UnsupportedError("a rollup in the kernel", why)
        return tracer

    cgroups = path_finder()
    tracer, battery = make_ready(options, choice, make)
    (why,) = reasons
    aggregator = None if why is None else make_aggregator(rollup, tracer, battery, cgroups)
    rolling = Rolling(rollup, tracer, aggregator, why, cgroups)
    if aggregator is not None and aggregator.events:
        tracer.on_batch(",".join(sorted(aggregator.events)), rolling.add)
    return rolling


def make_filled(
    options: "TraceOptions",
    battery: "Battery",
    events: Sequence[str],
    rollup: "Rollup",
    spec: "KernelRollup | None",
) -> "Tracer":
    """Return a tracer that rolls up in the kernel, or one whose batches are to be; every call's time is taken."""
    from traceleft.aggregator.rollups.rollup_check import columns_of
    from traceleft.aggregator.streaming.kernel import wants_failed
    from traceleft.cli.session import make_tracer

    if spec is None:
        # Calls that are under way at the end do not count here, as in the kernel and for strace -c.
        options = replace(options, durations=True, stacks="stack" in columns_of(rollup))
        return make_tracer(options, battery, events, unfinished=False)
    options = replace(options, failed_only=options.failed_only or wants_failed(rollup), stacks=False)
    return make_tracer(options, battery, events, rollup=spec)


def why_in_user_space(options: "TraceOptions", rollup: "Rollup", engine: Engine) -> str | None:
    """Return why a trace's options, or its user, want a rollup in user space; None where they do not."""
    from traceleft.aggregator.streaming.kernel import wants_failed

    if engine == "user":
        return "--engine user was asked for"
    if options.max_events is not None:
        return "--max-events counts events, and the kernel would send none"
    if rollup.events and options.expressions != rollup.events:
        return "-e chose other events than its own"
    if wants_failed(rollup) and options.success_only:
        return "it counts failed calls, and -z leaves them out"
    return None


def path_finder() -> "CgroupPath":
    """Return what gives the path of a cgroup of this machine by its id."""
    from traceleft.tracer.kernel.cgroups import CgroupPaths

    paths = CgroupPaths()
    return lambda number: paths.find([number]).get(number)


def make_aggregator(rollup: "Rollup", tracer: "Tracer", battery: "Battery", cgroups: "CgroupPath") -> "Aggregator":
    """Return the aggregator of a tracer's batches; a rollup's events may be any that the battery holds."""
    from traceleft.aggregator.rollups.rollup_check import columns_of
    from traceleft.aggregator.streaming.engine import Aggregator
    from traceleft.cli.batteries import catalogue_of
    from traceleft.cli.names import live_names

    if "path" in columns_of(rollup):
        tracer.resolve_paths(live_names(tracer, battery))
    return Aggregator(
        rollup,
        tracer.specs,
        tables=tracer.tables,
        host=os.uname().nodename,
        cgroups=cgroups,
        catalogue=catalogue_of(battery) if rollup.events else None,
    )
