"""Where an object's debug data defines structs; of all else no more is read than how long it is.

Most of it describes variables and inlined functions, which nobody asks for.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

STRUCT: Final = "DW_TAG_structure_type"
# How long the forms of DWARF 2 to 5 are, or else how their length is found.
FIXED: Final = {
    **dict.fromkeys(("flag_present", "implicit_const"), 0),
    **dict.fromkeys(("data1", "ref1", "flag", "strx1", "addrx1"), 1),
    **dict.fromkeys(("data2", "ref2", "strx2", "addrx2"), 2),
    **dict.fromkeys(("strx3", "addrx3"), 3),
    **dict.fromkeys(("data4", "ref4", "strx4", "addrx4", "ref_sup4"), 4),
    **dict.fromkeys(("data8", "ref8", "ref_sig8", "ref_sup8"), 8),
    "data16": 16,
}
OFFSETS: Final = ("strp", "sec_offset", "line_strp", "strp_sup")
NUMBERS: Final = ("sdata", "udata", "ref_udata", "strx", "addrx", "loclistx", "rnglistx")
BLOCKS: Final = {"block1": 1, "block2": 2, "block4": 4}
Skip = Callable[[bytes, int], int]


def find_structs(unit: Any, data: bytes, most: int) -> Iterator[int]:
    """Yield where a unit of .debug_info, as pyelftools reads it, has structs.

    Raises ValueError for more than so many entries, KeyError or IndexError for bytes that lie.
    """
    table = unit.get_abbrev_table()
    plans: dict[int, tuple[bool, int, list[Skip]]] = {}
    at, end = unit.cu_die_offset, unit.cu_offset + unit["unit_length"] + unit.structs.initial_length_field_size()
    for _ in range(most):
        if at >= end:
            return
        start = at
        code, at = _number(data, at)
        if not code:
            continue
        plan = plans.get(code)
        if plan is None:
            plan = plans[code] = _plan(table.get_abbrev(code), unit)
        is_struct, fixed, skips = plan
        at += fixed
        for skip in skips:
            at = skip(data, at)
        if is_struct:
            yield start
    raise ValueError("its debug data has no end")


def _plan(declaration: Any, unit: Any) -> tuple[bool, int, list[Skip]]:
    """Return whether an entry is a struct, and how to pass over it: so many bytes, then what has no fixed length."""
    fixed, skips = 0, list[Skip]()
    for each in declaration["attr_spec"]:
        length = _length(each.form.removeprefix("DW_FORM_"), unit)
        if not isinstance(length, int):
            skips.append(length)
        elif skips:
            skips.append(lambda _data, at, length=length: at + length)  # type: ignore[misc]
        else:
            fixed += length
    return declaration["tag"] == STRUCT, fixed, skips


def _length(form: str, unit: Any) -> int | Skip:
    if form in OFFSETS or (form == "ref_addr" and unit["version"] > 2):
        return int(unit.structs.dwarf_format // 8)
    if form in ("addr", "ref_addr"):
        return int(unit["address_size"])
    if form in NUMBERS:
        return lambda data, at: _number(data, at)[1]
    if form in ("exprloc", "block"):
        return lambda data, at: sum(_number(data, at))
    if form in BLOCKS:
        size, order = BLOCKS[form], "little" if unit.structs.little_endian else "big"
        return lambda data, at: at + size + int.from_bytes(data[at : at + size], order)  # type: ignore[arg-type]
    if form == "string":
        return lambda data, at: data.index(b"\0", at) + 1
    return FIXED[form]


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Read a number in LEB128, and where it ends."""
    byte = data[at]
    value, shift, at = byte & 127, 7, at + 1
    while byte & 128:
        if shift > 63:
            raise ValueError("a number in its debug data has no end")
        byte = data[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
    return value, at
