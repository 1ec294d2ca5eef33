"""An event: a lazy view over a record that was checked."""

import struct
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from traceleft.tracer.decode.fixed import Fields, Notes, ReadArg
from traceleft.tracer.decode.value import ABSENT, Value
from traceleft.tracer.decode.values import error_name, show_comm
from traceleft.tracer.schema import unknown
from traceleft.tracer.schema.spec import (
    CLASS_1,
    DURATION,
    MAX_ERROR,
    NEW_STACK,
    NO_RETURN,
    STACKS,
    UNFINISHED,
    EventSpec,
    Tables,
)

if TYPE_CHECKING:
    from traceleft.tracer.decode.stack import Stack


class Args(Mapping[str, Value]):
    """An event's arguments by name, as attributes and as a mapping, in the order of the call.

    A name that a mapping has itself (``keys``, ``values``, ``items``, ``get``) is reached as ``args["keys"]``.
    """

    __slots__ = ("_values",)

    def __init__(self, values: dict[str, Value]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> Value:
        return self._values[name]

    def __getattr__(self, name: str) -> Value:
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(f"no argument {name!r}; there are {', '.join(self._values) or 'none'}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Args({', '.join(f'{name}={value!r}' for name, value in self._values.items())})"


class RecordReader(Protocol):
    """What an event reads its record by: a ``Decoder``."""

    spec: EventSpec
    tables: Tables
    raw: struct.Struct
    readers: tuple[tuple[str, int, ReadArg | None], ...]
    fields: Callable[[bytes], Fields]

    def find_stack(self, fields: Fields, data: bytes | memoryview) -> "Stack | None":
        """Return a record's stack, None where nothing tells what it is."""
        ...


class Event:
    """One call of a syscall, or one hit of a tracepoint.

    The record is unpacked and the arguments are decoded when first asked for; nothing here raises for bytes that the
    decoder let pass.
    """

    __slots__ = ("_args", "_data", "_decoder", "_fields", "_notes", "_offset_ns")
    _fields: tuple[int, ...]
    _args: dict[str, Value]
    _notes: Notes

    def __init__(
        self, decoder: "RecordReader", data: bytes, offset_ns: int, fields: tuple[int, ...] | None = None
    ) -> None:
        self._decoder = decoder
        self._data = data
        self._offset_ns = offset_ns
        if fields is not None:
            self._fields = fields

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            """Fill in what is first asked for now: only the common case, a slot that is filled, costs nothing."""
            if name == "_fields":
                self._fields = self._decoder.fields(self._data)
            elif name in ("_args", "_notes"):
                self._decode()
            else:
                raise AttributeError(f"an event has no attribute {name!r}")
            return getattr(self, name)

    @property
    def ts(self) -> int:
        """Nanoseconds since the epoch: of the return, of the entry for a call that never returns."""
        return self._fields[3] + self._offset_ns

    @property
    def event(self) -> str:
        """The kernel's name of the syscall, ``category:name``, or ``syscall_999`` of a number that no event is for."""
        name = self._decoder.spec.name
        return unknown.name_of(self.raw[unknown.NUMBER_ARG] & 0xFFFFFFFF) if name == unknown.NAME else name

    @property
    def pid(self) -> int:
        """The process (the kernel's tgid)."""
        return self._fields[6]

    @property
    def tid(self) -> int:
        """The thread."""
        return self._fields[7]

    @property
    def comm(self) -> str:
        """The thread's name."""
        return show_comm(self._data[64:80])

    @property
    def uid(self) -> int:
        """The user."""
        return self._fields[8]

    @property
    def gid(self) -> int:
        """The group."""
        return self._fields[9]

    @property
    def cpu(self) -> int:
        """The CPU that the record was made on."""
        return self._fields[5]

    @property
    def seq(self) -> int:
        """The record's number on its CPU, within its class."""
        return self._fields[4]

    @property
    def cgroup_id(self) -> int:
        """The cgroup, 0 where the level has none."""
        return self._fields[10]

    @property
    def ret(self) -> int | None:
        """The return value; None for a call that did not return and for a tracepoint."""
        return None if self._fields[2] & (NO_RETURN | UNFINISHED) else self._fields[11]

    @property
    def error(self) -> str | None:
        """The name of the error, the kernel's restart codes included; None when the call did not fail."""
        ret = self._fields[11]
        if ret >= 0 or ret < -MAX_ERROR or self._fields[2] & (NO_RETURN | UNFINISHED):
            return None
        return self._decoder.tables.errno.get(-ret) or error_name(-ret)

    @property
    def duration_ns(self) -> int | None:
        """The time from entry to return, None where it was not taken."""
        return self._fields[12] if self._fields[2] & DURATION else None

    @property
    def raw(self) -> tuple[int, ...]:
        """The arguments as the record carries them: unsigned, six of a syscall."""
        return self._decoder.raw.unpack_from(self._data, 80)

    @property
    def unfinished(self) -> bool:
        """Whether the call was still going on when the trace ended."""
        return bool(self._fields[2] & UNFINISHED)

    @property
    def from_new_image(self) -> bool:
        """Whether some of an exec's strings are the new image's (``image``), the caller's having been unreadable."""
        return bool(self._fields[2] & NEW_STACK)

    @property
    def image(self) -> dict[str, Value]:
        """What the new image was given in place of arguments of an exec that could not be read."""
        return self.notes().image

    @property
    def seq_class(self) -> int:
        """The class that ``seq`` counts in: 0 for syscall hooks, 1 for other tracepoints."""
        return 1 if self._fields[2] & CLASS_1 else 0

    @property
    def stack(self) -> "Stack | None":
        """Where it was called from; None where stacks were not asked for."""
        return self._decoder.find_stack(self._fields, self._data) if self._fields[2] & STACKS else None

    @property
    def args(self) -> Args:
        """The arguments, by name."""
        return Args(self.decoded())

    @property
    def truncated(self) -> dict[str, int | None]:
        """True lengths of the arguments that were cut, None where unknown."""
        return self.notes().truncated

    @property
    def unreadable(self) -> list[str]:
        """Names of the arguments that could not be read, wholly or in part."""
        return self.notes().unreadable

    @property
    def spec(self) -> EventSpec:
        """The specification that the event was decoded by."""
        return self._decoder.spec

    @property
    def tables(self) -> Tables:
        """The sets, structs and error names that go with ``spec``."""
        return self._decoder.tables

    def _decode(self) -> None:
        notes, fields, data = Notes(), self._fields, self._data
        self._args = {
            name: value
            for name, place, read in self._decoder.readers
            if (value := fields[place] if read is None else read(fields, data, notes)) is not ABSENT
        }
        self._notes = notes

    def decoded(self) -> dict[str, Value]:
        """Return the arguments as the dictionary that the event keeps: not to be changed."""
        return self._args

    def notes(self) -> Notes:
        """Return what is known of the arguments other than their values."""
        return self._notes

    def to_dict(self) -> dict[str, Value]:
        """Return the event as the object that JSON shows, keys in that order."""
        fields, args = self._fields, self.decoded()
        shown: dict[str, Value] = {
            "ts": fields[3] + self._offset_ns,
            "event": self.event,
            "pid": fields[6],
            "tid": fields[7],
            "comm": show_comm(self._data[64:80]),
            "uid": fields[8],
            "gid": fields[9],
            "cpu": fields[5],
            "seq": fields[4],
            "cgroup_id": fields[10],
            "args": args,
            "ret": self.ret,
            "error": self.error,
            "duration_ns": self.duration_ns,
        }
        notes = self.notes()
        if notes.truncated:
            shown["truncated"] = {**notes.truncated}
        if notes.unreadable:
            shown["unreadable"] = [*notes.unreadable]
        if notes.image:
            shown["image"] = {**notes.image}
        if fields[2] & STACKS and (stack := self.stack) is not None:
            shown["stack"] = stack.to_json()
        return shown

    def __repr__(self) -> str:
        return f"<Event {self.event} pid={self.pid} args={self.decoded()!r} ret={self.ret}>"
