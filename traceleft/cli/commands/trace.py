"""The command ``trace``: its options."""

from typing import Any

import click

from traceleft.cli.options import (
    COMMAND_SETTINGS,
    environment_option,
    printing_options,
    refuse_contradictions,
    take_verbose,
    tracing_options,
)
from traceleft.cli.sinks import complete_sinks, sink_options


@click.command("trace", context_settings=COMMAND_SETTINGS)
@tracing_options
@environment_option
@printing_options
@sink_options
def trace_command(**values: Any) -> int:
    """Trace syscalls and tracepoints of a command, of processes, or of every process.

    \b
    traceleft trace -- cat /etc/hostname
    traceleft trace -f -e %network --format json -p 4321
    traceleft trace -c --duration 5

    The exit status is that of the command. At the end, a line on stderr accounts for every event.
    """
    refuse_contradictions(values)
    take_verbose(values)
    from traceleft.cli.session import TraceOptions, run_trace

    return run_trace(TraceOptions(**complete_sinks(values)))
