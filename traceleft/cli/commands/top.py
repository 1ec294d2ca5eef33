"""The command ``top``: a live view of calls, on the whole screen."""

import os
import select
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import click

from traceleft.cli.options import COMMAND_SETTINGS, refuse_contradictions, tracing_options
from traceleft.cli.output import open_output
from traceleft.cli.rolling import NS_A_SECOND, Engine, by_option, engine_option, grouped, interval

if TYPE_CHECKING:
    from rich.live import Live as Picture

    from traceleft.aggregator.streaming.live import LiveView
    from traceleft.cli.rolling import Rolling
    from traceleft.cli.top_view import Screen

# How long a key may wait for its effect, and the end of the trace for ours.
LOOK_S = 0.1
ORDERS = ("rate", "calls", "errors", "time", "p50", "p99")
# The first picture comes sooner than the interval.
FIRST_S = 0.2
PLAIN_ROWS = 20
PLAIN_WIDTH = 80
# Where tcgetattr has the control characters.
CONTROL = 6


@click.command("top", context_settings=COMMAND_SETTINGS)
@by_option
@click.option(
    "--interval",
    "interval_ns",
    type=interval,
    default="1",
    show_default=True,
    metavar="S",
    help="Draw every S seconds.",
)
@click.option(
    "--sort-by", "order", type=click.Choice(ORDERS), default="rate", show_default=True, help="Column to sort by."
)
@click.option("-n", "rows", type=click.IntRange(1, 10_000), metavar="ROWS", help="Show at most ROWS rows.")
@engine_option
@tracing_options
def top_command(
    by: tuple[str, ...], interval_ns: int, order: str, rows: int | None, engine: Engine, **values: Any
) -> int:
    """Show the most frequent calls live: rates, errors, latency.

    If stdout is not a terminal, it prints one table after another.

    \b
    traceleft top
    traceleft top --by comm --by error -Z
    traceleft top -f -- sh -c 'make >log 2>&1'

    Keys: q quits, s sorts by the next column, e by errors. Rates cover the last interval, all other figures the
    whole trace.
    """
    refuse_contradictions(values)
    from traceleft.aggregator.rollups.words import LIVE_FIGURES, make_stat_rollup
    from traceleft.cli.rolling import make_rolling
    from traceleft.cli.session import TraceOptions, choose, follow_tracer

    rollup = make_stat_rollup(by=grouped(by, by_stack=values["stacks"]), defaults=LIVE_FIGURES)
    options = TraceOptions(**values)
    choice = choose(options)
    with ExitStack() as stack:
        ledger = stack.enter_context(open_output(options.ledger)) if options.ledger else None
        rolling = make_rolling(options, choice, rollup, engine)
        display = Display(rolling, order=order, rows=rows, interval_s=interval_ns / NS_A_SECOND)
        rolling.tracer.on_warning(display.warn)
        return follow_tracer(options, rolling.tracer, ledger, at_end=display.print_last, meanwhile=display.running())


