"""How the fixed part of a record is unpacked, and what is noted of its arguments other than their values."""

import struct
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

from traceleft.record_layout import HEADER, SLOT, SLOT_BYTES, slots_offset
from traceleft.tracer.decode.lists import Part
from traceleft.tracer.decode.value import Value
from traceleft.tracer.decode.values import ByteOrder, is_signed
from traceleft.tracer.schema.spec import SCALAR_KINDS, EventSpec, SlotSpec, Tables, ValueSpec

HEADER_FIELDS: Final = len(HEADER.fields)
FLAGS_FIELD: Final = HEADER["flags"].rank
RET_FIELD: Final = HEADER["ret"].rank
_CODES: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}

Fields: TypeAlias = tuple[int, ...]
"""A record's header, arguments and slots, in that order. (The header's comm is bytes; it is not read from here.)"""


class Notes:
    """What is to be known of an event's values other than the values.

    ``truncated`` and ``unreadable`` are by argument. For text: ``absent`` are the slots that show an address, ``more``
    those that show less than there was (``name``, or ``name.out`` for the second), ``cut_parts`` ranks of cut parts,
    ``lost_parts`` of parts that could not be read, ``chosen`` the rank of the case that decided what an argument is
    (see ``traceleft.tracer.decode.cases``).

    ``image`` has what a new image was given in place of arguments that could not be read: the kernel may have put an
    interpreter before them. ``of_image`` are the notes of those values.
    """

    __slots__ = ("absent", "chosen", "cut_parts", "image", "lost_parts", "more", "of_image", "truncated", "unreadable")

    def __init__(self) -> None:
        self.truncated: dict[str, int | None] = {}
        self.unreadable: list[str] = []
        self.absent: set[str] = set()
        self.more: set[str] = set()
        self.cut_parts: dict[str, set[int]] = {}
        self.lost_parts: dict[str, set[int]] = {}
        self.chosen: dict[str, int] = {}
        self.image: dict[str, Value] = {}
        self.of_image: Notes | None = None

    def fail(self, name: str) -> None:
        """Note that some or all of a value could not be read."""
        if name not in self.unreadable:
            self.unreadable.append(name)

    def substitute(self, name: str, read: "Callable[[Notes], Value]") -> None:
        """Take what stands in place of an argument that could not be read, if that could be."""
        self.of_image = self.of_image or Notes()
        value = read(self.of_image)
        if name not in self.of_image.absent:
            self.image[name] = value
        self.absent.add(name)
        self.fail(name)

    def look_at(self, name: str, parts: Iterable[Part]) -> None:
        """Note which parts of a value are cut or could not be read."""
        for rank, part in enumerate(parts):
            if part.is_cut:
                self.truncated[name] = None
                self.cut_parts.setdefault(name, set()).add(rank)
            if part.status < 0:
                self.fail(name)
                self.lost_parts.setdefault(name, set()).add(rank)


ReadArg: TypeAlias = Callable[[Fields, bytes, Notes], Value]
ReadTail: TypeAlias = Callable[[bytes, Fields, Notes], tuple[Value, int]]
"""Decode captured bytes; the second result is how many of what the slot's status counts were captured, or a status
below zero where the bytes give no value."""


class FixedPart:
    """The one ``struct`` that unpacks a record's header, arguments and slots, and where in the result each lies."""

    __slots__ = ("_slots", "struct")

    def __init__(self, spec: EventSpec, tables: Tables) -> None:
        kinds = {arg.index: arg.value for arg in spec.args}
        order = tables.byte_order
        codes = [HEADER.codes, *(_arg_code(kinds.get(index), order) for index in range(spec.args_count))]
        ranked = sorted(spec.slots, key=lambda slot: slot.offset)
        codes += _slot_codes(ranked, slots_offset(spec.args_count))
        places = {
            slot.offset: HEADER_FIELDS + spec.args_count + len(SLOT.fields) * rank for rank, slot in enumerate(ranked)
        }
        self._slots = tuple(places[slot.offset] for slot in spec.slots)
        self.struct = struct.Struct(("<" if order == "little" else ">") + "".join(codes))

    def slot(self, index: int) -> int:
        """Return where a slot's three fields begin."""
        return self._slots[index]

    @property
    def slots(self) -> tuple[int, ...]:
        """Return where each slot's fields begin."""
        return self._slots


def _arg_code(value: ValueSpec | None, order: ByteOrder) -> str:
    if value is None or value.cases or value.kind not in SCALAR_KINDS:
        return "Q"
    code = _CODES[value.width].lower() if is_signed(value) else _CODES[value.width]
    padding = f"{8 - value.width}x" if value.width < 8 else ""
    return code + padding if order == "little" else padding + code


def _slot_codes(ranked: list[SlotSpec], start: int) -> list[str]:
    codes = []
    for slot in ranked:
        codes.append(f"{slot.offset - start}x{SLOT.codes}")
        start = slot.offset + SLOT_BYTES
    return codes
