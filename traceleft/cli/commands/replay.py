"""The command ``replay``: recorded events, shown as ``trace`` shows them."""

import os
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from traceleft.cli.options import printing_options, recorded_options, refuse_contradictions
from traceleft.cli.sinks import Outlets, complete_sinks, files_of, sink_options
from traceleft.errors import RecordingError

if TYPE_CHECKING:
    from traceleft.tracer.recording import Recording
    from traceleft.tracer.replay import Replay, ReplayFilters


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
    from traceleft.cli.commands.stat import stored_events
    from traceleft.cli.output import PrintOptions, connect_output, folding, open_output, print_counts, write_ledger
    from traceleft.tracer.output.fdnames import recorded_names
    from traceleft.tracer.recording import Recording
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


def recorded_status(recording: "Recording", outlets: Outlets | None, *, fail_on_loss: bool) -> int:
    """Return the exit status: loss, if that was asked for, of the recorded trace, or where a sink dropped something."""
    from traceleft.cli.session import LOSS

    has_lost = recording.ledger is not None and recording.ledger.has_loss
    has_dropped = outlets is not None and outlets.has_dropped
    return LOSS if fail_on_loss and (has_lost or has_dropped) else 0


def make_filters(values: dict[str, Any]) -> "ReplayFilters":
    """Return what the options choose among recorded events."""
    from traceleft.tracer.replay import ReplayFilters

    return ReplayFilters(
        pids=tuple(pid for pids in values["pids"] for pid in pids),
        uid=values["uid"],
        comm=values["comm"],
        success_only=values["success_only"],
        failed_only=values["failed_only"],
        errno=values["error"],
        text_limit=values["text_limit"],
    )


def read_stdin(stack: ExitStack) -> "Recording":
    """Read a recording from stdin; it is kept in a temporary file if it cannot be sought."""
    from traceleft.tracer.recording import Recording
    from traceleft.tracer.recording.format import PREAMBLE, BrokenError, read_preamble

    if sys.stdin is None:
        raise click.UsageError("stdin is closed", click.get_current_context())
    if sys.stdin.buffer.seekable():
        return Recording.read_from(os.fdopen(os.dup(0), "rb"), "stdin")
    import tempfile

    kept = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
    # What does not even begin as a recording may never end.
    kept.write(sys.stdin.buffer.read(PREAMBLE.size))
    kept.seek(0)
    try:
        read_preamble(kept.read())
    except BrokenError as exc:
        raise RecordingError(str(exc), file="stdin") from exc
    shutil.copyfileobj(sys.stdin.buffer, kept)
    kept.seek(0)
    return Recording.read_from(kept, "stdin")


def refuse_overwriting(recording: "Recording", *outputs: Path | None) -> None:
    """Refuse an output that is the recording itself: it would be gone before it is read."""
    for output in outputs:
        if output is not None and any(is_same(output, each) for each in recording.files):
            raise click.UsageError(f"{output} is the recording itself", click.get_current_context())


def is_same(output: Path, file: str) -> bool:
    """Tell whether two names lead to one file."""
    try:
        return os.path.samefile(output, file)
    except OSError:
        return False


def report_replay(recording: "Recording", replay: "Replay") -> None:
    """Tell on stderr what was passed over, and the account of the trace that was recorded."""
    from traceleft.terminal import notice

    if replay.undecodable:
        notice(f"{replay.undecodable:,} records undecodable: their bytes do not fit their events")
    if recording.ledger is not None:
        notice(f"recorded on {recording.host}: {recording.ledger}")
