"""Objects, read: programs, maps, what they need, the layout they were compiled with.

The one wall around pyelftools: whatever it raises on foreign bytes leaves here as BatteryError.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

from elftools.elf.elffile import ELFFile

from traceleft.battery.manifest import OBJECT_BYTES_MAX, one_line
from traceleft.battery.objects.dwarf import find_structs
from traceleft.battery.objects.map_btf import Btf, MapFacts, has_core_relocations
from traceleft.battery.objects.program import ProgramFacts, Section, read_programs
from traceleft.errors import BatteryError

LAYOUT_SECTION: Final = ".traceleft.layout"
SECTIONS_MAX: Final = 1024
DIES_MAX: Final = 200_000

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """What an object says of itself. ``needs_kernel_btf``: it asks for offsets of the running kernel's types."""

    sections: tuple[str, ...]
    programs: tuple[ProgramFacts, ...]
    maps: tuple[MapFacts, ...]
    layout: str | None
    has_btf: bool
    has_debug: bool
    needs_kernel_btf: bool


def _walled(function: Callable[P, R]) -> Callable[P, R]:
    """Turn whatever reading foreign bytes raises into BatteryError."""

    @wraps(function)
    def wall(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except BatteryError:
            raise
        # pyelftools raises its own errors, construct's, and KeyError, ValueError, … on bytes that lie.
        except Exception as exc:
            raise BatteryError(f"no eBPF object that can be read: {one_line(exc) or type(exc).__name__}") from exc

    return wall


@_walled
def inspect_object(data: bytes) -> ObjectFacts:
    """Return what an object holds. Raises BatteryError for bytes that are not an eBPF object."""
    elf = _open(data)
    sections = _sections(elf, data)
    names = tuple(section.name for section in sections)
    order = "little" if elf.little_endian else "big"
    layout, btf, extended = (_content(sections, name) for name in (LAYOUT_SECTION, ".BTF", ".BTF.ext"))
    return ObjectFacts(
        sections=names,
        programs=read_programs(sections, byte_order=order),
        maps=() if btf is None else Btf(btf, byte_order=order).maps(),
        layout=None if layout is None else layout[:200].rstrip(b"\0").decode("ascii"),
        has_btf=btf is not None,
        has_debug=".debug_info" in names,
        needs_kernel_btf=extended is not None and has_core_relocations(extended, byte_order=order),
    )


def _content(sections: Sequence[Section], name: str) -> bytes | None:
    return next((section.data for section in sections if section.name == name), None)


@_walled
def record_layout(data: bytes, struct_name: str) -> dict[str, tuple[int, int]]:
    """Return offset and size of each member of a struct, from the DWARF of an object that is not yet stripped."""
    elf = _open(data)
    debug = _content(_sections(elf, data), ".debug_info") or b""
    dwarf = elf.get_dwarf_info(relocate_dwarf_sections=False)
    for unit in dwarf.iter_CUs():
        for at in find_structs(unit, debug, DIES_MAX):
            die = unit.get_DIE_from_refaddr(at)
            if _is_struct(die, struct_name):
                return {_name(member): _place(member) for member in die.iter_children() if _is_member(member)}
    raise BatteryError(f"its debug data has no struct {struct_name}")


def _open(data: bytes) -> Any:
    if len(data) > OBJECT_BYTES_MAX:
        raise BatteryError(f"larger than {OBJECT_BYTES_MAX >> 20} MiB: no object of traceleft")
    elf = ELFFile(io.BytesIO(data))
    if elf.elfclass != 64 or elf["e_machine"] != "EM_BPF" or elf["e_type"] != "ET_REL":
        raise BatteryError("an ELF file, but no eBPF object")
    if elf["e_shentsize"] != 64 or elf.num_sections() > SECTIONS_MAX:
        raise BatteryError(f"more than {SECTIONS_MAX} sections: no object of traceleft")
    return elf


def _sections(elf: Any, data: bytes) -> list[Section]:
    """Return all sections, each within the file."""
    return [_section(elf.get_section(index), data) for index in range(elf.num_sections())]


def _section(section: Any, data: bytes) -> Section:
    start, size, kind = section["sh_offset"], section["sh_size"], section["sh_type"]
    content = b"" if kind in ("SHT_NOBITS", "SHT_NULL") else data[start : start + size]
    if kind not in ("SHT_NOBITS", "SHT_NULL") and len(content) != size:
        raise BatteryError("cut short: a section lies beyond its end")
    return Section(section.name, section["sh_flags"], str(kind), section["sh_link"], section["sh_info"], content)


def _is_struct(die: Any, name: str) -> bool:
    """Tell whether a DIE defines a struct of this name; one that only declares it has no size."""
    is_definition = die.tag == "DW_TAG_structure_type" and "DW_AT_byte_size" in die.attributes
    return bool(is_definition and name and _name(die) == name)


def _is_member(die: Any) -> bool:
    return bool(die.tag == "DW_TAG_member")


def _name(die: Any) -> str:
    attribute = die.attributes.get("DW_AT_name")
    return "" if attribute is None else attribute.value.decode("ascii", "replace")


def _place(member: Any) -> tuple[int, int]:
    offset = member.attributes["DW_AT_data_member_location"].value
    return int(offset), _size_of(member)


def _size_of(die: Any, depth: int = 0) -> int:
    """Return the size of what a DIE describes: through typedefs and qualifiers, arrays by their bounds."""
    if depth > 32:
        raise BatteryError("its debug data has a type without end")
    of = die.get_DIE_from_attribute("DW_AT_type")
    if "DW_AT_byte_size" in of.attributes:
        return int(of.attributes["DW_AT_byte_size"].value)
    return _size_of(of, depth + 1) * (_elements(of) if of.tag == "DW_TAG_array_type" else 1)


def _elements(array: Any) -> int:
    count = 1
    for bound in array.iter_children():
        if bound.tag == "DW_TAG_subrange_type":
            count *= int(bound.attributes["DW_AT_count"].value)
    return count
