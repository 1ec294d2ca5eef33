"""What the commands share that read a recording."""

import os
import shutil
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from traceleft.cli.sinks import Outlets
from traceleft.errors import RecordingError

if TYPE_CHECKING:
    from traceleft.expression import Catalogue
    from traceleft.tracer.recording import Recording
    from traceleft.tracer.replay import Replay, ReplayFilters


def recorded_status(recording: "Recording", outlets: Outlets | None, *, fail_on_loss: bool) -> int:
    """Return the exit status: loss, if that was asked for, of the recorded trace, or where a sink dropped something."""
    from traceleft.cli.status import LOSS

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
    from traceleft.tracer.recording.file_format import PREAMBLE, BrokenError, read_preamble

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


def stored_events(recording: "Recording") -> "Catalogue":
    """Return what a rollup may name: the recorded events, and every syscall."""

    known = known_events()
    return replace(known, names=known.names | recording.specs.keys())


def known_events() -> "Catalogue":
    """Return every syscall that rollups may name, also where no event of it is stored."""
    from traceleft.expression import Catalogue
    from traceleft.generator.classes import load_classes
    from traceleft.generator.tables import MACHINES, load_syscalls

    syscalls = {name: entry for machine in MACHINES for name, entry in load_syscalls(machine).items()}
    aliases = {name: entry.aliases for name, entry in syscalls.items() if entry.aliases}
    return Catalogue(frozenset(syscalls), aliases, load_classes())
