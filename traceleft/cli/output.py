"""Where a trace's events go: lines to stdout or a file, and its account to stderr and a file."""

import errno
import fcntl
import json
import os
import select
import stat
import termios
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from traceleft.terminal import notice

if TYPE_CHECKING:
    from traceleft.tracer import Tracer
    from traceleft.tracer.account.ledger import Ledger
    from traceleft.tracer.decode.batch import Batch
    from traceleft.tracer.decode.event import Event
    from traceleft.tracer.output.counts import Count
    from traceleft.tracer.output.fdnames import FdNames
    from traceleft.tracer.output.lines import Writer
    from traceleft.tracer.schema.spec import EventSpec

TimeForm = Literal["default", "t", "tt", "ttt", "r"]
CLOCKS: tuple[TimeForm, ...] = ("default", "t", "tt", "ttt")
STDOUT = 1
STDERR = 2
# O_TRUNC, and no O_EXCL: exactly this file, whatever it is (a device, a FIFO, a link).
CREATE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
# What a trace shows may be secret: it is its owner's. A page is made to be given on.
PRIVATE = 0o600
PUBLIC = 0o666
# How long an output is waited for that nobody reads, once a signal has ended the trace; how often that is looked at.
PATIENCE_S = 0.5
LOOK_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintOptions:
    """The options that say how events are printed, by the names that commands give them."""

    durations: bool = False
    form: str = "text"
    output: Path | None = None
    count: bool = False
    count_too: bool = False
    fd_names: bool = False
    clock: int = 0
    relative: bool = False
    raw: bool = False
    sinks: tuple[str, ...] = ()
    rules: tuple[Path, ...] = ()
    prints_beside_sinks: bool = False
    flame: Path | None = None

    @property
    def time(self) -> TimeForm:
        """The form of time in a line of text."""
        return "r" if self.relative else CLOCKS[min(self.clock, 3)]

    @property
    def counting(self) -> Literal["only", "too"] | None:
        """What is counted: nothing, calls instead of events, or both."""
        return "only" if self.count else "too" if self.count_too else None

    @property
    def folds(self) -> bool:
        """Whether stacks are counted."""
        return self.form == "folded" or self.flame is not None


class EventSource(Protocol):
    """Where events come from: a running trace, or a recording."""

    @property
    def specs(self) -> "Mapping[str, EventSpec]": ...
    def on(self, events: str, callback: "Callable[[Event], object]") -> None: ...
    def on_batch(self, events: str, callback: "Callable[[Batch], object]") -> None: ...
    def write_json(self, writer: "Writer", *, raw: bool = False) -> None: ...
    def write_json_too(self, writer: "Writer", *, raw: bool = False) -> None: ...
    def foresee(self, names: "FdNames") -> None: ...


class Output:
    """A file descriptor that takes whole lines, unbuffered; ``taken`` are the bytes of the last write that arrived."""

    def __init__(self, fd: int, name: str) -> None:
        self._fd = fd
        self._name = name
        self._is_over: Callable[[], bool] = lambda: False
        mode = os.fstat(fd).st_mode
        self._may_block = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd)
        self._pipe_bytes = fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ) if stat.S_ISFIFO(mode) else 0
        self.taken = 0

    def ends_with(self, is_over: Callable[[], bool]) -> None:
        """Wait no longer than ``PATIENCE_S`` for a reader once something is over."""
        self._is_over = is_over

    @property
    def is_terminal(self) -> bool:
        """Whether someone is looking."""
        return os.isatty(self._fd)

    @property
    def is_null(self) -> bool:
        """Whether nobody ever reads it."""
        status = os.fstat(self._fd)
        return stat.S_ISCHR(status.st_mode) and status.st_rdev == os.stat(os.devnull).st_rdev

    def write(self, data: bytes) -> None:
        """Write all of it; an OSError names the file, a BrokenPipeError tells that nobody reads any more."""
        self.taken = 0
        rest = memoryview(data)
        while rest:
            try:
                if self._may_block:
                    self._await_reader()
                written = os.write(self._fd, rest[: self._find_room()] if self._may_block else rest)
                self.taken += written
                rest = rest[written:]
            except BlockingIOError:
                # What others wrote meanwhile took the room.
                has_room(self._fd, LOOK_S)
            except BrokenPipeError:
                raise
            except OSError as error:
                raise OSError(error.errno, error.strerror, self._name) from error

    def _find_room(self) -> int:
        """Return how many bytes can be written without waiting, once there is room at all."""
        if not self._pipe_bytes:
            return select.PIPE_BUF
        unread = fcntl.ioctl(self._fd, termios.FIONREAD, b"\0" * 4)
        return select.PIPE_BUF if any(unread) else self._pipe_bytes

    def _await_reader(self) -> None:
        """Wait for room, but not for long once all is over."""
        left_s = PATIENCE_S
        while not has_room(self._fd, LOOK_S):
            if self._is_over():
                left_s -= LOOK_S
                if left_s <= 0:
                    raise BrokenPipeError(errno.EPIPE, "nobody reads it", self._name)


