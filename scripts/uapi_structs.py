"""`generator/data/structs.toml` and the headers' debug data → the structs of tables.json.

C knows offsets, widths and signs; structs.toml adds what members mean.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from elftools.dwarf.die import DIE
from elftools.elf.elffile import ELFFile

Member = dict[str, Any]
Declared = Mapping[str, Mapping[str, Any]]

_ALIASES: Final = {"DW_TAG_typedef", "DW_TAG_const_type", "DW_TAG_volatile_type"}
_AGGREGATES: Final = {"DW_TAG_structure_type", "DW_TAG_union_type"}
_SIGNED: Final = {5, 6}
_PADDING: Final = ("__", "pad", "_pad", "reserved", "unused")
_SIGNALS: Final = range(1, 65)


class DebugData:
    """Types by name, as one object's debug data tells them."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        units = ELFFile(self._file).get_dwarf_info().iter_CUs()
        self._dies = [die for unit in units for die in unit.iter_DIEs()]
        complete = [die for die in self._dies if "DW_AT_declaration" not in die.attributes]
        self._types = {_label(die): die for die in complete if _label(die)}

    def find(self, name: str) -> DIE:
        """Return the type `struct X` or a typedef's."""
        if name not in self._types:
            raise SystemExit(f"structs.toml: {name}: no such type")
        return strip(self._types[name])

    def enumerators(self) -> list[str]:
        """Return the names of all enumeration constants."""
        return sorted({_name(die) for die in self._dies if die.tag == "DW_TAG_enumerator"})

    def bitfields(self, tag: str) -> list[list[int | str]]:
        """Return [bit, name] of each one-bit field of a struct, counted from the word that holds the first."""
        fields = [die for die in self.find(f"struct {tag}").iter_children() if "DW_AT_bit_size" in die.attributes]
        # clang's DWARF 4 tells a field's first bit from its storage unit's end.
        named = [(_bit(die), _name(die)) for die in fields if die.attributes["DW_AT_bit_size"].value == 1]
        return [[1 << bit, name] for bit, name in sorted(named) if not name.startswith("__")]


def _bit(die: DIE) -> int:
    size = 8 * int(die.attributes["DW_AT_byte_size"].value)
    return size - int(die.attributes["DW_AT_bit_offset"].value) - int(die.attributes["DW_AT_bit_size"].value)


def _name(die: DIE) -> str:
    attribute = die.attributes.get("DW_AT_name")
    return attribute.value.decode() if attribute else ""


def _label(die: DIE) -> str:
    match die.tag:
        case "DW_TAG_structure_type":
            return f"struct {_name(die)}" if _name(die) else ""
        case "DW_TAG_typedef":
            return _name(die)
        case _:
            return ""


def _target(die: DIE) -> DIE:
    return die.get_DIE_from_attribute("DW_AT_type")


def strip(die: DIE) -> DIE:
    """Return the type behind typedefs and qualifiers."""
    while die.tag in _ALIASES:
        die = _target(die)
    return die


def _labels(die: DIE) -> Iterator[str]:
    yield _label(die)
    while die.tag in _ALIASES:
        die = _target(die)
        yield _label(die)


def _size(die: DIE) -> int:
    die = strip(die)
    match die.tag:
        case "DW_TAG_array_type":
            return _count(die) * _size(_target(die))
        case "DW_TAG_pointer_type":
            return 8
        case _:
            return int(die.attributes["DW_AT_byte_size"].value)


def _count(array: DIE) -> int:
    count = 1
    for child in array.iter_children():
        if child.tag == "DW_TAG_subrange_type":
            count *= int(child.attributes["DW_AT_count"].value) if "DW_AT_count" in child.attributes else 0
    return count


def _fields(aggregate: DIE, base: int = 0) -> Iterator[tuple[str, int, DIE]]:
    """Yield name, offset and type of each field, those of anonymous parts included."""
    for die in aggregate.iter_children():
        if die.tag != "DW_TAG_member" or "DW_AT_bit_size" in die.attributes:
            continue
        place = die.attributes.get("DW_AT_data_member_location")
        offset = base + (int(place.value) if place else 0)
        if _name(die):
            yield _name(die), offset, _target(die)
        else:
            yield from _fields(strip(_target(die)), offset)


def _follow(aggregate: DIE, path: str) -> tuple[int, DIE]:
    offset, die = 0, aggregate
    for part in path.split("."):
        found = {name: (at, kind) for name, at, kind in _fields(strip(die))}
        if part not in found:
            raise SystemExit(f"structs.toml: {_name(aggregate)}: no member {path}")
        offset, die = offset + found[part][0], found[part][1]
    return offset, die


