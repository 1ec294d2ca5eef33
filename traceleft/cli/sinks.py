"""The options ``--sink`` and ``--rules``, and what they connect events to: sinks, rules, and alerts on stderr."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click
from click.core import ParameterSource

from traceleft.cli.batteries import catalogue_of
from traceleft.cli.option_types import Decorated
from traceleft.errors import ExpressionError
from traceleft.terminal import notice

if TYPE_CHECKING:
    from traceleft.aggregator.rollups.rollup import Result
    from traceleft.aggregator.rules.rule import Alert, Rule
    from traceleft.aggregator.rules.watch import Watcher
    from traceleft.aggregator.sinks.fanout import Sinks
    from traceleft.battery import Battery
    from traceleft.cli.output import Output, PrintOptions
    from traceleft.expression import Catalogue
    from traceleft.tracer import Tracer
    from traceleft.tracer.account.ledger import Ledger
    from traceleft.tracer.decode.batch import Batch
    from traceleft.tracer.output.fdnames import FdNames
    from traceleft.tracer.output.lines import Writer
    from traceleft.tracer.schema.spec import EventSpec

ACCOUNT_S = 1.0


def sink_url(value: str) -> str:
    """Read a sink's URL."""
    from traceleft.aggregator.sinks.urls import SinkUrl

    try:
        return SinkUrl.parse(value).text
    except ExpressionError as exc:
        raise click.BadParameter(str(exc)) from exc


def sink_option(function: Decorated) -> Decorated:
    """Add ``--sink``."""
    return click.option(
        "--sink",
        "sinks",
        type=sink_url,
        multiple=True,
        metavar="URL",
        help="Also send events, rows and alerts there: ndjson:PATH, parquet:DIR, prometheus:HOST:PORT, "
        "otlp:http://HOST:PORT; "
        "repeatable. Events go there instead of to stdout, unless -o or --format is given.",
    )(function)


def sink_options(function: Decorated) -> Decorated:
    """Add ``--sink`` and ``--rules``; the command's values then want ``complete_sinks``."""
    rules = click.option(
        "--rules",
        type=click.Path(path_type=Path),
        multiple=True,
        metavar="FILE",
        help="Watch events by the rules in FILE; alerts go to the sinks, else to stderr; repeatable.",
    )
    return sink_option(rules(function))


def complete_sinks(values: dict[str, Any]) -> dict[str, Any]:
    """Refuse what has no events for sinks or rules; tell whether events are printed in addition to sinks."""
    context = click.get_current_context()
    for name, option in (("sinks", "--sink"), ("rules", "--rules")):
        if values[name] and values.get("count"):
            raise click.UsageError(f"-c prints no events for {option}; use -C to print and count them", context)
    is_asked = values.get("output") is not None or context.get_parameter_source("form") is ParameterSource.COMMANDLINE
    return {**values, "prints_beside_sinks": is_asked}


def files_of(sinks: Sequence[str]) -> list[Path]:
    """Return the files that sinks write to by their names."""
    if not sinks:
        return []
    from traceleft.aggregator.sinks.urls import SinkUrl

    urls = map(SinkUrl.parse, sinks)
    return [Path(url.place) for url in urls if url.scheme == "ndjson"]


def directories_of(sinks: Sequence[str]) -> list[Path]:
    """Return the directories in which sinks make files while a trace runs."""
    if not sinks:
        return []
    from traceleft.aggregator.sinks.urls import SinkUrl

    found: list[Path] = []
    for url in map(SinkUrl.parse, sinks):
        if url.scheme == "ndjson":
            found.append(Path(url.place).absolute().parent)
        elif url.scheme == "parquet":
            # By host and day.
            found += [Path(url.place), *Path(url.place).glob("host=*"), *Path(url.place).glob("host=*/day=*")]
    return found


def use_network(sinks: Sequence[str]) -> bool:
    """Tell whether a sink connects to others."""
    return any(sink.startswith("otlp:") for sink in sinks)


class BatchSource(Protocol):
    """Where events come from: a running trace, or a recording."""

    @property
    def specs(self) -> "Mapping[str, EventSpec]": ...
    def on_batch(self, events: str, callback: "Callable[[Batch], object]") -> None: ...
    def on_round(self, callback: Callable[[], object]) -> None: ...
    def resolve_paths(self, names: "FdNames") -> None: ...
    def write_json_too(self, writer: "Writer", *, raw: bool = False) -> None: ...


