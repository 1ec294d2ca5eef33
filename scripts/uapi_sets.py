"""`generator/data/sets.toml` and the headers' constants → the sets of tables.json."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from uapi_headers import Headers, unsigned

Pairs = list[list[int | str]]
Bitfields = Callable[[str], Pairs]


@dataclass(frozen=True, slots=True)
class Item:
    """One constant of a set: its name as shown, the C expression of its value, and whether a pattern brought it."""

    name: str
    expression: str
    by_pattern: bool


def expand(entries: Sequence[str], names: Iterable[str]) -> list[Item]:
    """Return the constants that a list of names and patterns means, in its order."""
    excluded = [entry[1:] for entry in entries if entry.startswith("!")]
    spelled = [entry for entry in entries if "*" not in entry and not entry.startswith("!")]
    shown = {entry.partition("=")[0] for entry in spelled}
    items = [Item(name, expression or name, False) for name, _, expression in (entry.partition("=") for entry in spelled)]
    for pattern in (entry for entry in entries if "*" in entry and not entry.startswith("!")):
        for name in names:
            if fnmatchcase(name, pattern) and name not in shown and not any(fnmatchcase(name, other) for other in excluded):
                shown.add(name)
                items.append(Item(name, name, True))
    return items


def make_sets(declared: Mapping[str, Mapping[str, Any]], headers: Headers, names: Sequence[str], bitfields: Bitfields) -> dict[str, Any]:
    """Return every declared set as docs/schema.md defines SET."""
    expanded = {name: {part: expand(entry.get(part, []), names) for part in ("values", "bits")} for name, entry in declared.items()}
    items = [item for parts in expanded.values() for part in parts.values() for item in part]
    masks = [entry["mask"] for entry in declared.values() if "mask" in entry]
    constants, refused = headers.evaluate([item.expression for item in items] + masks)
    wrong = sorted({f"{item.name}: {refused[item.expression]}" for item in items if item.expression in refused and not item.by_pattern})
    wrong += sorted(f"{mask}: {refused[mask]}" for mask in masks if mask in refused)
    if wrong:
        raise SystemExit("sets.toml: no such constants:\n" + "\n".join(wrong))
    return {name: _make_set(name, declared[name], expanded[name], constants, bitfields) for name in sorted(declared)}


def _make_set(name: str, entry: Mapping[str, Any], parts: Mapping[str, list[Item]], constants: Mapping[str, int], bitfields: Bitfields) -> dict[str, Any]:
    width = int(entry.get("width", 4))
    found = {part: [item for item in items if item.expression in constants] for part, items in parts.items()}
    mask = _mask(entry, constants, width, bool(found["values"]))
    values = _distinct(name, found["values"], constants, mask)
    bits = bitfields(entry["bitfield"]) if "bitfield" in entry else _bits(name, found["bits"], constants, width)
    result: dict[str, Any] = {"bits": bits, "mask": mask, "values": values, "width": width}
    if "zero" in entry:
        result["zero"] = entry["zero"]
    return result


def _mask(entry: Mapping[str, Any], constants: Mapping[str, int], width: int, has_values: bool) -> int:
    if "mask" in entry:
        return unsigned(constants, entry["mask"], width)
    return (1 << 8 * width) - 1 if has_values else 0


def _distinct(set_name: str, items: list[Item], constants: Mapping[str, int], mask: int) -> Pairs:
    """Return [value, name], names spelled out first come first; refuse two patterns' names for one value."""
    taken: dict[int, Item] = {}
    twice = []
    for item in items:
        value = constants[item.expression] & mask
        other = taken.setdefault(value, item)
        if other is not item and other.by_pattern:
            twice.append(f"{other.name} and {item.name} are both {value:#x}")
    if twice:
        raise SystemExit(f"sets.toml: {set_name}: spell one out or take one away:\n" + "\n".join(twice))
    return [[value, item.name] for value, item in sorted(taken.items())]


def _bits(set_name: str, items: list[Item], constants: Mapping[str, int], width: int) -> Pairs:
    """Return [bits, name]: as spelled out, then by value, but names of several bits before their parts."""
    flags = [item for item in items if unsigned(constants, item.expression, width)]
    flags = [item for item in flags if not item.by_pattern or constants[item.expression].bit_count() == 1]
    rank = {item.name: index for index, item in enumerate(flags) if not item.by_pattern}
    pairs = sorted(_distinct(set_name, flags, constants, (1 << 8 * width) - 1), key=lambda pair: (rank.get(str(pair[1]), len(rank)), pair[0]))
    ordered: Pairs = []
    for pair in pairs:
        bits = int(pair[0])
        parts = (index for index, (other, _) in enumerate(ordered) if int(other) & ~bits == 0)
        ordered.insert(next(parts, len(ordered)), pair)
    return ordered


def make_errno(entry: Mapping[str, Any], headers: Headers) -> dict[str, str]:
    """Return the name of each error number."""
    spelled = [Item(name, name, False) for name in entry["values"]]
    found = [Item(name, name, True) for name in headers.macros("asm/errno.h") if name.startswith("E")]
    constants, _ = headers.evaluate([item.expression for item in (*spelled, *found)])
    items = [item for item in (*spelled, *found) if item.expression in constants]
    return {str(value): str(name) for value, name in _distinct("errno", items, constants, (1 << 32) - 1)}
