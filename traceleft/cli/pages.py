"""Pages that ``report`` writes: of recordings, and of the rows of a rollup."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from traceleft.errors import RecordingError

if TYPE_CHECKING:
    from traceleft.aggregator.rollups.rollup import Result
    from traceleft.tracer.recording import Recording


def write_recordings_page(page: Path, paths: Sequence[Path]) -> None:
    """Write the page of recordings, of damaged ones what can be read; then raise what is wrong with them."""
    from traceleft.aggregator.pages.overview import make_overview
    from traceleft.aggregator.pages.report import render_overview
    from traceleft.cli.recorded import refuse_overwriting

    with ExitStack() as stack:
        recordings, refused = open_recordings(paths, stack)
        for recording in recordings:
            refuse_overwriting(recording, page)
        if recordings:
            overview = make_overview(recordings)
            refused += overview.damages
            write_page(page, render_overview(overview, notices=map(str, refused)))
    raise_all(refused)


def open_recordings(paths: Iterable[Path], stack: ExitStack) -> "tuple[list[Recording], list[RecordingError]]":
    """Open recordings, and return what is wrong with those that cannot be opened."""
    from traceleft.tracer.recording import Recording

    recordings, refused = [], []
    for path in paths:
        try:
            recordings.append(stack.enter_context(Recording.open(path)))
        except RecordingError as error:
            refused.append(error)
    return recordings, refused


def raise_all(errors: Sequence[RecordingError]) -> None:
    """Raise an error, if there is one, once the others are printed."""
    from traceleft.terminal import notice

    for error in errors[:-1]:
        notice(str(error))
    if errors:
        raise errors[-1]


def write_result_page(page: Path, result: "Result") -> None:
    """Write the page of a rollup's rows."""
    from traceleft.aggregator.pages.report import render_results

    write_page(page, render_results([result], title=f"Rollup {result.rollup.name}"))


def write_page(page: Path, text: str) -> None:
    """Write a page, whatever its file is; an OSError names it."""
    from traceleft.cli.output import PUBLIC, open_output

    with open_output(page, PUBLIC) as output:
        output.write(text.encode())
