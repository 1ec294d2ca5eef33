"""Many records of one event as columns.

A batch holds what the drain splits off: the fixed parts end to end, the tails end to end in a heap, and where each tail
ends. ``to_numpy`` is a view over the fixed parts; strings are decoded for the column that is asked for.
numpy is imported on first use only.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from traceleft.errors import BatteryError, UnsupportedError
from traceleft.record_layout import (
    HEADER_COLUMNS,
    NEW_STACK,
    SLOT,
    SLOT_BYTES,
    STACK_IDS_BYTES,
    STACKS,
    WORD_BYTES,
    slots_offset,
)
from traceleft.tracer.decode.decoder import Decoder, UndecodableError
from traceleft.tracer.decode.event import Event
from traceleft.tracer.decode.texts import to_text, value_to_column
from traceleft.tracer.decode.value import Value
from traceleft.tracer.decode.values import compile_scalar, is_signed
from traceleft.tracer.schema.spec import SCALAR_KINDS, ArgSpec, EventSpec, Tables

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from traceleft.tracer import _native
    from traceleft.tracer.decode.stack import Stack

_SLOT_COLUMNS: Final = [(field.column, field.column_type) for field in SLOT.fields]
_HEADER_NAMES: Final = frozenset(name for name, _, _ in HEADER_COLUMNS)


def column_name(arg: str) -> str:
    """Return an argument's column: its name, after ``arg_`` where the header has that name."""
    return f"arg_{arg}" if arg in _HEADER_NAMES else arg


def column_types(spec: EventSpec, byte_order: str) -> dict[str, Any]:
    """Return the fixed part's columns as ``numpy.dtype`` takes them: names, formats, offsets, itemsize.

    A pointer argument is its address; next to it stand ``NAME.offset``, ``NAME.length`` and ``NAME.status`` of its slot
    (``NAME_out.…`` for the second slot of one that goes both ways).
    """
    prefix = "<" if byte_order == "little" else ">"
    columns = [(name, code if code[0] == "S" else prefix + code, offset) for name, code, offset in HEADER_COLUMNS]
    for arg in spec.args:
        columns.append((column_name(arg.name), *_arg_column(arg, prefix)))
        for slot, name in ((arg.slot, arg.name), (arg.slot_out, f"{arg.name}_out")):
            if slot is not None:
                place = spec.slots[slot].offset
                columns += [
                    (f"{name}.{each.column}", prefix + each.column_type, place + each.offset) for each in SLOT.fields
                ]
    names, formats, offsets = zip(*columns, strict=True)
    if len(set(names)) < len(names):
        raise BatteryError(f"{spec.name}: two columns have one name")
    return {"names": [*names], "formats": [*formats], "offsets": [*offsets], "itemsize": spec.fixed_size}


def _arg_column(arg: ArgSpec, prefix: str) -> tuple[str, int]:
    width = arg.value.width if arg.value.kind in SCALAR_KINDS else WORD_BYTES
    offset = slots_offset(arg.index) + (0 if prefix == "<" else WORD_BYTES - width)
    return f"{prefix}{'i' if is_signed(arg.value) else 'u'}{width}", offset


class _Shown(dict[bytes, str]):
    """Bytes as text; of equal ones, which names of files often are, the same text."""

    def __missing__(self, data: bytes) -> str:
        self[data] = text = to_text(data)
        return text


def _join_paths(batches: "Sequence[Batch]") -> "Sequence[str | None] | None":
    """Return the files that the records of batches are about; None unless all of them tell."""
    told = [each.paths for each in batches if each.paths is not None]
    return [path for paths in told for path in paths] if len(told) == len(batches) else None


