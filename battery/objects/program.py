"""The programs of an object: its functions, put together as libbpf would before it loads one."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from traceleft.battery.objects.insns import INSTRUCTION_BYTES, Code, Instruction, read_code
from traceleft.errors import BatteryError

SYMBOLS_MAX: Final = 16_384
RELOCATIONS_MAX: Final = 200_000
PROGRAMS_MAX: Final = 64
SYMBOL: Final = struct.Struct("<IBBHQQ"), struct.Struct(">IBBHQQ")
RELOCATION: Final = struct.Struct("<QQ"), struct.Struct(">QQ")
STT_FUNC, STB_GLOBAL, SHN_UNDEF, SHN_LORESERVE, SHF_EXECINSTR = 2, 1, 0, 0xFF00, 4
# R_BPF_64_64 of a 64-bit load, R_BPF_64_32 of a call.
OF_LOAD, OF_CALL = 1, 10
TAIL_CALL: Final = 12
SUBPROGRAMS: Final = ".text"
MAPS: Final = ".maps"
DATA_SECTIONS: Final = (".data", ".rodata", ".bss", ".kconfig")
STACK_STEP_BYTES: Final = 32

# A function's place: the index of its section, and its offset in it.
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Section:
    """A section, whole."""

    name: str
    flags: int
    kind: str
    link: int
    info: int
    data: bytes


@dataclass(frozen=True, slots=True)
class ProgramFacts:
    """A function that the kernel could load: an entry point in a section of its own, with all that it calls.

    ``features`` are what it needs, by their names in data/since.toml. ``code`` is its own function's; ``maps`` names
    those that its 64-bit loads name, by where they stand.
    """

    name: str
    section: str
    instructions: int
    helpers: tuple[int, ...]
    features: frozenset[str]
    stack_bytes: int
    code: tuple[Instruction, ...]
    maps: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class _Symbol:
    name: str
    kind: int
    is_global: bool
    section: int
    value: int
    size: int


@dataclass(frozen=True, slots=True)
class _Function:
    name: str
    is_global: bool
    code: Code
    callees: tuple[Place, ...]
    features: frozenset[str]
    maps: Mapping[int, str]


def read_programs(sections: Sequence[Section], *, byte_order: str) -> tuple[ProgramFacts, ...]:
    """Return the functions of executable sections, by name; those of .text are parts of the others."""
    symbols = _symbols(sections, byte_order)
    places = {(each.section, each.value): each for each in symbols if _is_function(each, sections)}
    if len(places) > PROGRAMS_MAX:
        raise BatteryError(f"more than {PROGRAMS_MAX} functions: no object of traceleft")
    relocated = _relocations(sections, symbols, byte_order)
    functions = {
        place: _function(place, symbol, sections[place[0]], relocated, byte_order, sections)
        for place, symbol in places.items()
    }
    entries = [(functions[place].name, place) for place in places if sections[place[0]].name != SUBPROGRAMS]
    return tuple(_program(place, sections[place[0]].name, functions) for _, place in sorted(entries))


def _is_function(symbol: _Symbol, sections: Sequence[Section]) -> bool:
    if symbol.kind != STT_FUNC or symbol.section == SHN_UNDEF or symbol.section >= SHN_LORESERVE:
        return False
    section = sections[symbol.section]
    if symbol.value + symbol.size > len(section.data) or not section.flags & SHF_EXECINSTR:
        raise BatteryError("a function lies outside its section")
    return True


def _symbols(sections: Sequence[Section], byte_order: str) -> list[_Symbol]:
    """Return the symbols, in the order of their table."""
    form = SYMBOL[0 if byte_order == "little" else 1]
    found: list[_Symbol] = []
    for table in sections:
        if table.kind != "SHT_SYMTAB":
            continue
        if len(table.data) > SYMBOLS_MAX * form.size or len(table.data) % form.size:
            raise BatteryError("its symbol table has no sound size")
        names = sections[table.link].data
        for name_at, info, _other, section, value, size in form.iter_unpack(table.data):
            is_map = section < len(sections) and sections[section].name == MAPS
            name = _text(names, name_at) if is_map or info & 15 == STT_FUNC else ""
            found.append(_Symbol(name, info & 15, info >> 4 == STB_GLOBAL, section, value, size))
    return found


def _text(names: bytes, start: int) -> str:
    end = names.index(b"\0", start, start + 256)
    return names[start:end].decode("ascii")


def _relocations(sections: Sequence[Section], symbols: Sequence[_Symbol], byte_order: str) -> dict[Place, _Symbol]:
    """Return what loads and calls of executable sections refer to, by where they stand."""
    form = RELOCATION[0 if byte_order == "little" else 1]
    found: dict[Place, _Symbol] = {}
    for table in sections:
        if table.kind != "SHT_REL" or not sections[table.info].flags & SHF_EXECINSTR:
            continue
        if len(table.data) > RELOCATIONS_MAX * form.size or len(table.data) % form.size:
            raise BatteryError("its relocations have no sound size")
        for offset, info in form.iter_unpack(table.data):
            if info & 0xFFFF_FFFF in (OF_LOAD, OF_CALL):
                found[table.info, offset] = symbols[info >> 32]
    return found


def _function(
    place: Place,
    symbol: _Symbol,
    section: Section,
    relocated: Mapping[Place, _Symbol],
    byte_order: str,
    sections: Sequence[Section],
) -> _Function:
    index, start = place
    end = start + symbol.size
    code = read_code(section.data[start:end], byte_order=byte_order)
    features = set(code.features)
    callees: list[Place] = []
    maps: dict[int, str] = {}
    calls = {start + at * INSTRUCTION_BYTES: immediate for at, immediate in code.calls}
    for offset, immediate in calls.items():
        target = relocated.get((index, offset))
        if target is None:
            callees.append((index, offset + (immediate + 1) * INSTRUCTION_BYTES))
        elif target.section == SHN_UNDEF:
            features.add("kfunc")
        else:
            callees.append((target.section, target.value + (immediate + 1) * INSTRUCTION_BYTES))
    for (held_in, offset), target in relocated.items():
        if held_in == index and start <= offset < end and offset not in calls:
            features |= _needs_of(target, sections)
            if _is_map(target, sections):
                maps[(offset - start) // INSTRUCTION_BYTES] = target.name
    return _Function(symbol.name, symbol.is_global, code, tuple(callees), frozenset(features), maps)


def _needs_of(target: _Symbol, sections: Sequence[Section]) -> set[str]:
    """Return what a 64-bit load of a symbol needs."""
    if target.section == SHN_UNDEF:
        return {"kernel_symbol"}
    if target.section >= SHN_LORESERVE:
        return {"unknown"}
    section = sections[target.section]
    if section.flags & SHF_EXECINSTR:
        return {"callback"}
    if section.name.startswith(DATA_SECTIONS):
        return {"global_data"}
    return set() if section.name == MAPS else {"unknown"}


def _is_map(target: _Symbol, sections: Sequence[Section]) -> bool:
    return SHN_UNDEF < target.section < SHN_LORESERVE and sections[target.section].name == MAPS


def _program(place: Place, section: str, functions: Mapping[Place, _Function]) -> ProgramFacts:
    own = functions[place]
    called = [functions[each] for each in _reached(place, functions) if each != place]
    parts = [own, *called]
    helpers = set[int]().union(*(part.code.helpers for part in parts))
    features = set[str]().union(*(part.features for part in parts))
    if any(part.is_global for part in called):
        features.add("global_function")
    if called and TAIL_CALL in helpers:
        features.add("tail_call_in_calls")
    return ProgramFacts(
        name=own.name,
        section=section,
        instructions=sum(part.code.count for part in parts),
        helpers=tuple(sorted(helpers)),
        features=frozenset(features),
        stack_bytes=_stack(place, functions, {}),
        code=own.code.instructions,
        maps=own.maps,
    )


def _reached(place: Place, functions: Mapping[Place, _Function]) -> Iterator[Place]:
    """Yield a function's place, and those of all that it calls, each once."""
    seen, waiting = {place}, [place]
    while waiting:
        current = waiting.pop()
        yield current
        for callee in sorted(functions[current].callees):
            if callee not in functions:
                raise BatteryError(f"{functions[current].name} calls something that is not a function")
            if callee not in seen:
                seen.add(callee)
                waiting.append(callee)


def _stack(place: Place, functions: Mapping[Place, _Function], known: dict[Place, int]) -> int:
    """Return the deepest stack of a function and what it calls, each frame rounded up as the kernel does."""
    if place in known:
        if known[place] < 0:
            raise BatteryError(f"{functions[place].name} calls itself")
        return known[place]
    known[place] = -1
    function = functions[place]
    own, callees = function.code.stack_bytes, set(function.callees)
    # Alone, a frame is what it uses; among others it is at least one step.
    if callees or len(known) > 1:
        own = -(-max(own, 1) // STACK_STEP_BYTES) * STACK_STEP_BYTES
    known[place] = own + max((_stack(each, functions, known) for each in callees), default=0)
    return known[place]
