"""The configuration file: which events, and which of their arguments."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from traceleft.document import Document, parse_toml, read_toml
from traceleft.errors import ExpressionError, FormatError
from traceleft.expression import Catalogue, select, suggest

MAX_EVENTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration: event expressions (None: the default), and the arguments wanted of single events."""

    file: str
    expressions: tuple[str, ...] | None = None
    arguments: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    text: str = ""

    def line_of(self, name: str, *, after: int = 0) -> int | None:
        """Return the first line beyond `after` that has `name` as a word, the place that an error is shown at."""
        return Document(self.file, self.text).line_of(name, after=after)

    def error(self, message: str, name: str, *, event: str | None = None) -> FormatError:
        """Return the error for `name`, in the table of `event` if given."""
        after = (self.line_of(event) or 0) if event else 0
        return FormatError(message, file=self.file, line=self.line_of(name, after=after) or after or None)


def read_config(path: Path) -> Config:
    """Read a configuration file; FormatError whatever its bytes."""
    return _check_config(read_toml(path))


def parse_config(text: str, *, file: str) -> Config:
    """Parse the text of a configuration and check its keys; events and arguments are checked against formats later."""
    return _check_config(parse_toml(text, file=file))


def _check_config(read: Document) -> Config:
    file, text, document = read.file, read.text, read.table
    config = Config(file, text=text)
    _check_keys(config, document, ("events", "event"))
    expressions = _read_names(config, document, "events") if "events" in document else None
    tables = document.get("event", {})
    if not isinstance(tables, dict) or len(tables) > MAX_EVENTS:
        raise config.error("`event` must be a table: write [event.NAME]", "event")
    arguments = {name: _read_event(config, name, table) for name, table in tables.items()}
    return Config(file, expressions, {name: names for name, names in arguments.items() if names is not None}, text)


def choose_events(
    expressions: Sequence[str], config: Config | None, catalogue: Catalogue, *, default: Sequence[str]
) -> tuple[str, ...]:
    """Return the chosen events: `expressions` if there are any, else those of the configuration, else `default`."""
    if expressions or config is None or config.expressions is None:
        return select(expressions, catalogue, default=default)
    if not config.expressions:
        raise config.error("`events` names no event; leave it out for every syscall", "events")
    for expression in config.expressions:
        try:
            select([expression], catalogue, default=default)
        except ExpressionError as exc:
            raise config.error(str(exc), expression) from exc
    return select(config.expressions, catalogue, default=default)


def choose_arguments(config: Config | None, catalogue: Catalogue) -> dict[str, tuple[str, ...]]:
    """Return event → wanted arguments, by the events' kernel names."""
    chosen: dict[str, tuple[str, ...]] = {}
    for name, arguments in (config.arguments if config else {}).items():
        events = [name] if name in catalogue.names else _named_otherwise(name, catalogue)
        if not events and config:
            known = [*catalogue.names, *(other for others in catalogue.aliases.values() for other in others)]
            raise config.error(f"no event is named {name!r}{suggest(name, known)}", name)
        chosen.update(dict.fromkeys(events, arguments))
    return chosen


def _named_otherwise(name: str, catalogue: Catalogue) -> list[str]:
    return [event for event, others in catalogue.aliases.items() if name in others and event in catalogue.names]


def _check_keys(config: Config, table: Mapping[str, object], known: Sequence[str], *, event: str | None = None) -> None:
    for key in table:
        if key not in known:
            hint = suggest(key, known) or f"; known: {', '.join(known)}"
            raise config.error(f"unknown key {key!r}{hint}", key, event=event)


def _read_event(config: Config, name: str, table: object) -> tuple[str, ...] | None:
    if not isinstance(table, dict):
        raise config.error(f"event {name!r} must be a table: write [event.{name}]", name)
    _check_keys(config, table, ("arguments",), event=name)
    return _read_names(config, table, "arguments", event=name) if "arguments" in table else None


def _read_names(config: Config, table: Mapping[str, object], key: str, *, event: str | None = None) -> tuple[str, ...]:
    match table[key]:
        case list(names) if all(isinstance(name, str) and name for name in names):
            return tuple(names)
    raise config.error(f"`{key}` must be a list of names", key, event=event)
