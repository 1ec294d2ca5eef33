"""Rules: conditions over events, or over what comes together in a window, that give alerts.

A rule is read from TOML as a rollup is, and has the same expressions. It is tested whenever an event comes that it is
about, over the window of that moment, so an alert does not wait for a window's end. All times are those of the events:
the same events in the same order give the same alerts, live and from a recording.
"""

import re
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from traceleft.aggregator.rollups.columns import BY_NAME
from traceleft.aggregator.rollups.expression_tree import Expression, Name
from traceleft.aggregator.rollups.parse import parse_condition
from traceleft.aggregator.rollups.parts import KeyValue, Measure
from traceleft.aggregator.rollups.rollup import Rollup
from traceleft.aggregator.rollups.rollup_check import args_of, check_rollup
from traceleft.aggregator.rollups.rollup_files import MAX_ROLLUPS
from traceleft.aggregator.rollups.rollup_tables import RollupTable
from traceleft.document import Document, parse_toml, read_toml
from traceleft.expression import Catalogue, suggest
from traceleft.terminal import printable
from traceleft.tracer.decode.texts import mark_bytes
from traceleft.tracer.schema.spec import EventSpec

Severity = Literal["info", "warning", "error", "critical"]
SEVERITIES: Final[tuple[Severity, ...]] = ("info", "warning", "error", "critical")
PANES: Final = 20
"""How many steps a window slides in, if a rule does not say."""
MAX_MESSAGE: Final = 1000
_LIMIT: Final = re.compile(r"([0-9]{1,6})\s*/\s*(s|sec|second|m|min|minute|h|hour|d|day)", re.ASCII)
_PERIODS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_COUNT: Final = re.compile(r"\s*(>=|>|==)\s*([0-9]{1,18})\s*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule: the events, keys, measures and window of ``rollup``, and what is said of them.

    Without a window each event that fits gives an alert, and ``when`` is None. ``pane_ns`` is what a window slides by.
    One key has at most one alert in ``cooldown_ns``; all keys together have at most ``limit[0]`` in ``limit[1]`` ns.
    """

    rollup: Rollup
    when: Expression | None = None
    pane_ns: int = 0
    message: str = ""
    fields: tuple[str, ...] = ()
    severity: Severity = "warning"
    cooldown_ns: int = 0
    limit: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """The rule's name."""
        return self.rollup.name

    @property
    def shown(self) -> tuple[Name, ...]:
        """The columns that an alert of a single event shows in addition to its keys: those that the message names."""
        if self.when is not None:
            return ()
        keys = {key.name for key in self.rollup.by}
        columns = (BY_NAME[name] for name in self.fields if name in BY_NAME and name not in keys)
        return tuple(Name(c.name, "integer" if c.type == "integer" else "text") for c in columns)


@dataclass(frozen=True, slots=True)
class Alert:
    """What a rule reports.

    ``rule`` is the rule, ``keys`` are its keys, and ``values`` are measures of the window or columns of the event that
    set it off. ``ts`` and ``window_ns`` (start and end, or None) are in nanoseconds since the epoch. ``suppressed``
    alerts of these keys were held back since the last one. ``host`` is the host that was traced.
    """

    ts: int
    rule: Rule
    keys: Mapping[str, KeyValue]
    values: Mapping[str, KeyValue]
    window_ns: tuple[int, int] | None
    suppressed: int
    host: str

    @property
    def message(self) -> str:
        """The rule's message, its fields filled in."""
        found = {**self.keys, **self.values, "host": self.host, "rule": self.rule.name}
        return self.rule.message.format_map({name: _show(value) for name, value in found.items()})

    def to_json(self) -> dict[str, object]:
        """Return the alert as sinks take it."""
        return mark_bytes(
            {
                "ts": self.ts,
                "alert": self.rule.name,
                "severity": self.rule.severity,
                "keys": dict(self.keys),
                "values": dict(self.values),
                "window_start": None if self.window_ns is None else self.window_ns[0],
                "window_end": None if self.window_ns is None else self.window_ns[1],
                "message": self.message,
                "suppressed": self.suppressed,
                "host": self.host,
            }
        )

    def __str__(self) -> str:
        more = f" ({self.suppressed:,} more suppressed)" if self.suppressed else ""
        return f"{self.rule.severity}: {self.rule.name}: {self.message}{more}"


def _show(value: KeyValue) -> str:
    """Return a value for a message; what a terminal would take for a command is escaped."""
    if not isinstance(value, str):
        return "-" if value is None else str(value)
    return printable(value)


def read_rules(paths: Iterable[Path]) -> tuple[Rule, ...]:
    """Return the rules of TOML files, in their order.

    ::

        rules = read_rules([Path("rules.toml")])

    Raises FormatError, with file and line, for a mistake.
    """
    rules: dict[str, Rule] = {}
    for path in paths:
        for rule in rules_of(read_toml(path)):
            if rule.name in rules:
                raise rule.rollup.error(f"{rules[rule.name].rollup.file} also has a rule of that name")
            rules[rule.name] = rule
    return tuple(rules.values())


def parse_rules(text: str, *, file: str) -> tuple[Rule, ...]:
    """Return the rules of a TOML text; ``FormatError`` with the line for a mistake."""
    return rules_of(parse_toml(text, file=file))


def rules_of(document: Document) -> tuple[Rule, ...]:
    """Return the rules of a document, which may hold rollups as well; ``FormatError`` where it holds no rule."""
    document.check_keys(document.table, ("rollup", "rule"))
    tables = document.table.get("rule", {})
    if not isinstance(tables, Mapping):
        raise document.error("`rule` must be a table: write [rule.NAME]", document.line_of("rule"))
    if not tables:
        raise document.error("holds no rule; write [rule.NAME]")
    if len(tables) > MAX_ROLLUPS:
        raise document.error(f"holds more than {MAX_ROLLUPS} rules")
    return tuple(_RuleTable(document, name, table).rule() for name, table in tables.items())


class _RuleTable(RollupTable):
    """Reads one rule's table."""

    kind = "rule"
    own = ("when", "count", "message", "severity", "cooldown", "limit")
    known = (*("events", "where", "by", "measures", "window", "slide", "max_keys", "description"), *own)

    def rule(self) -> Rule:
        """Return the rule; ``FormatError`` for the first mistake in it."""
        rollup = Rollup(**self.fields())
        for measure in rollup.measures:
            if measure.function in ("histogram", "exact"):
                why = "cannot be used in a rule: it is not a single number"
                raise self._error(f"`measures`: {measure.name} {why}", "measures")
        if rollup.window_ns is None:
            self._refuse_without_window()
        if all(measure.name != "count" for measure in rollup.measures):
            rollup = replace(rollup, measures=(*rollup.measures, Measure("count", "count")))
        fields, message = self._message(rollup)
        return Rule(
            rollup=rollup,
            when=self._when(rollup) if rollup.window_ns else None,
            pane_ns=self._pane_ns(rollup),
            message=message,
            fields=fields,
            severity=self._severity(),
            cooldown_ns=self._time("cooldown") or 0,
            limit=self._limit(),
        )

    def _refuse_without_window(self) -> None:
        for key in ("when", "count", "measures", "slide"):
            if key in self._table:
                raise self._error(f"`{key}` needs a `window`", key)
        if "where" not in self._table and "events" not in self._table:
            raise self._error("says nothing of events: give `events`, `where`, or a `window` and `when`")

    def _pane_ns(self, rollup: Rollup) -> int:
        if rollup.window_ns is None:
            return 0
        if rollup.slide_ns is not None:
            return rollup.slide_ns
        # A rollup has no slide, either, where it is as long as the window.
        is_finer = "slide" not in self._table and rollup.window_ns % PANES == 0
        return rollup.window_ns // PANES if is_finer else rollup.window_ns

    def _when(self, rollup: Rollup) -> Expression:
        if ("when" in self._table) == ("count" in self._table):
            both = "excludes `when`" if "count" in self._table else 'or `when` is missing, as in count = ">20"'
            raise self._error(f"`count` {both}", "count" if "count" in self._table else "")
        key = "when" if "when" in self._table else "count"
        text = self._table[key]
        if not isinstance(text, str):
            raise self._error(f"`{key}` must be a condition in quotes", key)
        if key == "count":
            found = _COUNT.fullmatch(text)
            if not found:
                raise self._error('`count` must be ">N", ">=N" or "==N": a rule watches what grows', key)
            text = f"count {found[1]} {found[2]}"
        names = [measure.name for measure in rollup.measures]
        condition = self._parse(key, text, lambda each: parse_condition(each, numbers=names))
        if any(args_of(condition)):
            raise self._error(f"`{key}` has arguments in it; they belong into `where`, or into `measures`", key)
        return condition

    def _message(self, rollup: Rollup) -> tuple[tuple[str, ...], str]:
        keys = [key.name for key in rollup.by]
        measures = [measure.name for measure in rollup.measures] if rollup.window_ns else []
        columns = [] if rollup.window_ns else [column.name for column in BY_NAME.values() if column.type != "map"]
        known = (*keys, *measures, *columns, "host", "rule")
        default = ", ".join(f"{name} {{{name}}}" for name in (*keys, *measures)) or "{comm}[{pid}] {event}"
        message = self._table.get("message", default)
        if not isinstance(message, str) or not message.strip() or len(message) > MAX_MESSAGE or "\n" in message:
            must = f"must be one line of text in quotes, of 1 to {MAX_MESSAGE} characters"
            raise self._error(f"`message` {must}", "message")
        try:
            parts = [*string.Formatter().parse(message)]
        except ValueError as exc:
            raise self._error(f"`message`: {exc}; a brace stands for itself if it is doubled", "message") from exc
        fields = [part for part in parts if part[1] is not None]
        for _, name, form, conversion in fields:
            if name not in known or form or conversion:
                hint = suggest(name or "", known) or f"; there are {', '.join((*keys, *measures, 'host', 'rule'))}"
                what = name if not form and not conversion else f"{name} with a format"
                raise self._error(f"`message` names no key or measure: {{{(what or '')[:64]}}}{hint}", "message")
        return tuple(dict.fromkeys(name for _, name, _, _ in fields if name)), message

    def _severity(self) -> Severity:
        value = self._table.get("severity", "warning")
        found = next((each for each in SEVERITIES if each == value), None)
        if found is None:
            raise self._error(f"`severity` must be one of {', '.join(SEVERITIES)}", "severity")
        return found

    def _limit(self) -> tuple[int, int] | None:
        if "limit" not in self._table:
            return None
        found = _LIMIT.fullmatch(str(self._table["limit"]))
        if not found or not int(found[1]):
            raise self._error('`limit` must be a number of alerts in a time, as in "10/min"', "limit")
        return int(found[1]), _PERIODS_S[found[2][0]] * 1_000_000_000


def check_rule(rule: Rule, specs: Mapping[str, EventSpec], *, catalogue: Catalogue | None = None) -> frozenset[str]:
    """Check a rule as ``check_rollup`` does a rollup, and return the events that it is about."""
    return check_rollup(rule.rollup, specs, catalogue=catalogue)


def inputs_of(rule: Rule) -> tuple[Expression, ...]:
    """Return what a rule's measures are read from, each once."""
    return tuple(dict.fromkeys(m.expression for m in rule.rollup.measures if m.expression is not None))
