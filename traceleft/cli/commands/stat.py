"""The command ``stat``: calls added up, in a table, of a running trace or of a recording."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from traceleft.cli.options import COMMAND_SETTINGS, FILE, refuse_contradictions, tracing_options
from traceleft.cli.recorded import stored_events
from traceleft.cli.rolling import NS_A_SECOND, Engine, by_option, engine_option, grouped, interval
from traceleft.cli.rows import RowPrinter, tell_result
from traceleft.cli.sinks import sink_url

if TYPE_CHECKING:
    from traceleft.aggregator.rollups.rollup import Result, Rollup
    from traceleft.aggregator.streaming.engine import Aggregator
    from traceleft.cli.output import PrintOptions
    from traceleft.cli.sinks import Outlets
    from traceleft.tracer.replay import Replay

# Parameters that apply to a running trace only, by name.
LIVE_ONLY = {
    "follow": "-f",
    "battery": "--battery",
    "signer": "--require-signature",
    "hook": "--attach",
    "level": "--level",
    "cgroup": "--cgroup",
    "duration_s": "--duration",
    "buffer_pages": "--buffer-pages",
    "max_overhead_pct": "--max-overhead",
    "engine": "--engine",
    "command": "a command",
}
# How long an event may be under way to us: windows are closed by the clock so much later where nothing happens.
QUIET_NS = NS_A_SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class StatOptions:
    """The options of ``stat`` that ``trace`` does not have, by the names that the command gives them."""

    by: tuple[str, ...]
    measures: tuple[str, ...]
    rollup: str | None
    interval_ns: int | None
    top: int | None
    sort_by: str | None
    has_histogram: bool
    engine: Engine
    verbose: bool
    form: str
    output: Path | None
    recording: Path | None


@click.command("stat", context_settings=COMMAND_SETTINGS)
@click.option("-i", "recording", type=FILE, metavar="FILE", help="Read a recording (- for stdin) instead of tracing.")
@by_option
@click.option(
    "--measure",
    "measures",
    multiple=True,
    metavar="M",
    help="Add a column to count and errors: p99.9, bytes, avg(ret), ...; repeatable.",
)
@click.option("--rollup", metavar="R", help="Run this rollup: FILE, FILE:NAME, or the name of a built-in one.")
@click.option(
    "--interval", "interval_ns", type=interval, metavar="S", help="Print the rows of every S seconds as they end."
)
@click.option(
    "--top", type=click.IntRange(1, 1_000_000), metavar="N", help="Show N rows; the others are added up in one row."
)
@click.option(
    "--sort-by", "sort_by", metavar="M", help="Order rows by this column, such as count, errors, p99.  [default: time]"
)
@click.option("--histogram", "has_histogram", is_flag=True, help="Show a histogram of durations, by powers of two.")
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Output format."
)
@click.option("-o", "output", type=FILE, metavar="FILE", help="Write rows to FILE instead of stdout.")
@engine_option
@click.option(
    "--sink",
    "sinks",
    type=sink_url,
    multiple=True,
    metavar="URL",
    help="Also send rows there: ndjson:PATH, prometheus:HOST:PORT, otlp:http://HOST:PORT; repeatable.",
)
@click.option("-v", "--verbose", is_flag=True, help="Report where calls are aggregated, and why.")
@tracing_options
def stat_command(**values: Any) -> int:
    """Count calls and errors, and show how long calls take: a table as strace -c has it, with percentiles.

    \b
    traceleft stat -f -- make -j2
    traceleft stat --by comm --by error -Z --duration 5
    traceleft stat --interval 1 --histogram -e fsync -p 4321
    traceleft stat -i make.rec --by 'prefix(path, 2)' --top 20

    The exit status is that of the command. At the end, a line on stderr accounts for every event.
    """
    refuse_contradictions(values)
    values["by"] = grouped(values["by"], by_stack=values["stacks"])
    stat = StatOptions(**{name: values.pop(name) for name in StatOptions.__dataclass_fields__})
    if stat.recording is None:
        return run_live(stat, values)
    refuse_live_options()
    return run_recorded(stat, stat.recording, values)


class Windows:
    """Prints the rows of windows as they end: by the time of events, and by the clock while there are none."""

    def __init__(
        self,
        aggregator: "Aggregator",
        print_rows: "Callable[[Result], object]",
        *,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._aggregator = aggregator
        self._print_rows = print_rows
        self._clock = clock

    def print_closed(self) -> None:
        """Print the windows that have ended; to be called when no event that came is on its way to the aggregator."""
        if (result := self._aggregator.closed()).rows:
            self._print_rows(result)

    def tick(self) -> None:
        """Let windows end by the clock as well."""
        self._aggregator.advance(self._clock() - QUIET_NS)
        self.print_closed()


def refuse_live_options() -> None:
    """Refuse what a recording cannot answer."""
    context = click.get_current_context()
    for name, option in LIVE_ONLY.items():
        source = context.get_parameter_source(name)
        if source is click.core.ParameterSource.COMMANDLINE and context.params.get(name):
            raise click.UsageError(f"{option} cannot be used with -i: it applies only to a live trace", context)


def make_rollup(stat: StatOptions) -> "Rollup":
    """Return what is to be rolled up."""
    from traceleft.aggregator.rollups.words import ALL_FIGURES, FIGURES, adapt_rollup, make_stat_rollup
    from traceleft.cli.rolling import find_rollup

    if stat.rollup is None:
        return make_stat_rollup(
            by=stat.by,
            measures=stat.measures,
            sort_by=stat.sort_by,
            top=stat.top,
            interval_ns=stat.interval_ns,
            has_histogram=stat.has_histogram,
            defaults=FIGURES if stat.form == "text" else ALL_FIGURES,
        )
    for option, given in (("--by", stat.by), ("--measure", stat.measures)):
        if given:
            raise click.UsageError(f"--rollup says itself what {option} would", click.get_current_context())
    return adapt_rollup(
        find_rollup(stat.rollup),
        sort_by=stat.sort_by,
        top=stat.top,
        interval_ns=stat.interval_ns,
        has_histogram=stat.has_histogram,
    )


def run_live(stat: StatOptions, values: dict[str, Any]) -> int:
    """Roll up a running trace, print the rows, and return the exit status."""
    from traceleft.cli.output import open_output
    from traceleft.cli.rolling import make_rolling, with_events
    from traceleft.cli.session import TraceOptions, choose, follow_tracer
    from traceleft.terminal import notice

    rollup = make_rollup(stat)
    options = with_events(TraceOptions(**values, form=stat.form, output=stat.output), rollup)
    choice = choose(options)
    with ExitStack() as stack:
        outlets = open_outlets(options, stack)
        output = stack.enter_context(open_output(stat.output))
        ledger = stack.enter_context(open_output(options.ledger)) if options.ledger else None
        rolling = make_rolling(options, choice, rollup, stat.engine)
        if stat.verbose:
            where = "in the kernel" if rolling.why is None else f"in user space: {rolling.why}"
            notice(f"calls are added up {where}")
        print_rows = RowPrinter(stat.form, output, outlets)
        if outlets is not None:
            outlets.follow_account(rolling.tracer)
        if rolling.aggregator is not None and rollup.window_ns is not None:
            windows = Windows(rolling.aggregator, print_rows)
            rolling.tracer.on_round(windows.print_closed)
            rolling.tracer.on_tick(windows.tick)

        def print_rest() -> None:
            result = rolling.result()
            print_rows(result)
            tell_result(result)

        return follow_tracer(options, rolling.tracer, ledger, at_end=print_rest, outlets=outlets)


def run_recorded(stat: StatOptions, path: Path, values: dict[str, Any]) -> int:
    """Roll up a recording, print the rows, even those before damage, and return the exit status."""
    from traceleft.aggregator.streaming.engine import Aggregator
    from traceleft.cli.output import PrintOptions, open_output, write_ledger
    from traceleft.cli.recorded import make_filters, read_stdin, recorded_status, refuse_overwriting, report_replay
    from traceleft.tracer.recording import Recording
    from traceleft.tracer.replay import Replay

    rollup = make_rollup(stat)
    options = PrintOptions(form=stat.form, output=stat.output, sinks=values["sinks"])
    with ExitStack() as stack:
        recording = stack.enter_context(Recording.open(path) if str(path) != "-" else read_stdin(stack))
        refuse_overwriting(recording, stat.output, values["ledger"])
        replay = Replay(recording, events=values["expressions"], filters=make_filters(values))
        aggregator = Aggregator(
            rollup,
            replay.specs,
            tables=recording.schema.tables,
            host=recording.host,
            cgroups=recording.cgroups.get,
            catalogue=stored_events(recording) if rollup.events else None,
        )
        outlets = open_outlets(options, stack, host=recording.host)
        output = stack.enter_context(open_output(stat.output))
        ledger = stack.enter_context(open_output(values["ledger"])) if values["ledger"] else None
        stack.callback(report_replay, recording, replay)
        if ledger is not None and recording.ledger is not None:
            write_ledger(recording.ledger, ledger)
        if outlets is not None:
            outlets.start()
        try:
            print_rows = RowPrinter(stat.form, output, outlets)
            roll_up(replay, aggregator, print_rows, max_events=values["max_events"])
        finally:
            if outlets is not None:
                outlets.finish(recording.ledger)
    return recorded_status(recording, outlets, fail_on_loss=values["fail_on_loss"])


def open_outlets(options: "PrintOptions", stack: ExitStack, *, host: str | None = None) -> "Outlets | None":
    """Open the sinks that rows go to; of a recording, whose ``host`` it is, they are waited for."""
    from traceleft.aggregator.sinks.urls import SinkUrl
    from traceleft.cli.sinks import Outlets

    for url in map(SinkUrl.parse, options.sinks):
        if "rows" not in url.takes():
            raise click.UsageError(f"--sink {url.name}: it takes no rows", click.get_current_context())
    return stack.enter_context(Outlets(options, host=host, is_live=host is None)) if options.sinks else None


def roll_up(
    replay: "Replay",
    aggregator: "Aggregator",
    print_rows: "Callable[[Result], None]",
    *,
    max_events: int | None,
) -> None:
    """Roll up what a recording holds, and print the rows; at damage those before it."""
    from traceleft.aggregator.rollups.rollup_check import columns_of
    from traceleft.tracer.recording.reader import recorded_names

    if aggregator.events:
        replay.on_batch(",".join(sorted(aggregator.events)), aggregator.add)
    if "path" in columns_of(aggregator.rollup):
        replay.resolve_paths(recorded_names(replay.recording))
    if aggregator.rollup.window_ns is not None:
        replay.on_round(Windows(aggregator, print_rows).print_closed)
    with rows_at_end(aggregator, print_rows):
        replay.run(max_events=max_events)


@contextmanager
def rows_at_end(aggregator: "Aggregator", print_rows: "Callable[[Result], None]") -> Iterator[None]:
    """Print what is left once all was read, or where reading ended at damage."""
    from traceleft.errors import RecordingError

    try:
        yield
    except RecordingError:
        print_rows(aggregator.finish())
        raise
    result = aggregator.finish()
    print_rows(result)
    tell_result(result)