def has_room(fd: int, seconds: float) -> bool:
    """Wait for a descriptor to take bytes, or to fail, but no longer than some seconds; whether it does."""
    waiting = select.poll()
    waiting.register(fd, select.POLLOUT)
    return bool(waiting.poll(seconds * 1000))


@contextmanager
def open_output(path: Path | None, permissions: int = PRIVATE) -> Iterator[Output]:
    """Open and truncate a file for what a trace prints, or take stdout; closes what it opened.

    A file that is made anew has these permissions, less the process's mask.
    """
    if path is None:
        yield Output(STDOUT, "stdout")
        return
    fd = os.open(path, CREATE, permissions)
    try:
        yield Output(fd, str(path))
    finally:
        os.close(fd)


def connect_output(
    options: PrintOptions,
    source: EventSource,
    output: Output,
    *,
    names: "Callable[[], FdNames]",
) -> None:
    """Let events go to an output as the options ask; ``names`` makes what knows file descriptors, for ``-y``."""
    if options.form == "folded":
        return
    if options.form == "json" and not options.fd_names:
        write = source.write_json_too if options.folds else source.write_json
        write(output, raw=options.raw)
        return
    found = names() if options.fd_names else None
    if found is not None:
        from traceleft.tracer.output.fdnames import FORKING

        source.foresee(found)
        if forks := FORKING & set(source.specs):
            source.on_batch(",".join(sorted(forks)), found.foresee)
    # By name: a pattern such as /./ means syscalls alone.
    source.on(",".join(source.specs), make_printer(options, output, found))


@contextmanager
def folding(options: PrintOptions, source: EventSource, output: Output) -> Iterator[None]:
    """Count the stacks of events where the options ask for that, and write them at the end, whatever ends it."""
    if not options.folds:
        yield
        return
    from traceleft.aggregator.pages.flame import Folded
    from traceleft.aggregator.pages.report import flame_page

    folded = Folded()
    with ExitStack() as stack:
        page = stack.enter_context(open_output(options.flame)) if options.flame is not None else None
        source.on(",".join(source.specs), folded.add)
        try:
            yield
        finally:
            if folded.without and not folded.counts:
                notice("the events carry no stacks: take them with -k")
            if options.form == "folded":
                output.write("".join(f"{line}\n" for line in folded.lines()).encode(errors="backslashreplace"))
            if page is not None:
                page.write(flame_page(folded.counts).encode(errors="backslashreplace"))


def make_printer(options: PrintOptions, output: Output, names: "FdNames | None") -> Callable[["Event"], None]:
    """Return what prints an event as the options ask."""
    from traceleft.tracer.output.jsonl import to_json_line
    from traceleft.tracer.output.text import Line, TextOptions

    if options.form == "json":

        def print_json(event: "Event") -> None:
            output.write(to_json_line(event, raw=options.raw, paths=names.name(event) if names else None))

        return print_json
    has_colour = options.output is None and output.is_terminal and not os.environ.get("NO_COLOR")
    line = Line(TextOptions(time=options.time, durations=options.durations, colour=has_colour, raw=options.raw))

    def print_text(event: "Event") -> None:
        text = line.show(event, names.name(event) if names else None)
        if (stack := event.stack) is not None:
            text += "".join(f"\n > {place}" for place in stack.lines())
        output.write(text.encode(errors="backslashreplace") + b"\n")

    return print_text


def counts_of(tracer: "Tracer") -> "list[Count]":
    """Return what the kernel counted for ``-c`` and ``-C``."""
    from traceleft.tracer.output.counts import Count

    return [Count(name, each.calls, each.errors, each.total_ns) for name, each in tracer.counts.items()]


def print_counts(options: PrintOptions, counts: "Callable[[], list[Count]]", output: Output) -> None:
    """Print the table of ``-c`` and ``-C`` to where the events go."""
    from traceleft.tracer.output.counts import counts_to_dict, show_counts

    text = json.dumps(counts_to_dict(counts())) + "\n" if options.form == "json" else show_counts(counts())
    output.write(text.encode())


def report(tracer: "Tracer", file: Output | None, *, sinks: Mapping[str, object] | None = None) -> None:
    """Print the account of a trace that has ended on stderr, one line, and write it to ``--ledger``.

    ``sinks`` are the accounts of those that dropped something.
    """
    from traceleft.tracer.account.remedy import missed_remedy

    ledger = tracer.ledger
    missed = missed_remedy(tracer.hook, tracer.offered_hooks)
    try:
        # First the file: nobody may read what we print.
        if file is not None:
            write_ledger(ledger, file, sinks=sinks)
    finally:
        for text in (*ledger.warnings(buffer_pages=tracer.buffer_pages or 0, missed=missed), str(ledger)):
            if tracer.signal is None or has_room(STDERR, PATIENCE_S):
                notice(text)


def write_ledger(ledger: "Ledger", file: Output, *, sinks: Mapping[str, object] | None = None) -> None:
    """Write an account as ``--ledger`` has it; ``sinks`` is a key only where one of them dropped something."""
    document = {**ledger.to_json(), **({"sinks": sinks} if sinks else {})}
    file.write(json.dumps(document).encode() + b"\n")
