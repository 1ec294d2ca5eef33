"""Event expressions: what `-e` takes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from traceleft.errors import ExpressionError

if TYPE_CHECKING:
    import re2

MAX_EXPRESSION: Final = 64 << 10
MAX_REGEX: Final = 256
MAX_SHOWN: Final = 64
# Bytes of a compiled /regex/.
MAX_REGEX_MEMORY: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The events that expressions choose from: their other names, and the classes (named without `%`)."""

    names: frozenset[str]
    aliases: Mapping[str, Sequence[str]] = field(default_factory=dict)
    classes: Mapping[str, frozenset[str]] = field(default_factory=dict)


def select(expressions: Sequence[str], catalogue: Catalogue, *, default: Iterable[str]) -> tuple[str, ...]:
    """Return the sorted names of the events that `expressions` choose.

    Each is a comma list of names, other names, `%class`, `/regex/` and `category:name`; a leading `!` takes its events
    away, `?` before a name lets it be absent, `trace=` before a list and the words `all` and `none` are read as by
    strace. Expressions add up; if the first takes away, it takes from `default`, and so does no expression at all.
    ExpressionError names the nearest names to one that is unknown.
    """
    default = frozenset(default)
    if not expressions:
        return tuple(sorted(default))
    chosen: set[str] = set()
    for index, expression in enumerate(expressions):
        negated, items = _split(expression)
        if negated and index == 0:
            chosen |= default
        named = frozenset().union(*(_resolve(item, catalogue, default, expression) for item in items))
        chosen = chosen - named if negated else chosen | named
    return tuple(sorted(chosen))


def named(expressions: Sequence[str], catalogue: Catalogue) -> frozenset[str]:
    """Return the events that `expressions` ask for one by one: not by a class, a regex, or a word for many."""
    found: set[str] = set()
    for expression in expressions:
        negated, items = _split(expression)
        single = [item for item in items if not item.startswith(("%", "/", "?")) and item not in ("all", "none")]
        if not negated:
            found.update(*(_resolve(item, catalogue, frozenset(), expression) for item in single))
    return frozenset(found)


def _split(expression: str) -> tuple[bool, list[str]]:
    """Return whether the expression negates, and its items; a comma inside a `/regex/` does not part items."""
    if len(expression) > MAX_EXPRESSION:
        raise ExpressionError("event expression is too long", expression=expression[:MAX_SHOWN])
    text = expression.strip()
    for prefix in ("trace=", "t="):
        text = text.removeprefix(prefix)
    negated = text.startswith("!")
    text = text[1:] if negated else text
    items: list[str] = []
    while text:
        end = _item_end(text, expression)
        items.append(text[:end].strip())
        text = text[end + 1 :]
    if not items or not all(items):
        raise ExpressionError(
            f"event expression {_shown(expression)} has an empty name in it", expression=expression[:MAX_SHOWN]
        )
    return negated, items


def _item_end(text: str, expression: str) -> int:
    if text.startswith(("/", "?/")):
        close = text.find("/", text.index("/") + 1)
        while close >= 0 and text[close + 1 : close + 2] not in ("", ","):
            close = text.find("/", close + 1)
        if close < 0:
            raise ExpressionError(
                f"event expression {_shown(expression)} has a /regex/ without its second slash",
                expression=expression[:MAX_SHOWN],
            )
        return close + 1
    comma = text.find(",")
    return len(text) if comma < 0 else comma


def _resolve(item: str, catalogue: Catalogue, default: frozenset[str], expression: str) -> frozenset[str]:
    optional = item.startswith("?")
    item = item.removeprefix("?")
    if item.startswith("/"):
        return _match(item[1:-1], catalogue, expression)
    if item.startswith("%"):
        return _find_class(item[1:], catalogue, expression)
    if item in catalogue.names:
        return frozenset({item})
    if item in ("all", "none"):
        return default if item == "all" else frozenset()
    named = frozenset(name for name, others in catalogue.aliases.items() if item in others and name in catalogue.names)
    if not named and not optional:
        raise _unknown("event", item, _all_names(catalogue), expression)
    return named


def _match(pattern: str, catalogue: Catalogue, expression: str) -> frozenset[str]:
    """Return the events whose name, or another name, contains what `pattern` describes.

    Tracepoints are meant only where the pattern has a colon: `/open/` is about syscalls.
    """
    regex = _compile(pattern, expression)
    names = [name for name in catalogue.names if ":" in pattern or ":" not in name]
    found = frozenset(
        name
        for name in names
        if regex.search(name) or any(regex.search(other) for other in catalogue.aliases.get(name, ()))
    )
    if not found:
        raise ExpressionError(f"/{pattern}/ matches no event", expression=expression[:MAX_SHOWN])
    return found


def _compile(pattern: str, expression: str) -> "re2._Regexp[str]":
    """Compile a /regex/ by RE2, whose time grows with the length of what is searched, whatever the pattern."""
    import re2

    if len(pattern) > MAX_REGEX:
        raise ExpressionError(f"/regex/ is longer than {MAX_REGEX} characters", expression=expression[:MAX_SHOWN])
    options = re2.Options()
    options.max_mem, options.log_errors = MAX_REGEX_MEMORY, False
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError) as exc:
        said = exc.args[0].decode(errors="replace") if isinstance(exc.args[0], bytes) else str(exc)
        message = f"/{pattern}/ is not a regular expression of RE2: {said}"
        raise ExpressionError(message, expression=expression[:MAX_SHOWN]) from exc


def _find_class(name: str, catalogue: Catalogue, expression: str) -> frozenset[str]:
    members = catalogue.classes.get(name)
    if members is None:
        raise _unknown("class", f"%{name}", [f"%{known}" for known in catalogue.classes], expression)
    return members & catalogue.names


def _all_names(catalogue: Catalogue) -> list[str]:
    return sorted(catalogue.names | {other for others in catalogue.aliases.values() for other in others})


def _unknown(what: str, name: str, names: Iterable[str], expression: str) -> ExpressionError:
    hint = suggest(name, names)
    return ExpressionError(f"no {what} is named {_shown(name)}{hint}", expression=expression[:MAX_SHOWN])


def suggest(name: str, names: Iterable[str]) -> str:
    """Return `; nearest: a, b` with the names most like `name`, or nothing."""
    import difflib

    nearest = difflib.get_close_matches(name[:MAX_SHOWN], sorted(names), n=3, cutoff=0.6)
    return f"; nearest: {', '.join(nearest)}" if nearest else ""


def _shown(text: str) -> str:
    return repr(text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…")
