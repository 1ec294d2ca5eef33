"""The command ``record``: a trace whose events go into a recording."""

import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from traceleft.cli.option_types import byte_size, seconds
from traceleft.cli.options import (
    COMMAND_SETTINGS,
    FILE,
    environment_option,
    refuse_contradictions,
    take_verbose,
    tracing_options,
)
from traceleft.cli.signals import signals_held
from traceleft.cli.sinks import Outlets, complete_sinks, sink_options

if TYPE_CHECKING:
    from traceleft.cli.session import TraceOptions
    from traceleft.tracer import Tracer
    from traceleft.tracer.recording import Recorder


@click.command("record", context_settings=COMMAND_SETTINGS)
@click.option("-o", "recording", type=FILE, metavar="FILE", required=True, help="Write the recording to FILE.")
@click.option(
    "--rotate-size",
    "rotate_bytes",
    type=byte_size,
    metavar="SIZE",
    help="Start a new file (FILE.1, FILE.2, ...) when a file reaches SIZE, such as 100M.",
)
@click.option(
    "--rotate-time", "rotate_s", type=seconds, metavar="S", help="Start a new file after S seconds of events."
)
@sink_options
@environment_option
@tracing_options
def record_command(recording: Path, rotate_bytes: int | None, rotate_s: float | None, **values: Any) -> int:
    """Record syscalls and tracepoints as they are, to be shown later, on any machine.

    \b
    traceleft record -o make.rec -f -- make
    traceleft record -o server.rec --rotate-size 100M -p 4321
    traceleft replay make.rec

    The exit status is that of the command. At the end, a line on stderr accounts for every event.
    """
    refuse_contradictions(values)
    take_verbose(values)
    from traceleft.cli.names import own_directory
    from traceleft.cli.output import open_output
    from traceleft.cli.session import TraceOptions, choose, follow_tracer, make_ready
    from traceleft.tracer.kernel.cgroups import CgroupPaths
    from traceleft.tracer.recording import Recorder

    options = TraceOptions(**complete_sinks(values))
    choice = choose(options)
    with ExitStack() as stack:
        outlets = stack.enter_context(Outlets(options))
        recorder = stack.enter_context(
            Recorder(recording, rotate_bytes=rotate_bytes, rotate_s=rotate_s, find_cgroups=CgroupPaths().find)
        )
        ledger = stack.enter_context(open_output(options.ledger)) if options.ledger else None
        tracer, battery = make_ready(options, choice)
        outlets.follow(tracer, battery, raw=options.raw)
        directory = own_directory() if options.command else None
        tracer.record(recorder, command=describe(options), directory=directory or "")
        stack.enter_context(closed_with_ledger(recorder, tracer))
        rotates = rotate_bytes is not None or rotate_s is not None
        written = places_of_parts(recording.absolute()) if rotates else []
        return follow_tracer(options, tracer, ledger, outlets=outlets, written=written)


def places_of_parts(recording: Path) -> list[Path]:
    """Return the directory that files of a split recording are made in, and those of such names that are there."""
    directory = recording.parent
    try:
        parts = [each for each in directory.iterdir() if each.name.startswith(f"{recording.name}.")]
    except OSError:
        parts = []
    return [directory, *parts]


def describe(options: "TraceOptions") -> str:
    """Return what is traced: a command, processes, or "" for the whole machine."""
    if options.command:
        return shlex.join(options.command)
    return f"-p {','.join(map(str, options.all_pids))}" if options.all_pids else ""


@contextmanager
def closed_with_ledger(recorder: "Recorder", tracer: "Tracer") -> Iterator[None]:
    """Put the account of a trace into its recording, however it ended, unless it never began."""
    with signals_held() as released:
        try:
            with released():
                yield
        finally:
            if tracer.buffer_pages is not None:
                recorder.close(tracer.ledger)
