"""Lines of JSON in bulk: a schema's events compiled to a program that the native module runs (``lines.h``).

What it makes is byte for byte ``jsonl.to_json_line``; the rare kinds of values, and records that do not fit, are left
to that function, one by one.
"""

import struct
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final, Protocol

from traceleft.linux import MAX_ERROR
from traceleft.record_layout import HEADER
from traceleft.tracer import _native
from traceleft.tracer.account.handout import Handout
from traceleft.tracer.decode.cases import has_scalar_cases
from traceleft.tracer.decode.decoder import Decoder, UndecodableError, native_layout
from traceleft.tracer.decode.signals import SIGNALS
from traceleft.tracer.decode.values import error_name, is_signed
from traceleft.tracer.output.jsonl import to_json_line
from traceleft.tracer.schema import unknown
from traceleft.tracer.schema.spec import ArgSpec, EventSpec, SetSpec, SlotSpec, StructSpec, Tables, ValueSpec

ENOUGH_BYTES: Final = 1 << 20
RAW: Final = 1
NOT_ON_ZERO: Final = 1
NODE_KINDS: Final = (
    *("python", "number", "hex", "pointer", "dirfd", "uid", "named", "set", "char", "cases", "none"),
    *("text", "text_to_nul", "struct", "array", "bytes", "value", "bit_names", "strings"),
)
"""The kinds of nodes in the order of ``enum node_kind``."""
_NUMBERS: Final = {
    **dict.fromkeys(("int", "mode", "dev", "fd", "pid"), "number"),
    **{kind: kind for kind in ("hex", "pointer", "dirfd", "uid", "set", "char", "none")},
}
_NARROW: Final = frozenset({"fd", "dirfd", "pid"})
_IN_PARTS: Final = frozenset({"strings", "iovec", "msghdr"})

_EVENT_AND_CPU: Final = HEADER.picker("event", "cpu")
_HEAD: Final = struct.Struct("=12I")
_EVENT: Final = struct.Struct("=8I")
_ARG: Final = struct.Struct("=5I4H5I")
_NODE: Final = struct.Struct("=4B4IBB6xI")
_MEMBER: Final = struct.Struct("=6I")
_SET: Final = struct.Struct("=3Q6I")
_ENTRY: Final = struct.Struct("=QII")


class Writer(Protocol):
    """What takes lines: all that it is given, or it raises; ``taken`` are the bytes of the last call that arrived."""

    @property
    def taken(self) -> int: ...
    def write(self, data: bytes) -> None: ...


class LineWriter:
    """Writes records as lines of JSON; ``raw`` as ``to_json_line`` has it, ``decoder`` finds an event's by id."""

    def __init__(
        self,
        specs: Iterable[EventSpec],
        tables: Tables,
        decoder: Callable[[int], Decoder],
        writer: Writer,
        *,
        raw: bool = False,
    ) -> None:
        self._decoder = decoder
        self._writer = writer
        self._raw = raw
        self._lines = _native.Lines(compile_program(specs, tables, raw=raw))

    def write(
        self, handout: Handout, wanted: int, *, offset_ns: int, is_late: Callable[[], bool] = lambda: False
    ) -> None:
        """Write the first ``wanted`` records, until it is too late; one is through once its whole line has arrived."""
        records, row = handout.records, 0
        while row < wanted and not is_late():
            text, after = self._lines.render(records, row, wanted, offset_ns, ENOUGH_BYTES)
            if after == row:
                text, after = self._show(handout, row, offset_ns), row + 1
            try:
                self._writer.write(text)
            except BaseException:
                handout.done = row + text.count(b"\n", 0, self._writer.taken)
                raise
            handout.done = row = after

    def _show(self, handout: Handout, row: int, offset_ns: int) -> bytes:
        """Return the line of one record, nothing for one that is refused."""
        record = handout.records.record(row)
        event, cpu = _EVENT_AND_CPU.unpack_from(record)
        try:
            return to_json_line(self._decoder(event).decode(record, offset_ns=offset_ns), raw=self._raw)
        except UndecodableError:
            handout.refused.append((event, cpu))
            return b""


def compile_program(specs: Iterable[EventSpec], tables: Tables, *, raw: bool = False) -> bytes:
    """Return the program that makes lines of these events; one that it cannot express is not in it."""
    program = _Program(tables)
    if tables.byte_order == "little" == sys.byteorder:
        for spec in specs:
            program.add_event(spec)
    return program.pack(RAW if raw else 0)