class StructMaker:
    """Makes STRUCTs as docs/reference/schema.md defines them."""

    def __init__(self, declared: Declared, sets: Declared, data: DebugData) -> None:
        self._declared = declared
        self._sets = sets
        self._data = data
        self._names = {entry["type"]: name for name, entry in declared.items()}

    def make(self) -> dict[str, Any]:
        """Return all declared structs."""
        return {name: self._struct(name, entry) for name, entry in sorted(self._declared.items())}

    def _struct(self, name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
        die = self._data.find(entry["type"])
        size = int(entry.get("size", _size(die)))
        kinds = dict(entry.get("kinds", {}))
        members = [
            self._member(name, field, offset, kind, kinds.pop(field, ""))
            for field, offset, kind in self._chosen(die, entry)
        ]
        if kinds:
            raise SystemExit(f"structs.toml: {name}: no such members: {', '.join(kinds)}")
        for member in members:
            member["signed"] |= member["name"] in entry.get("signed", [])
        members = [shown for member in members for shown in _conditions(member, entry)]
        return {"members": [member for member in members if member["offset"] + member["width"] <= size], "size": size}

    def _chosen(self, die: DIE, entry: Mapping[str, Any]) -> list[tuple[str, int, DIE | None]]:
        if "only" not in entry:
            omitted = entry.get("omit", [])
            return [field for field in _fields(die) if field[0] not in omitted and not field[0].startswith(_PADDING)]
        chosen: list[tuple[str, int, DIE | None]] = []
        for text in entry["only"]:
            name, _, path = text.partition("=")
            if "@" in name:
                name, _, offset = name.partition("@")
                chosen.append((name, int(offset), None))
            else:
                chosen.append((name, *_follow(die, path or name)))
        return chosen

    def _member(self, struct: str, name: str, offset: int, die: DIE | None, kind: str) -> Member:
        word, _, argument = kind.partition(":")
        if die is None:
            width = self._sets[argument]["width"]
            return {"name": name, "offset": offset, "width": width, "signed": False, "kind": "set", "set": argument}
        member: Member = {"name": name, "offset": offset, "width": _size(die), "signed": _is_signed(die)}
        match word:
            case "":
                return member | self._meaning(f"{struct}.{name}", die)
            case "set" | "int" if argument:
                return member | {"kind": word, "set": argument}
            case "struct":
                return member | {"kind": "struct", "struct": argument}
            case "sockaddr" | "text":
                return member | {"kind": word, "count": _size(die)}
            case _:
                return member | {"kind": word}

    def _meaning(self, place: str, die: DIE) -> Member:
        """Return what the C type alone tells."""
        known = next((self._names[label] for label in _labels(die) if label in self._names), None)
        if known:
            return {"kind": "struct", "struct": known}
        kind = strip(die)
        match kind.tag:
            case "DW_TAG_pointer_type":
                return {"kind": "pointer"}
            case "DW_TAG_array_type":
                return self._array(place, kind)
            case "DW_TAG_base_type" | "DW_TAG_enumeration_type":
                return {"kind": "int"}
            case _:
                raise SystemExit(f"structs.toml: {place}: what is {_label(kind) or kind.tag}?")

    def _array(self, place: str, die: DIE) -> Member:
        element, count = _target(die), _count(die)
        if _name(strip(element)) == "char":
            return {"kind": "text", "count": count}
        meaning = self._meaning(place, element)
        if meaning["kind"] != "struct":
            meaning |= {"width": _size(element), "signed": _is_signed(element)}
        return {"kind": "array", "element": meaning, "count": count, "size": _size(element)}


def _is_signed(die: DIE) -> bool:
    encoding = strip(die).attributes.get("DW_AT_encoding")
    return encoding is not None and encoding.value in _SIGNED


def _conditions(member: Member, entry: Mapping[str, Any]) -> list[Member]:
    """Return a member once for each condition under which it is shown."""
    name = member["name"]
    if name in entry.get("variants", {}):
        decisive, sets = entry["variants"][name]
        taken = {value for values in sets.values() for value in values}
        variants = [
            member | {"set": chosen, "when": {"member": decisive, "in": values}}
            for chosen, values in sorted(sets.items())
        ]
        return [member | {"when": {"member": decisive, "in": [n for n in _SIGNALS if n not in taken]}}, *variants]
    return [_under(member, alternative) for alternative in entry.get("when", {}).get(name, [{}])]


def _under(member: Member, alternative: Mapping[str, Any]) -> Member:
    """Return a member as it is shown under some conditions."""
    kind = {"kind": "set", "set": alternative["set"]} if "set" in alternative else {}
    decisive = sorted(name for name in alternative if name != "set")
    conditions = [{"member": name, "in": sorted(alternative[name])} for name in decisive]
    when = {"when": conditions if len(conditions) > 1 else conditions[0]} if conditions else {}
    return member | kind | when
