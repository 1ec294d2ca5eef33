"""BTF of an object, as far as it defines maps. Every length in it is held against what is there."""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

MAGIC: Final = 0xEB9F
HEADER: Final = struct.Struct("<HBBIIIII"), struct.Struct(">HBBIIIII")
TYPE: Final = struct.Struct("<III"), struct.Struct(">III")
TYPES_MAX: Final = 200_000
MAPS_SECTION: Final = ".maps"
PTR, ARRAY, STRUCT, VAR, DATASEC = 2, 3, 4, 14, 15
# Types that have their size with them, and those that only refer to another: typedefs, qualifiers, tags.
SIZED: Final = {1, 4, 5, 6, 16, 19}
REFERRING: Final = {8, 9, 10, 11, 18}
DEPTH_MAX: Final = 32
POINTER_BYTES: Final = 8
# Bytes that follow a type of a kind: once, and for each of its vlen parts.
EXTRA: Final = {1: (4, 0), 3: (12, 0), 14: (4, 0), 17: (4, 0)}
PARTS: Final = {4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}
KIND_MAX: Final = 19
# Members of a map's definition that are numbers, as lengths of arrays pointed to.
NUMBERS: Final = ("type", "map_flags", "max_entries", "key_size", "value_size", "numa_node", "map_extra")
# Members that point to a type, whose size is what libbpf takes for the number.
TYPES: Final = {"key": "key_size", "value": "value_size"}


@dataclass(frozen=True, slots=True)
class MapFacts:
    """A map that an object defines; ``numbers`` are those of its members that are numbers."""

    name: str
    numbers: Mapping[str, int]

    @property
    def type(self) -> int:
        """The map's type, an enum bpf_map_type; 0 when its definition has none."""
        return self.numbers.get("type", 0)

    @property
    def flags(self) -> int:
        """The flags that the map is made with."""
        return self.numbers.get("map_flags", 0)

    @property
    def key_bytes(self) -> int:
        """The size of a key; 0 when the definition has none."""
        return self.numbers.get("key_size", 0)

    @property
    def value_bytes(self) -> int:
        """The size of a value; 0 when the definition has none."""
        return self.numbers.get("value_size", 0)


@dataclass(frozen=True, slots=True)
class _Type:
    name: int
    kind: int
    vlen: int
    # The size, or the type that this one refers to.
    value: int
    data: bytes


class Btf:
    """The types of an object. Raises ValueError for what is no BTF."""

    def __init__(self, data: bytes, *, byte_order: str = "little") -> None:
        self._order = 0 if byte_order == "little" else 1
        header = HEADER[self._order]
        if len(data) < header.size:
            raise ValueError("its BTF is cut")
        magic, _version, _flags, length, types_at, types_size, names_at, names_size = header.unpack_from(data)
        if magic != MAGIC or length < header.size:
            raise ValueError("its BTF has no sound header")
        self._names = _part(data, length + names_at, names_size)
        self._types = list(self._read_types(_part(data, length + types_at, types_size)))

    def maps(self) -> tuple[MapFacts, ...]:
        """Return the maps that the object defines in its section .maps, by name."""
        found = [
            self._map(variable) for each in self._types if self._is_maps(each) for variable in self._variables(each)
        ]
        return tuple(sorted(found, key=lambda each: each.name))

    def _read_types(self, data: bytes) -> Iterator[_Type]:
        form, at = TYPE[self._order], 0
        count = 0
        while at < len(data):
            name, info, value = form.unpack(_part(data, at, form.size))
            kind, vlen = info >> 24 & 0x1F, info & 0xFFFF
            fixed, _ = EXTRA.get(kind, (0, 0))
            size = fixed + PARTS.get(kind, 0) * vlen
            count += 1
            if not 0 < kind <= KIND_MAX or count > TYPES_MAX:
                raise ValueError("its BTF has a type of an unknown kind")
            yield _Type(name, kind, vlen, value, _part(data, at + form.size, size))
            at += form.size + size

    def _is_maps(self, each: _Type) -> bool:
        return each.kind == DATASEC and self._text(each.name) == MAPS_SECTION

    def _variables(self, section: _Type) -> Iterator[_Type]:
        for identifier, _offset, _size in TYPE[self._order].iter_unpack(section.data):
            yield self._type(identifier, VAR)

    def _map(self, variable: _Type) -> MapFacts:
        definition = self._type(variable.value, STRUCT)
        numbers: dict[str, int] = {}
        for name_at, identifier, _offset in TYPE[self._order].iter_unpack(definition.data):
            name = self._text(name_at)
            if name in NUMBERS:
                numbers[name] = self._number(identifier)
            elif name in TYPES:
                numbers[TYPES[name]] = self._size(self._type(identifier, PTR).value)
        return MapFacts(self._text(variable.name), numbers)

    def _size(self, identifier: int, depth: int = 0) -> int:
        """Return the size of a type in bytes."""
        if not 0 < identifier <= len(self._types) or depth > DEPTH_MAX:
            raise ValueError("its BTF defines a map in no way that is known")
        found = self._types[identifier - 1]
        if found.kind in SIZED:
            return found.value
        if found.kind == PTR:
            return POINTER_BYTES
        if found.kind == ARRAY:
            element, _index, count = TYPE[self._order].unpack(found.data)
            return int(count) * self._size(element, depth + 1)
        if found.kind in REFERRING:
            return self._size(found.value, depth + 1)
        raise ValueError("its BTF has a map of what has no size")

    def _number(self, identifier: int) -> int:
        """Return the length of the array that a member points to, which is how a definition spells a number."""
        array = self._type(self._type(identifier, PTR).value, ARRAY)
        return int(TYPE[self._order].unpack(array.data)[2])

    def _type(self, identifier: int, kind: int) -> _Type:
        # Type 0 is void and stands nowhere.
        if not 0 < identifier <= len(self._types) or self._types[identifier - 1].kind != kind:
            raise ValueError("its BTF defines a map in no way that is known")
        return self._types[identifier - 1]

    def _text(self, at: int) -> str:
        end = self._names.find(b"\0", at, at + 256)
        if end < 0:
            raise ValueError("its BTF has a name without end")
        return self._names[at:end].decode("ascii")


def has_core_relocations(data: bytes, *, byte_order: str = "little") -> bool:
    """Tell from .BTF.ext whether an object asks for offsets of the running kernel's own types."""
    form = struct.Struct("<HBBI" if byte_order == "little" else ">HBBI")
    magic, _version, _flags, length = form.unpack(_part(data, 0, form.size))
    if magic != MAGIC or length > len(data):
        raise ValueError("its BTF.ext has no sound header")
    if length < 32:
        return False
    _at, size = struct.unpack_from("<II" if byte_order == "little" else ">II", data, 24)
    # The first four bytes say how long an entry is.
    return int(size) > 4


def _part(data: bytes, start: int, size: int) -> bytes:
    part = data[start : start + size]
    if len(part) != size:
        raise ValueError("its BTF is cut")
    return part
