"""Check the sets, structs and single values of a schema document."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from traceleft.tracer.schema.bounded import (
    MAX_ENTRIES,
    bad,
    get,
    get_flag,
    get_integer,
    get_width,
    read_choice,
    read_integer,
    read_list,
    read_mapping,
    read_name,
)
from traceleft.tracer.schema.spec import (
    MEMBER_KINDS,
    SCALAR_KINDS,
    CasesSpec,
    MemberSpec,
    SetSpec,
    StructSpec,
    ValueSpec,
)

MAX_MEMBERS: Final = 256
MAX_DEPTH: Final = 4
MAX_STRUCT_BYTES: Final = 65536
MAX_CONDITIONS: Final = 4
MAX_CASES: Final = 256
MAX_CASE_DEPTH: Final = 2
# The native module keeps what does not count of an argument in 16 bits.
MAX_IGNORED: Final = 0xFFFFFFFF
NARROW_KINDS: Final = frozenset({"fd", "dirfd", "pid"})

CAPTURED_KINDS: Final = frozenset({"value", "struct", "text"})

_SHOWN: Final = {show: show for show in ("", "text", "ipv4", "ipv6", "hex", "bits")}


def load_set(name: str, raw: object) -> SetSpec:
    place = f"sets.{name}"
    item = read_mapping(raw, place)
    limit = 2**64 - 1
    return SetSpec(
        name=read_name(name, place),
        width=get_width(item, place),
        mask=read_integer(item.get("mask", 0), f"{place}.mask", -1, limit),
        values=_pairs(item.get("values", []), f"{place}.values", -(2**63), limit),
        bits=_pairs(item.get("bits", []), f"{place}.bits", 1, limit),
        octal=read_integer(item.get("octal", 0), f"{place}.octal", 0, limit),
        zero=read_name(item["zero"], f"{place}.zero") if "zero" in item else "0",
    )


def _pairs(raw: object, place: str, low: int, high: int) -> tuple[tuple[int, str], ...]:
    pairs = []
    for pair in read_list(raw, place, limit=MAX_ENTRIES):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise bad(place, "holds what is no [number, name]")
        pairs.append((read_integer(pair[0], place, low, high), read_name(pair[1], place)))
    return tuple(pairs)


class StructLoader:
    """Load structs that may hold each other, bounding depth and the work that decoding one takes."""

    def __init__(self, raw: Mapping[str, Any], sets: Mapping[str, SetSpec]) -> None:
        self._raw = raw
        self._sets = sets
        self._done: dict[str, StructSpec] = {}
        self._cost: dict[str, int] = {}
        self._depth: dict[str, int] = {}
        self._open: list[str] = []

    def load(self) -> dict[str, StructSpec]:
        for name in sorted(self._raw):
            self.struct(name)
        return self._done

    def struct(self, name: str) -> StructSpec:
        place = f"structs.{name}"
        if name in self._done:
            return self._done[name]
        if name in self._open or len(self._open) >= MAX_DEPTH:
            raise bad(place, f"holds itself or is nested deeper than {MAX_DEPTH}")
        item = read_mapping(get(self._raw, name, "structs"), place)
        size = get_integer(item, "size", place, 1, MAX_STRUCT_BYTES)
        self._open.append(name)
        members = tuple(
            self._member(raw, f"{place}.members[{rank}]", size)
            for rank, raw in enumerate(read_list(get(item, "members", place), place, limit=MAX_MEMBERS))
        )
        self._open.pop()
        self._done[read_name(name, place)] = spec = StructSpec(name, size, members)
        self._bound(spec, place)
        return spec

    def _bound(self, spec: StructSpec, place: str) -> None:
        """Refuse structs whose decoding would take far more work than they have bytes."""
        inner = [_struct_of(member.value) for member in spec.members]
        self._depth[spec.name] = 1 + max((self._depth[name] for name in inner if name), default=0)
        if self._depth[spec.name] > MAX_DEPTH:
            raise bad(place, f"is nested deeper than {MAX_DEPTH}")
        cost = sum(max(m.value.count, 1) * self._cost.get(name, 1) for m, name in zip(spec.members, inner, strict=True))
        if cost > 64 + 4 * spec.size:
            raise bad(place, "has more members than bytes to fill them")
        self._cost[spec.name] = cost

    def _member(self, raw: object, place: str, struct_size: int) -> MemberSpec:
        item = read_mapping(raw, place)
        value = load_value(item, place, MEMBER_KINDS, self._sets, self.struct)
        offset = get_integer(item, "offset", place, 0, struct_size)
        if offset + self._size(value, place) > struct_size:
            raise bad(place, "lies outside its struct")
        return MemberSpec(
            read_name(get(item, "name", place), place), offset, value, _load_when(item.get("when"), place)
        )

    def _size(self, value: ValueSpec, place: str) -> int:
        match value.kind:
            case "struct":
                return self._done[value.struct_name].size
            case "array":
                return value.count * value.size
            case "text" | "sockaddr":
                return value.count
            case "sigset":
                return 8
        return value.width


def _struct_of(value: ValueSpec) -> str:
    return value.element.struct_name if value.kind == "array" and value.element else value.struct_name


def _load_when(raw: object, place: str) -> tuple[tuple[str, frozenset[int]], ...]:
    """Read one condition, a list of them, or none."""
    if raw is None:
        return ()
    conditions = raw if isinstance(raw, list | tuple) else [raw]
    return tuple(_load_condition(item, place) for item in read_list(conditions, place, limit=MAX_CONDITIONS))


def _load_condition(raw: object, place: str) -> tuple[str, frozenset[int]]:
    item = read_mapping(raw, f"{place}.when")
    values = read_list(get(item, "in", place), f"{place}.when.in", limit=MAX_ENTRIES)
    numbers = frozenset(read_integer(value, f"{place}.when.in", -(2**63), 2**64 - 1) for value in values)
    return read_name(get(item, "member", place), place), numbers


def load_value(
    item: Mapping[str, Any],
    place: str,
    kinds: frozenset[str],
    sets: Mapping[str, SetSpec],
    struct: Callable[[str], StructSpec],
) -> ValueSpec:
    """Check one value's kind and its keys; ``struct`` finds a struct by name or raises."""
    kind = read_choice(get(item, "kind", place), f"{place}.kind", {kind: kind for kind in kinds})
    element, size, struct_name, set_name = None, 0, "", ""
    if kind == "struct":
        struct_name = struct(read_name(get(item, "struct", place), place)).name
    if kind in ("array", "value") or (kind == "bytes" and "element" in item):
        element, size = _load_element(item, place, sets, struct)
    if kind == "set" or (kind in ("msghdr", "int") and "set" in item):
        set_name = read_name(get(item, "set", place), place)
        if set_name not in sets:
            raise bad(place, f"names the set {set_name}, which is not there")
    return ValueSpec(
        kind=kind,
        width=get_width(item, place) if kind in SCALAR_KINDS else 8,
        signed=get_flag(item, "signed", place, default=False),
        set_name=set_name,
        struct_name=struct_name,
        element=element,
        count=read_integer(item.get("count", 0), f"{place}.count", 0, MAX_STRUCT_BYTES),
        size=size,
        show=read_choice(item.get("show", ""), f"{place}.show", _SHOWN),
    )