class Batch:
    """Many events of one kind, as columns.

    ::

        def take(batch: Batch) -> None:
            columns = batch.to_numpy()
            print(len(batch), columns["ret"].max(), batch.column("filename")[0])

        tracer.on_batch("openat", take)

    ``len(batch)`` is the number of events n. ``paths`` are the files that the events are about, where ``resolve_paths``
    asked for them, else None. ``rows`` are the places of the events among those of other kinds that came with them
    (native u32), or empty. A batch may be kept, and read from any thread.

    The constructor takes ``fixed`` parts of records, a ``heap`` of their tails, and ``ends`` of tails in it (n + 1
    native u64, the first is 0). Raises UndecodableError where these do not fit together.
    """

    def __init__(
        self,
        decoder: Decoder,
        fixed: bytes,
        heap: bytes,
        ends: bytes,
        *,
        offset_ns: int = 0,
        rows: bytes = b"",
        paths: "Sequence[str | None] | None" = None,
    ) -> None:
        self._decoder = decoder
        self.rows = rows
        self.paths = paths
        self._folded: list[str | None] | None = None
        self._fixed = fixed
        self._heap = heap
        self._offset_ns = offset_ns
        size = decoder.spec.fixed_size
        count, rest = divmod(len(fixed), size)
        if rest or len(ends) != 8 * (count + 1):
            raise UndecodableError(f"{decoder.spec.name}: a batch's parts do not go together")
        self._ends_bytes = ends
        self._ends: tuple[int, ...] = struct.unpack(f"={count + 1}Q", ends)
        pairs = zip(self._ends, self._ends[1:], strict=False)
        if self._ends[0] or self._ends[-1] > len(heap) or any(start > end for start, end in pairs):
            raise UndecodableError(f"{decoder.spec.name}: a batch's tails do not follow each other")

    @classmethod
    def joined(cls, batches: "Sequence[Batch]") -> "Batch":
        """Return several batches as one.

        Raises ValueError where they come from different decoders or clocks; see ``origin``.
        """
        import numpy

        first = batches[0]
        if any(each.origin != first.origin for each in batches):
            raise ValueError("batches of several decoders or clocks cannot be joined")
        if len(batches) == 1:
            return first
        ends = [numpy.frombuffer(each._ends_bytes, "u8") for each in batches]
        starts = numpy.cumsum([0, *(each[-1] for each in ends)], dtype="u8")
        whole = numpy.concatenate([starts[:1], *(each[1:] + start for each, start in zip(ends, starts, strict=False))])
        batch = cls.__new__(cls)
        batch._decoder, batch._offset_ns = first._decoder, first._offset_ns
        batch.rows, batch._folded = b"", None
        batch.paths = _join_paths(batches)
        batch._fixed = b"".join(each._fixed for each in batches)
        batch._heap = b"".join(each._heap[: each._ends[-1]] for each in batches)
        batch._ends_bytes, batch._ends = whole.tobytes(), tuple(whole.tolist())
        return batch

    @property
    def origin(self) -> tuple[int, int]:
        """What batches have in common that can be joined."""
        return id(self._decoder), self._offset_ns

    @property
    def size_bytes(self) -> int:
        """The memory that the records take, in bytes."""
        return len(self._fixed) + len(self._heap)

    @property
    def spec(self) -> EventSpec:
        """The specification of the event."""
        return self._decoder.spec

    @property
    def tables(self) -> Tables:
        """The sets, structs and names of errors that go with ``spec``."""
        return self._decoder.tables

    @property
    def size(self) -> int:
        """The number of bytes of all records, without what they are kept in."""
        return len(self._fixed) + len(self._heap)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def record(self, row: int) -> bytes:
        """Return one record as it came out of the kernel's buffer.

        Raises IndexError for a row that the batch does not have.
        """
        size = self.spec.fixed_size
        if not 0 <= row < len(self):
            raise IndexError(row)
        return self._fixed[row * size : (row + 1) * size] + self._heap[self._ends[row] : self._ends[row + 1]]

    def events(self) -> Iterator[Event]:
        """Yield the events one by one.

        Raises UndecodableError at an event whose bytes do not fit its specification.
        """
        for row in range(len(self)):
            yield self._decoder.decode(self.record(row), offset_ns=self._offset_ns)

    def column(self, name: str) -> list[Value]:
        """Return one argument of all events, decoded: a list of n values, None where a record does not fit.

        Raises KeyError for an argument that the event does not have.
        """
        arg = next((arg for arg in self.spec.args if arg.name == name), None)
        if arg is None:
            raise KeyError(name)
        if self._decoder.layout is not None and len(self):
            if arg.slot is None and arg.value.cases is None:
                return self._numbers(arg)
            if (
                arg.slot is not None
                and arg.value.kind in ("path", "text")
                and arg.slot_out is None
                and arg.on_zero
                and not arg.errors
            ):
                return self._texts(arg.name, arg.slot)
        return [self._value(row, name) for row in range(len(self))]

    def _numbers(self, arg: ArgSpec) -> list[Value]:
        numbers: list[Value] = self.to_numpy()[column_name(arg.name)].tolist()
        show: Any = compile_scalar(arg.value, self._decoder.tables)
        values = [*map(show, numbers)] if show else numbers
        fits, _ = self._checked()
        return values if fits.all() else [value if good else None for value, good in zip(values, fits, strict=True)]

    def _texts(self, name: str, slot: int) -> list[Value]:
        """Return texts in bulk, and one by one what was not captured."""
        import numpy

        fits, slots = self._checked()
        places = slots[:, slot]
        is_there = fits & (places["offset"] > 0) & (places["status"] >= 0)
        is_there &= self.to_numpy()["record_flags"] & NEW_STACK == 0
        starts = numpy.frombuffer(self._ends_bytes, "u8")[:-1].astype("i8") + places["offset"] - self.spec.fixed_size
        ranges = zip(starts.tolist(), (starts + places["length"]).tolist(), is_there.tolist(), strict=True)
        heap, shown = self._heap, _Shown()
        return [
            shown[heap[start:end]] if good else self._value(row, name) for row, (start, end, good) in enumerate(ranges)
        ]

    def stacks(self) -> list[str | None]:
        """Return the stack of each event as one text, the outermost frame first, None where an event has no stack.

        The first call must be made in the thread that reads the trace. The batch keeps the texts for later calls.
        """
        if self._folded is None:
            has_any = self._decoder.stacks is not None and (self.to_numpy()["record_flags"] & STACKS).any()
            stacks = self._stacks() if has_any else [None] * len(self)
            self._folded = [None if stack is None else stack.folded() for stack in stacks]
        return self._folded

    def _stacks(self) -> "Iterator[Stack | None]":
        for row in range(len(self)):
            record = self.record(row)
            try:
                fields, data = self._decoder.unpack(record)
            except UndecodableError:
                yield None
            else:
                yield self._decoder.find_stack(fields, data)

    def _checked(self) -> "tuple[NDArray[numpy.bool_], NDArray[numpy.void]]":
        """Return which rows the decoder would take, and all slots by row and index, as ``Decoder.layout`` allows."""
        import numpy

        size, array = self.spec.fixed_size, self.to_numpy()
        start = slots_offset(self.spec.args_count)
        by_place = numpy.ndarray(
            (len(self), len(self.spec.slots)), _SLOT_COLUMNS, self._fixed, start, (size, SLOT_BYTES)
        )
        slots = by_place[:, [(slot.offset - start) // SLOT_BYTES for slot in self.spec.slots]]
        lengths = array["length"].astype("i8")
        tails = numpy.diff(numpy.frombuffer(self._ends_bytes, "u8")).astype("i8")
        ends = slots["offset"].astype("i8") + slots["length"]
        outside = (slots["length"] > 0) & ((slots["offset"] < size) | (ends > lengths[:, None]))
        fits = (size <= lengths) & (lengths <= size + tails) & (array["event_id"] == self.spec.id)
        fits &= ((array["record_flags"] & STACKS) == 0) | (lengths >= size + STACK_IDS_BYTES)
        return fits & (array["timestamp"] >> 63 == 0) & ~outside.any(axis=1), slots

    def _value(self, row: int, name: str) -> Value:
        try:
            return self._decoder.decode(self.record(row)).decoded().get(name)
        except UndecodableError:
            return None

    def to_numpy(self) -> "NDArray[numpy.void]":
        """Return the fixed parts as a structured numpy array of shape (n,), read-only and without a copy.

        Columns are those of the header (``pid``, ``tid``, ``uid``, ``ret``, ``duration_ns``, …) and the raw arguments
        by name.
        """
        import numpy

        if self._decoder.dtype is None:
            columns: Any = column_types(self.spec, self._decoder.tables.byte_order)
            self._decoder.dtype = numpy.dtype(columns)
        return numpy.frombuffer(self._fixed, dtype=self._decoder.dtype)

    def timestamps(self) -> "NDArray[numpy.int64]":
        """Return the times of the events, as n integers in nanoseconds since the epoch."""
        import numpy

        return self.to_numpy()["timestamp"].astype(numpy.int64) + self._offset_ns

    def to_arrow(self) -> Any:
        """Return a ``pyarrow.Table`` of n rows: ``ts``, the columns of the header, and every argument.

        Arguments that are decoded to text are columns of text. Raises UnsupportedError where pyarrow is not installed.
        """
        try:
            import pyarrow
        except ImportError:
            raise UnsupportedError("Arrow tables", "install traceleft[arrow]") from None
        array = self.to_numpy()
        columns = {name: pyarrow.array(array[name].copy()) for name, _, _ in HEADER_COLUMNS[4:]}
        for arg in self.spec.args:
            columns[column_name(arg.name)] = self._arrow_column(pyarrow, arg, array)
        return pyarrow.table({"ts": pyarrow.array(self.timestamps()), **columns})

    def _arrow_column(self, pyarrow: Any, arg: ArgSpec, array: "NDArray[numpy.void]") -> Any:
        is_named = arg.value.cases is not None or arg.value.set_name
        if arg.slot is None and not is_named and arg.value.kind in ("int", "mode", "fd", "dev", "pid", "uid"):
            return pyarrow.array(array[column_name(arg.name)].copy())
        values = self.column(arg.name)
        if all(value is None or isinstance(value, str) for value in values):
            return pyarrow.array([value_to_column(value) for value in values], type=pyarrow.string())
        return pyarrow.array([None if value is None else _as_text(value) for value in values], type=pyarrow.string())


def batches_of(records: "_native.Records", decoders: Iterable[Decoder]) -> Iterator[Batch]:
    """Yield a batch of each of these events that is among some records."""
    for decoder in decoders:
        fixed, heap, ends, rows = records.columns(decoder.spec.id, decoder.spec.fixed_size)
        if fixed:
            yield Batch(decoder, fixed, heap, ends, rows=rows)


def _as_text(value: Value) -> str:
    import msgspec

    value = value_to_column(value)
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
