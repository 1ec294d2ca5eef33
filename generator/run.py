"""A whole run of the generator: input → schema → sources on disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from traceleft.errors import ExpressionError, FormatError
from traceleft.generator.config import choose_events, read_config
from traceleft.generator.model import read_events
from traceleft.generator.output import WriteResult, write_output
from traceleft.generator.render import render
from traceleft.generator.schema import Schema, make_catalogue, make_schema
from traceleft.generator.source import read_source


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
    """Write handlers, decoders and schema of the chosen events of an input into `output`.

    `path` is a directory laid out like tracefs `events/` or a snapshot; None is the running kernel, which needs root.
    Without `expressions` (and `events` in the file `config`) every syscall that the input has a format for is chosen,
    and those that every kernel has although some hide their formats (execve, clone, fork and a few more).
    Nothing is written unless all of it could be made.
    """
    schema = describe(path, expressions=expressions, config=config)
    result = write_output(output, render(schema.document))
    return Generated(schema.document["release"], result, tuple(sorted(schema.document["events"])), schema.notices)


def describe(path: Path | None, *, expressions: Sequence[str] = (), config: Path | None = None) -> Schema:
    """Make the schema of the chosen events of an input, as `generate` writes it."""
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
