"""`generator/data/sets.toml` and the headers' constants → the sets of tables.json."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from uapi_headers import Headers

Pairs = list[list[int | str]]
Bitfields = Callable[[str], Pairs]
Declared = Mapping[str, Mapping[str, Any]]
Constants = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Item:
    """One constant of a set: its name as shown, the C expression of its value, and whether a pattern brought it."""

    name: str
    expression: str
    by_pattern: bool


def expand(entries: Sequence[str], names: Iterable[str]) -> list[Item]:
    """Return the constants that a list of names and patterns means, in its order."""
    excluded = [entry[1:] for entry in entries if entry.startswith("!")]
    included = [entry for entry in entries if not entry.startswith("!")]
    parts = (entry.partition("=") for entry in included if "*" not in entry)
    items = {name: Item(name, expression or name, False) for name, _, expression in parts}
    for pattern in (entry for entry in included if "*" in entry):
        for name in names:
            if fnmatchcase(name, pattern) and not any(fnmatchcase(name, other) for other in excluded):
                items.setdefault(name, Item(name, name, True))
    return list(items.values())


def make_sets(
    declared: Declared, headers: Headers, names: Sequence[str], *, bitfields: Bitfields
) -> dict[str, dict[str, Any]]:
    """Return every declared set as docs/reference/schema.md defines SET."""
    values = {name: expand(entry.get("values", []), names) for name, entry in declared.items()}
    bits = {name: expand(entry.get("bits", []), names) for name, entry in declared.items()}
    items = [item for part in (values, bits) for listed in part.values() for item in listed]
    constants = _evaluate(items, [entry["mask"] for entry in declared.values() if "mask" in entry], headers)
    made = {}
    for name, entry in sorted(declared.items()):
        ones = (1 << 8 * int(entry.get("width", 4))) - 1
        mask = constants[entry["mask"]] & ones if "mask" in entry else ones if values[name] else 0
        made[name] = {
            "bits": bitfields(entry["bitfield"]) if "bitfield" in entry else _bits(name, bits[name], constants, ones),
            "mask": mask,
            "values": _distinct(name, values[name], constants, mask),
            "width": int(entry.get("width", 4)),
        } | {key: entry[key] for key in ("octal", "zero") if key in entry}
    return made


def make_errno(entry: Mapping[str, Any], headers: Headers) -> dict[str, str]:
    """Return the name of each error number."""
    spelled = [Item(name, name, False) for name in entry["values"]]
    found = [Item(name, name, True) for name in headers.macros("asm/errno.h") if name.startswith("E")]
    constants = _evaluate([*spelled, *found], [], headers)
    return {str(value): str(name) for value, name in _distinct("errno", [*spelled, *found], constants, (1 << 32) - 1)}


def _evaluate(items: Iterable[Item], masks: Iterable[str], headers: Headers) -> Constants:
    """Return the value of each constant; one that a pattern brought may have none, such as a macro that is a string."""
    spelled = {item.expression for item in items if not item.by_pattern} | set(masks)
    constants, refused = headers.evaluate(spelled | {item.expression for item in items})
    wrong = [f"{expression}: {refused[expression]}" for expression in sorted(spelled & refused.keys())]
    if wrong:
        raise SystemExit("sets.toml: no such constants:\n" + "\n".join(wrong))
    return constants


def _distinct(set_name: str, items: Iterable[Item], constants: Constants, mask: int) -> Pairs:
    """Return [value, name] by value; a name spelled out wins, two names by pattern for one value are refused."""
    taken: dict[int, Item] = {}
    twice = []
    for item in (item for item in items if item.expression in constants):
        value = constants[item.expression] & mask
        other = taken.setdefault(value, item)
        if other is not item and other.by_pattern:
            twice.append(f"{other.name} and {item.name} are both {value:#x}")
    if twice:
        raise SystemExit(f"sets.toml: {set_name}: spell one out or take one away:\n" + "\n".join(twice))
    return [[value, item.name] for value, item in sorted(taken.items())]


def _bits(set_name: str, items: list[Item], constants: Constants, ones: int) -> Pairs:
    """Return [bits, name]: as spelled out, then by value, but names of several bits before their parts."""
    flags = [item for item in items if _is_flag(constants.get(item.expression, 0) & ones, by_pattern=item.by_pattern)]
    rank = {item.name: index for index, item in enumerate(flags) if not item.by_pattern}
    pairs = _distinct(set_name, flags, constants, ones)
    ordered: Pairs = []
    for pair in sorted(pairs, key=lambda pair: rank.get(str(pair[1]), len(rank))):
        parts = (index for index, (other, _) in enumerate(ordered) if int(other) & ~int(pair[0]) == 0)
        ordered.insert(next(parts, len(ordered)), pair)
    return ordered


def _is_flag(bits: int, *, by_pattern: bool) -> bool:
    return bits.bit_count() == 1 or (bits > 0 and not by_pattern)
