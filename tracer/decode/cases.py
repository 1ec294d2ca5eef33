"""Values whose kind another argument tells: which case a record is in, and decoding by it.

A case may have cases of its own. Cases are ranked in the order of ``list_cases``; the rank of the one that decided is
noted (``Notes.chosen``), so that text shows the value as what it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from traceleft.tracer.decode.fixed_part import HEADER_FIELDS, Fields, Notes, ReadArg, ReadTail
from traceleft.tracer.decode.structs import compile_element, compile_struct
from traceleft.tracer.decode.value import Value
from traceleft.tracer.decode.values import compile_scalar, is_signed, show_until_nul, to_signed
from traceleft.tracer.schema.spec import SCALAR_KINDS, CasesSpec, Tables, ValueSpec


def list_cases(value: ValueSpec) -> list[ValueSpec]:
    """Return a value's cases by rank, each before those within it."""
    if value.cases is None:
        return []
    return [listed for _, case in value.cases.kinds for listed in (case, *list_cases(case))]


def choose_case(value: ValueSpec, raw: Sequence[int]) -> ValueSpec:
    """Return what a value is by the call's arguments, as the record carries them."""
    while value.cases is not None:
        decisive = value.cases.number(raw[value.cases.arg])
        case = next((case for number, case in value.cases.kinds if number == decisive), None)
        if case is None:
            break
        value = case
    return value


def compile_choice(cases: CasesSpec, first: int = 0) -> Callable[[Fields], int]:
    """Return what tells the rank of the case that a record is in, -1 if in none; ``first`` is the lowest rank."""
    position, rank = HEADER_FIELDS + cases.arg, first
    known: dict[int, tuple[int, Callable[[Fields], int] | None]] = {}
    for number, case in cases.kinds:
        known[number] = rank, compile_choice(case.cases, rank + 1) if case.cases else None
        rank += 1 + len(list_cases(case))

    counts = cases.number(0xFFFFFFFF)

    def choose(fields: Fields) -> int:
        rank, within = known.get(fields[position] & counts, (-1, None))
        found = within(fields) if within else -1
        return rank if found < 0 else found

    return choose


def show_by_case(name: str, position: int, value: ValueSpec, tables: Tables) -> ReadArg:
    """Return what shows a scalar argument, which lies at ``position``, as its case says."""
    assert value.cases is not None
    choose = compile_choice(value.cases)
    shows = [_compile_register(case, tables) for case in (*list_cases(value), replace(value, cases=None))]

    def read(fields: Fields, data: bytes, notes: Notes) -> Value:
        rank = choose(fields)
        if rank >= 0:
            notes.chosen[name] = rank
        return shows[rank](fields[position])

    return read


def _compile_register(value: ValueSpec, tables: Tables) -> Callable[[int], Value]:
    """Return what shows a whole register, however it was read, as a value of some of its bytes."""
    show, width, signed = compile_scalar(value, tables), value.width, is_signed(value)
    ones = (1 << 8 * width) - 1

    def read(register: int) -> Value:
        number = to_signed(register, width) if signed else register & ones
        return show(number) if show else number

    return read


def read_register_by_case(name: str, position: int, value: ValueSpec, read_plain: ReadArg, tables: Tables) -> ReadArg:
    """Return what shows an address as the scalar that it is in a case, and else decodes what it leads to."""
    assert value.cases is not None
    choose = compile_choice(value.cases)
    shows = [_compile_register(case, tables) for case in list_cases(value)]

    def read(fields: Fields, data: bytes, notes: Notes) -> Value:
        rank = choose(fields)
        if rank < 0:
            return read_plain(fields, data, notes)
        notes.chosen[name] = rank
        return shows[rank](fields[position])

    return read


def has_scalar_cases(value: ValueSpec) -> bool:
    """Tell whether a value that is captured has cases in which it is a number, and no address."""
    return value.kind not in SCALAR_KINDS and any(case.kind in SCALAR_KINDS for case in list_cases(value))


def read_by_case(name: str, slot: int, value: ValueSpec, read_plain: ReadTail, tables: Tables) -> ReadTail:
    """Return what decodes bytes as their case says; where they are cut, or too few for it, as ``read_plain`` does."""
    assert value.cases is not None
    choose = compile_choice(value.cases)
    decoders = [_compile_whole(case, tables) for case in list_cases(value)]

    def read(data: bytes, fields: Fields, notes: Notes) -> tuple[Value, int]:
        rank = choose(fields)
        shown = decoders[rank](data) if rank >= 0 and fields[slot + 2] == len(data) else None
        if shown is None:
            return read_plain(data, fields, notes)
        notes.chosen[name] = rank
        return shown, len(data)

    return read


def _compile_whole(value: ValueSpec, tables: Tables) -> Callable[[bytes], Value]:
    """Return what decodes bytes that are one value, and gives None for bytes that are not."""
    if value.kind == "text":
        return show_until_nul
    if value.kind == "struct":
        spec = tables.structs[value.struct_name]
        decode_struct = compile_struct(spec, tables)
        return lambda data: decode_struct(data) if len(data) >= spec.size else None
    assert value.element is not None
    width, decode = compile_element(value.element, tables)
    return lambda data: decode(data) if len(data) == width else None