class _Program:
    """The tables of a program as they grow."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._events: list[bytes] = []
        self._args: list[bytes] = []
        self._nodes: list[bytes] = []
        self._members: list[bytes] = []
        self._sets: list[bytes] = []
        self._entries: list[bytes] = []
        self._text = bytearray()
        self._texts: dict[str, tuple[int, int]] = {}
        self._made_sets: dict[tuple[str, int], int] = {}
        self._made_structs: dict[str, int] = {}
        self._made_nodes: dict[bytes, int] = {}
        self._signals: tuple[int, int] | None = None
        self._depths: list[int] = []
        errors = {number: tables.errno.get(number) or error_name(number) for number in range(1, MAX_ERROR + 1)}
        named = {number: name for number, name in errors.items() if name != f"errno {number}"}
        self._errors = self._add_names(sorted(named.items()))

    def add_event(self, spec: EventSpec) -> None:
        """Add an event, unless Python checks bytes of it that it does not show, or its slots lie apart."""
        if any(arg.value.kind in _IN_PARTS and (arg.slot_out is not None or not arg.on_zero) for arg in spec.args):
            return
        # The name of a call that no event is for lies in its record.
        if native_layout(spec, self._tables) is None or spec.name == unknown.NAME:
            return
        first = len(self._args)
        rows = [self._arg(arg, spec.slots) for arg in spec.args]
        self._args += rows
        self._events.append(
            _EVENT.pack(
                *(spec.id, spec.fixed_size, spec.args_count, len(spec.slots), first, len(rows)),
                *self._add_text(f'"{spec.name}"'),
            )
        )

    def pack(self, flags: int) -> bytes:
        """Return the whole program."""
        tables = (self._events, self._args, self._nodes, self._members, self._sets, self._entries)
        head = _HEAD.pack(*map(len, tables), len(self._text), *self._errors, flags, 0, 0)
        return b"".join((head, *(row for table in tables for row in table), self._text))

    def _arg(self, arg: ArgSpec, slots: Sequence[SlotSpec]) -> bytes:
        places = [0 if slot is None else slots[slot].offset for slot in (arg.slot, arg.slot_out)]
        value, by_case = arg.value, 0
        if has_scalar_cases(value):
            by_case = 1 + self._cases(value, self._number(replace(value, kind="pointer", cases=None)))
            value = replace(value, cases=None)
        node = self._register(value) if arg.slot is None else self._captured(value)
        first_error = len(self._entries)
        self._entries += [_ENTRY.pack(number, 0, 0) for number in sorted(arg.errors)]
        return _ARG.pack(
            *self._add_text(f'"{arg.name}":'),
            *self._add_text(f'"{arg.name}"'),
            *(node, arg.index, *places, 0 if arg.on_zero else NOT_ON_ZERO),
            *(by_case, first_error, len(arg.errors), 0, 0),
        )

    def _register(self, value: ValueSpec) -> int:
        """Add what shows a register, by its cases where it has some."""
        plain = self._number(value)
        return plain if value.cases is None else self._cases(value, plain)

    def _cases(self, value: ValueSpec, plain: int) -> int:
        """Add what shows a register as its case says, and else as the node ``plain`` does."""
        assert value.cases is not None
        cases = {number: self._register(case) for number, case in value.cases.kinds}
        first = len(self._entries)
        self._entries += [_ENTRY.pack(number, node, 0) for number, node in sorted(cases.items())]
        inner = [plain, *cases.values()]
        return self._add_node(
            "cases",
            first=first,
            count=len(cases),
            size=value.cases.arg,
            other=plain,
            ignore=value.cases.ignore,
            inner=inner,
        )

    def _number(self, value: ValueSpec) -> int:
        """Add what shows a number, in a register or in memory."""
        width = value.width
        keep = min(width, 4) if value.kind in _NARROW else width
        signed = is_signed(value)
        if value.kind == "int" and value.set_name:
            first = self._set(self._tables.sets[value.set_name], width)
            return self._add_node("named", width=width, keep=keep, signed=signed, first=first)
        if value.kind == "set":
            return self._add_node(
                "set", width=width, keep=keep, first=self._set(self._tables.sets[value.set_name], width)
            )
        return self._add_node(_NUMBERS.get(value.kind, "python"), width=width, keep=keep, signed=signed)

    def _captured(self, value: ValueSpec) -> int:
        """Add what shows the bytes that a pointer led to."""
        match value.kind:
            case "buffer" if value.show == "bits" or value.cases is not None:
                return self._python()
            case "path" | "text" | "buffer":
                return self._add_node("text")
            case "struct":
                return self._struct(self._tables.structs[value.struct_name])
            case "sigset":
                return self._sigset()
            case "array":
                return self._array(value, "array")
            case "value":
                assert value.element is not None
                element = self._number(value.element)
                return self._add_node("value", size=value.element.width, other=element, inner=[element])
            case "bytes" if value.element is not None:
                return self._array(value, "bytes")
            case "bytes" if value.show == "text":
                return self._add_node("text_to_nul")
            case "strings":
                return self._add_node("strings", in_parts=True)
        return self._python(in_parts=value.kind in _IN_PARTS)

    def _python(self, *, in_parts: bool = False) -> int:
        return self._add_node("python", in_parts=in_parts)

    def _sigset(self) -> int:
        if self._signals is None:
            self._signals = self._add_names(enumerate(SIGNALS))
        return self._add_node("bit_names", first=self._signals[0], count=self._signals[1])

    def _array(self, value: ValueSpec, kind: str) -> int:
        assert value.element is not None
        element = value.element
        if element.kind == "struct":
            spec = self._tables.structs[element.struct_name]
            width, node = spec.size, self._struct(spec)
        else:
            width, node = element.width, self._number(element)
        return self._add_node(kind, first=width, size=max(value.size, 1), other=node, inner=[node])

    def _struct(self, spec: StructSpec) -> int:
        """Add a struct; one whose members depend on others, or share a name, is left to Python."""
        if any(member.when for member in spec.members) or len({m.name for m in spec.members}) < len(spec.members):
            return self._python()
        if spec.name not in self._made_structs:
            placed = [(member, *self._member(member.value)) for member in spec.members]
            first = len(self._members)
            for member, node, size in placed:
                self._members.append(_MEMBER.pack(*self._add_text(f'"{member.name}":'), node, member.offset, size, 0))
            made = self._add_node("struct", first=first, count=len(placed), inner=[node for _, node, _ in placed])
            self._made_structs[spec.name] = made
        return self._made_structs[spec.name]

    def _member(self, value: ValueSpec) -> tuple[int, int]:
        """Add what shows a member; return the node and the member's bytes."""
        match value.kind:
            case "array":
                return self._array(value, "array"), value.count * value.size
            case "text":
                return self._add_node("text_to_nul"), value.count
            case "sockaddr":
                return self._python(), value.count
            case "sigset":
                return self._sigset(), 8
            case "struct":
                spec = self._tables.structs[value.struct_name]
                return self._struct(spec), spec.size
        return self._number(value), value.width

    def _set(self, spec: SetSpec, width: int) -> int:
        """Add a set for values of ``width`` bytes, as ``values.compile_set`` and ``compile_names`` take it."""
        made = self._made_sets.get((spec.name, width))
        if made is not None:
            return made
        ones = (1 << 8 * width) - 1
        values = {number & ones: name for number, name in reversed(spec.values)}
        names = self._add_names(sorted(values.items()))
        bits = self._add_names((bit, name) for bit, name in spec.bits if bit & ones == bit)
        mask, octal = spec.mask & ones, spec.octal
        self._sets.append(_SET.pack(ones, mask, octal, *names, *bits, *self._add_text(spec.zero)))
        self._made_sets[spec.name, width] = len(self._sets) - 1
        return len(self._sets) - 1

    def _add_names(self, names: Iterable[tuple[int, str]]) -> tuple[int, int]:
        first = len(self._entries)
        self._entries += [_ENTRY.pack(number, *self._add_text(name)) for number, name in names]
        return first, len(self._entries) - first

    def _add_text(self, text: str) -> tuple[int, int]:
        if text not in self._texts:
            data = text.encode()
            self._texts[text] = len(self._text), len(data)
            self._text += data
        return self._texts[text]

    def _add_node(
        self,
        kind: str,
        *,
        width: int = 8,
        keep: int = 8,
        signed: bool = False,
        first: int = 0,
        count: int = 0,
        size: int = 0,
        other: int = 0,
        in_parts: bool = False,
        ignore: int = 0,
        inner: Iterable[int] = (),
    ) -> int:
        """Add a node that leads to ``inner`` ones, and return its index; equal ones are added once."""
        depth = 1 + max((self._depths[node] for node in inner), default=0)
        head = (NODE_KINDS.index(kind), width, keep, signed, first, count, size, other)
        row = _NODE.pack(*head, in_parts, depth, ignore)
        if row not in self._made_nodes:
            self._made_nodes[row] = len(self._nodes)
            self._nodes.append(row)
            self._depths.append(depth)
        return self._made_nodes[row]
