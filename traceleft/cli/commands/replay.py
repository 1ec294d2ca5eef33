"""The command ``replay``: recorded events, shown as ``trace`` shows them."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from traceleft.cli.options import printing_options, recorded_options, refuse_contradictions
from traceleft.cli.recorded import make_filters, read_stdin, recorded_status, refuse_overwriting, report_replay
from traceleft.cli.sinks import Outlets, complete_sinks, files_of, sink_options

if TYPE_CHECKING:
    pass


@click.command("replay")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True), metavar="FILE")
@recorded_options
@printing_options
@sink_options
def replay_command(file: Path, **values: Any) -> int:
    """Show the events of a recording, as trace would have shown them, on any machine.

    FILE is a recording, the first file of one that was split, the directory that it lies in, or - for stdin.

    \b
    traceleft replay make.rec
    traceleft replay --format json -e %file -Z make.rec

    It needs no privileges. Of a damaged recording it shows all events before the damage.
    """
    refuse_contradictions(values)
    values = complete_sinks(values)
    from traceleft.cli.output import PrintOptions, connect_output, folding, open_output, print_counts, write_ledger
    from traceleft.cli.recorded import stored_events
    from traceleft.tracer.recording import Recording
    from traceleft.tracer.recording.reader import recorded_names
    from traceleft.tracer.replay import Replay

    names = PrintOptions.__dataclass_fields__
    options = PrintOptions(**{name: value for name, value in values.items() if name in names})
    with ExitStack() as stack:
        recording = stack.enter_context(Recording.open(file) if str(file) != "-" else read_stdin(stack))
        refuse_overwriting(recording, options.output, options.flame, values["ledger"], *files_of(options.sinks))
        outlets = stack.enter_context(Outlets(options, host=recording.host, is_live=False))
        replay = Replay(recording, events=values["expressions"], filters=make_filters(values))
        output = stack.enter_context(open_output(options.output))
        ledger = stack.enter_context(open_output(values["ledger"])) if values["ledger"] else None
        outlets.connect(
            replay,
            raw=options.raw,
            cgroups=recording.cgroups.get,
            catalogue=lambda: stored_events(recording),
            names=lambda: recorded_names(recording),
        )
        if not options.count and outlets.leaves_printing(options, output):
            connect_output(options, replay, output, names=lambda: recorded_names(recording))
        stack.enter_context(folding(options, replay, output))
        counts = replay.count() if options.counting else None
        stack.callback(report_replay, recording, replay)
        if ledger is not None and recording.ledger is not None:
            write_ledger(recording.ledger, ledger)
        outlets.start()
        try:
            replay.run(max_events=values["max_events"])
        finally:
            outlets.finish(recording.ledger)
        if counts is not None:
            print_counts(options, counts, output)
    return recorded_status(recording, outlets, fail_on_loss=values["fail_on_loss"])