def _load_element(
    item: Mapping[str, Any], place: str, sets: Mapping[str, SetSpec], struct: Callable[[str], StructSpec]
) -> tuple[ValueSpec, int]:
    raw = read_mapping(get(item, "element", place), f"{place}.element")
    kinds = SCALAR_KINDS | {"struct"} if item["kind"] == "array" else SCALAR_KINDS
    element = load_value(raw, f"{place}.element", kinds, sets, struct)
    least = struct(element.struct_name).size if element.kind == "struct" else element.width
    if item["kind"] in ("value", "bytes"):  # `size` of `bytes` is the whole field's
        return element, least
    return element, get_integer(item, "size", place, least, MAX_STRUCT_BYTES)


def narrow(value: ValueSpec, sets: Mapping[str, SetSpec]) -> ValueSpec:
    """Return a register's value with the width that counts: descriptors, pids and sets may have fewer bytes."""
    if value.kind in NARROW_KINDS:
        return replace(value, width=min(value.width, 4))
    if value.kind in ("set", "int") and value.set_name:
        return replace(value, width=min(value.width, sets[value.set_name].width))
    return value


def load_cases(
    item: Mapping[str, Any],
    place: str,
    args_count: int,
    sets: Mapping[str, SetSpec],
    struct: Callable[[str], StructSpec],
    *,
    of_buffer: bool,
    depth: int = 1,
) -> CasesSpec:
    """Check the cases of an argument ``item``: scalars, or of a buffer what its bytes may be."""
    place = f"{place}.cases"
    raw = read_mapping(item["cases"], place)
    kinds = CAPTURED_KINDS if of_buffer else SCALAR_KINDS
    common = {} if of_buffer else {key: item[key] for key in ("width", "signed") if key in item}

    def load(number: str, raw_case: object) -> tuple[int, ValueSpec]:
        case = {**common, **read_mapping(raw_case, f"{place}.{number}")}
        value = narrow(load_value(case, f"{place}.{number}", kinds, sets, struct), sets)
        if "cases" not in case:
            return _case_number(number, place), value
        if depth >= MAX_CASE_DEPTH:
            raise bad(place, f"is nested deeper than {MAX_CASE_DEPTH}")
        within = load_cases(case, f"{place}.{number}", args_count, sets, struct, of_buffer=of_buffer, depth=depth + 1)
        return _case_number(number, place), replace(value, cases=within)

    listed = read_mapping(get(raw, "kinds", place), f"{place}.kinds", limit=MAX_CASES)
    found = tuple(load(number, case) for number, case in sorted(listed.items()))
    ignore = read_integer(raw.get("ignore", 0), f"{place}.ignore", 0, MAX_IGNORED)
    return CasesSpec(get_integer(raw, "arg", place, 0, args_count - 1), found, ignore)


def _case_number(text: str, place: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 10 or int(text) >= 1 << 32:
        raise bad(place, "has a case that is not a number of 32 bits")
    return int(text)
