"""Where a trace's events go: lines to stdout or a file, and its account to stderr and a file."""

import json
import os
import select
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from traceleft.cli_battery import notice

if TYPE_CHECKING:
    from traceleft.cli_session import TraceOptions
    from traceleft.tracer import Tracer
    from traceleft.tracer.event import Event

STDOUT = 1
STDERR = 2
# O_TRUNC, and no O_EXCL: exactly this file, whatever it is (a device, a FIFO, a link).
CREATE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
PERMISSIONS = 0o666


class Output:
    """A file descriptor that takes whole lines, unbuffered; ``taken`` are the bytes of the last write that arrived."""

    def __init__(self, fd: int, name: str) -> None:
        self._fd = fd
        self._name = name
        self.taken = 0

    @property
    def is_terminal(self) -> bool:
        """Whether someone is looking."""
        return os.isatty(self._fd)

    def write(self, data: bytes) -> None:
        """Write all of it; an OSError names the file."""
        self.taken = 0
        rest = memoryview(data)
        while rest:
            try:
                written = os.write(self._fd, rest)
                self.taken += written
                rest = rest[written:]
            except BlockingIOError:
                select.select([], [self._fd], [])
            except BrokenPipeError:
                raise
            except OSError as error:
                raise OSError(error.errno, error.strerror, self._name) from error


@contextmanager
def open_output(path: Path | None) -> Iterator[Output]:
    """Open and truncate a file for what a trace prints, or take stdout; closes what it opened."""
    if path is None:
        yield Output(STDOUT, "stdout")
        return
    fd = os.open(path, CREATE, PERMISSIONS)
    try:
        yield Output(fd, str(path))
    finally:
        os.close(fd)


def connect_output(options: "TraceOptions", tracer: "Tracer", output: Output, *, available: Collection[str]) -> None:
    """Let a tracer's events go to an output as the options ask; ``available`` are all that could be traced."""
    if options.form == "json" and not options.fd_names:
        tracer.write_json(output, raw=options.raw)
    else:
        tracer.on("/./", make_printer(options, output, traced=tracer.specs, available=available))


def make_printer(
    options: "TraceOptions", output: Output, *, traced: Collection[str], available: Collection[str]
) -> Callable[["Event"], None]:
    """Return what prints an event as the options ask; ``traced`` are events of those that are ``available``."""
    from traceleft.tracer.fdnames import FdNames
    from traceleft.tracer.jsonl import to_json_line
    from traceleft.tracer.text import Line, TextOptions

    names = FdNames(traced, available) if options.fd_names else None
    if options.form == "json":

        def print_json(event: "Event") -> None:
            output.write(to_json_line(event, raw=options.raw, paths=names.name(event) if names else None))

        return print_json
    has_colour = options.output is None and output.is_terminal and not os.environ.get("NO_COLOR")
    line = Line(TextOptions(time=options.time, durations=options.durations, colour=has_colour, raw=options.raw))

    def print_text(event: "Event") -> None:
        text = line.show(event, names.name(event) if names else None)
        output.write(text.encode(errors="backslashreplace") + b"\n")

    return print_text


def print_counts(options: "TraceOptions", tracer: "Tracer", output: Output) -> None:
    """Print the table of ``-c`` and ``-C`` to where the events go."""
    from traceleft.tracer.counts import Count, counts_to_dict, show_counts

    counts = [Count(name, each.calls, each.errors, each.total_ns) for name, each in tracer.counts.items()]
    text = json.dumps(counts_to_dict(counts)) + "\n" if options.form == "json" else show_counts(counts)
    output.write(text.encode())


def report(tracer: "Tracer", file: Output | None) -> None:
    """Print the account of a trace that has ended on stderr, one line, and write it to ``--ledger``."""
    ledger = tracer.ledger
    for text in (*ledger.warnings(buffer_pages=tracer.buffer_pages or 0), str(ledger)):
        notice(text)
    if file is not None:
        file.write(json.dumps(ledger.to_json()).encode() + b"\n")