class Outlets:
    """The sinks and rules of a command.

    They are made before there is a trace, so that mistakes are reported first; then connected, started once the trace
    is, and finished when its account is known. Leaving it closes all.
    """

    def __init__(self, options: "PrintOptions", *, host: str | None = None, is_live: bool = True) -> None:
        self._host = os.uname().nodename if host is None else host
        self._rules: Sequence[Rule] = ()
        self._sinks: Sinks | None = None
        self._watcher: Watcher | None = None
        self._stack = ExitStack()
        if options.rules:
            from traceleft.aggregator.rules.rule import read_rules

            self._rules = read_rules(options.rules)
        if options.sinks:
            from traceleft.aggregator.sinks.urls import open_sinks

            self._sinks = open_sinks(options.sinks, host=self._host, waits=not is_live, tell=_tell)
            self._stack.callback(self._sinks.close)

    def __enter__(self) -> "Outlets":
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def leaves_printing(self, options: "PrintOptions", output: "Output") -> bool:
        """Tell whether events are printed as well: they are unless a sink has them, or nobody reads them."""
        has_events = self._sinks is not None and self._sinks.wants("events")
        is_unread = output.is_null and bool(self._sinks or self._rules)
        return (options.prints_beside_sinks or not has_events) and not is_unread

    @property
    def has_dropped(self) -> bool:
        """Whether a sink dropped something."""
        return bool(self.dropped())

    def connect(
        self,
        source: BatchSource,
        *,
        raw: bool = False,
        cgroups: Callable[[int], str | None] | None = None,
        catalogue: "Callable[[], Catalogue] | None" = None,
        names: "Callable[[], FdNames] | None" = None,
    ) -> None:
        """Let events go to the sinks and through the rules; ``catalogue`` lists those that rules may name.

        ``names`` makes what knows the file descriptors of processes, for those that ask for paths.
        """
        if names is not None and self._asks_paths():
            source.resolve_paths(names())
        if self._sinks is not None and self._sinks.wants_lines:
            source.write_json_too(self._sinks, raw=raw)
        if self._sinks is not None and self._sinks.wants_batches:
            source.on_batch(",".join(source.specs), self._sinks.batch)
        if not self._rules:
            return
        from traceleft.aggregator.rules.watch import Watcher

        self._watcher = Watcher(
            self._rules,
            source.specs,
            self._alert,
            host=self._host,
            cgroups=cgroups,
            catalogue=catalogue and catalogue(),
        )
        source.on_batch(",".join(sorted(self._watcher.events)), self._watcher.add)
        source.on_round(self._watcher.end_round)

    def _asks_paths(self) -> bool:
        """Whether a sink or a rule asks for the files that events are about."""
        from traceleft.aggregator.rollups.rollup_check import columns_of

        if self._sinks is not None and self._sinks.wants_batches:
            return True
        shown = {name.name for rule in self._rules for name in rule.shown}
        return any("path" in columns_of(rule.rollup) for rule in self._rules) or "path" in shown

    def follow(self, tracer: "Tracer", battery: "Battery", *, raw: bool) -> None:
        """Connect a trace that is not started, and let sinks know its account every so often."""
        from traceleft.cli.names import live_names
        from traceleft.tracer.kernel.cgroups import CgroupPaths

        paths = CgroupPaths()
        self.connect(
            tracer,
            raw=raw,
            cgroups=lambda each: paths.find([each]).get(each),
            catalogue=lambda: catalogue_of(battery),
            names=lambda: live_names(tracer, battery),
        )
        self.follow_account(tracer)

    def follow_account(self, tracer: "Tracer") -> None:
        """Let sinks know the account of a trace every so often."""
        if self._sinks is not None and self._sinks.wants("ledger"):
            due = time.monotonic()

            def tell_account() -> None:
                nonlocal due
                if time.monotonic() >= due:
                    due = time.monotonic() + ACCOUNT_S
                    figures = tracer.figures().to_json()
                    # What is under way is not unaccounted: that shows at the end.
                    del figures["unaccounted"]
                    self.ledger(figures)

            tracer.on_tick(tell_account)

    def start(self) -> None:
        """Let sinks take what comes; to be called once a command was forked."""
        if self._sinks is not None:
            self._sinks.start()

    def rows(self, result: "Result") -> None:
        """Give sinks rows of a rollup: of windows that have ended, each once, or of all."""
        if self._sinks is not None and result.rows:
            self._sinks.rows(result)

    def ledger(self, figures: Mapping[str, object]) -> None:
        """Let sinks know the account so far."""
        if self._sinks is not None:
            self._sinks.ledger(figures)

    def finish(self, ledger: "Ledger | None") -> None:
        """Give sinks the last account, close them, and tell on stderr what they dropped and rules held back."""
        if ledger is not None:
            self.ledger(ledger.total.to_json())
        self._stack.close()
        if self._sinks is not None:
            for name, account in self._sinks.accounts().items():
                if account.dropped:
                    _tell(f"sink {name}: {account}")
        for name, each in ({} if self._watcher is None else self._watcher.accounts()).items():
            parts = {
                "alerts suppressed": each.suppressed,
                "late events": each.late,
                "events beyond max_keys": each.capped,
            }
            if text := ", ".join(f"{number:,} {what}" for what, number in parts.items() if number):
                _tell(f"rule {name}: {text}")

    def dropped(self) -> dict[str, object]:
        """Return the accounts of the sinks that dropped something."""
        accounts = {} if self._sinks is None else self._sinks.accounts()
        return {name: account.to_json() for name, account in accounts.items() if account.dropped}

    def _alert(self, alert: "Alert") -> None:
        if self._sinks is not None and self._sinks.wants("alerts"):
            self._sinks.alert(alert.to_json())
        else:
            _tell(str(alert))


def _tell(line: str) -> None:
    """Print one line on stderr; where nobody reads it, the trace goes on."""
    with suppress(OSError):
        notice(line)
