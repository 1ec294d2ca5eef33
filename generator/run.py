"""A whole run of the generator: input → schema → sources on disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from traceleft.errors import ExpressionError, FormatError
from traceleft.generator.config import choose_events, read_config
from traceleft.generator.format_source import read_source
from traceleft.generator.model import read_events
from traceleft.generator.output_directory import WriteResult, write_output
from traceleft.generator.render import render
from traceleft.generator.schema import Schema, make_catalogue, make_schema


@dataclass(frozen=True, slots=True)
class Generated:
    """What a run made: the files, the events in them, and notices for the user."""

    release: str
    files: WriteResult
    events: tuple[str, ...]
    notices: tuple[str, ...]


def generate(
    path: Path | None, *, expressions: Sequence[str] = (), config: Path | None = None, output: Path
) -> Generated:
    """Write the sources of a battery, for events of a kernel, into the directory ``output``.

    ::

        generate(Path("kernel.snapshot"), expressions=["%file", "%network"], output=Path("generated"))

    ``path`` is a snapshot, or a directory like ``events/`` of tracefs. None is the running kernel, which needs root.
    Without ``expressions``, and without ``events`` in the file ``config``, every system call is chosen. That includes
    execve, clone, fork and a few others whose formats some kernels hide. Nothing is written unless all of it could be
    made.

    Raises FormatError for an input or ``config`` that cannot be read, and ExpressionError for an unknown event.
    """
    schema = describe(path, expressions=expressions, config=config)
    result = write_output(output, render(schema.document))
    return Generated(schema.document["release"], result, tuple(sorted(schema.document["events"])), schema.notices)


def describe(path: Path | None, *, expressions: Sequence[str] = (), config: Path | None = None) -> Schema:
    """Return the schema of events of a kernel, as ``generate`` writes it: arguments, types and offsets of each event.

    ::

        schema = describe(Path("kernel.snapshot"), expressions=["openat"])
        print(schema.document["events"]["openat"]["args"])

    Parameters and errors are those of ``generate``. Raises FormatError and ExpressionError.
    """
    source = read_source(path)
    settings = read_config(config) if config else None
    events = read_events(source.formats, place=source.place)
    catalogue = make_catalogue(events, source.machine)
    chosen = choose_events(expressions, settings, catalogue, default=events.default_syscalls)
    if not chosen:
        if expressions:
            raise ExpressionError("the event expressions choose no event", expression=",".join(expressions)[:64])
        raise FormatError("has no syscalls; choose other tracepoints with -e", file=source.place.rstrip("/: "))
    return make_schema(source, events=chosen, config=settings)