class Display:
    """Draws what a trace adds up, from a thread of its own, while the trace is read by the main one."""

    def __init__(self, rolling: "Rolling", *, order: str, rows: int | None, interval_s: float) -> None:
        from traceleft.aggregator.streaming.live import Live

        self._rolling = rolling
        self._order = order
        self._rows = rows
        self._interval_s = interval_s
        self._by = [key.name for key in rolling.rollup.by]
        self._live = Live(rolling.rollup, begin_s=time.monotonic())
        self._loss = ""
        self._is_over = threading.Event()
        self._error: BaseException | None = None
        self._picture: Picture | None = None

    def warn(self, text: str) -> None:
        """Take a line on loss; where there is no screen, it goes to stderr."""
        self._loss = text
        if self._picture is None:
            from traceleft.cli.session import warn

            warn(text)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Draw until the end of the block; whatever ends it, the terminal is as it was."""
        with ExitStack() as stack:
            keys = None
            if (picture := full_screen()) is not None:
                self._picture = stack.enter_context(picture)
                stack.callback(setattr, self, "_picture", None)
                keys = stack.enter_context(unbuffered_keys())
            thread = threading.Thread(target=self._run, args=(keys,), name="top", daemon=True)
            thread.start()
            try:
                yield
            finally:
                self._is_over.set()
                thread.join()
        if self._error is not None:
            raise self._error

    def print_last(self) -> None:
        """Print the table that the trace ended with; the screen has gone, and what it showed."""
        self._print(self._look())

    def _run(self, keys: int | None) -> None:
        from traceleft.tracer.sandbox.privileges import block_signals

        block_signals()
        try:
            self._draw_until_over(keys)
        except BaseException as error:
            self._error = error
            self._rolling.tracer.stop()

    def _draw_until_over(self, keys: int | None) -> None:
        view = None
        due = time.monotonic() + (FIRST_S if self._picture else self._interval_s)
        while not self._is_over.is_set():
            if self._take_keys(keys) and view is not None:
                self._draw(view)
            if time.monotonic() >= due:
                view = self._look()
                self._draw(view)
                due = time.monotonic() + self._interval_s

    def _take_keys(self, keys: int | None) -> bool:
        """Wait for a moment, or for a key, and do as it says; tell whether the order has changed."""
        if keys is None:
            self._is_over.wait(LOOK_S)
            return False
        ready, _, _ = select.select([keys], [], [], LOOK_S)
        pressed = os.read(keys, 64).decode(errors="replace") if ready else ""
        before = self._order
        for key in pressed:
            if key in "qQ":
                self._rolling.tracer.stop()
            elif key in "eE":
                self._order = "errors"
            elif key in "sS":
                self._order = ORDERS[(ORDERS.index(self._order) + 1) % len(ORDERS)]
        if ready and not pressed:
            # Its terminal has gone.
            self._is_over.wait(LOOK_S)
        return self._order != before

    def _look(self) -> "LiveView":
        return self._live.update(self._rolling.groups(), time.monotonic())

    def _draw(self, view: "LiveView") -> None:
        if self._picture is None:
            self._print(view)
            return
        width, height = self._picture.console.size
        self._picture.update(self._screen(view).render(width, height, most=self._rows), refresh=True)

    def _print(self, view: "LiveView") -> None:
        text = self._screen(view).to_text(PLAIN_WIDTH, rows=self._rows or PLAIN_ROWS)
        with open_output(None) as output:
            output.write(f"{text}\n".encode(errors="backslashreplace"))

    def _screen(self, view: "LiveView") -> "Screen":
        from traceleft.cli.top_view import Screen

        return Screen(view, self._order, self._by, self._loss, has_keys=self._picture is not None)


def full_screen() -> "Picture | None":
    """Return the terminal as a screen to draw on; None where stdout is not a terminal that can be drawn on."""
    from rich.console import Console
    from rich.live import Live

    console = Console()
    if not console.is_terminal or console.is_dumb_terminal:
        return None
    return Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)


@contextmanager
def unbuffered_keys() -> Iterator[int | None]:
    """Give keys one by one, and do not show them; None where stdin is not a terminal of ours."""
    if sys.stdin is None or not sys.stdin.isatty() or is_in_background(sys.stdin.fileno()):
        yield None
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    try:
        tty.setcbreak(fd, termios.TCSANOW)
        changed = termios.tcgetattr(fd)
        # Who is suspended leaves the screen as it is.
        changed[CONTROL][termios.VSUSP] = b"\0"
        termios.tcsetattr(fd, termios.TCSANOW, changed)
        yield fd
    finally:
        termios.tcsetattr(fd, termios.TCSANOW, before)


def is_in_background(fd: int) -> bool:
    """Tell whether a terminal is another process group's, which would stop us for touching it."""
    try:
        return os.tcgetpgrp(fd) != os.getpgrp()
    except OSError:
        # It is nobody's: not the terminal that controls us.
        return False
