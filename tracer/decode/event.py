"""An event: a lazy view over a record that was checked."""

import struct
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, Protocol

from traceleft.linux import MAX_ERROR
from traceleft.record_layout import DURATION, HEADER, HEADER_BYTES, NO_RETURN, STACKS, UNFINISHED
from traceleft.tracer.decode.fixed_part import Fields, Notes, ReadArg
from traceleft.tracer.decode.value import ABSENT, Value
from traceleft.tracer.decode.values import error_name, show_comm
from traceleft.tracer.schema import unknown
from traceleft.tracer.schema.spec import EventSpec, Tables

if TYPE_CHECKING:
    from traceleft.tracer.decode.stack import Stack

# Where an unpacked record has the fields of its header.
_FLAGS, _TIMESTAMP, _SEQ, _CPU = (HEADER[name].rank for name in ("flags", "timestamp", "seq", "cpu"))
_TGID, _TID, _UID, _GID = (HEADER[name].rank for name in ("tgid", "tid", "uid", "gid"))
_CGROUP_ID, _RET, _DURATION = (HEADER[name].rank for name in ("cgroup_id", "ret", "duration"))
_COMM: Final = slice(HEADER["comm"].offset, HEADER_BYTES)


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

    ::

        with Tracer(battery, events=["openat"]) as tracer:
            for event in tracer:
                print(event.comm, event.args.filename, event.ret, event.error)

    An event keeps the bytes of its record and decodes them when a property is first read. Events do not change and may
    be kept after the trace has ended.

    Does not raise for what a record holds: what could not be read is listed in ``unreadable``.
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
        """The time in nanoseconds since the epoch: of the return, or of the entry for a call that has not returned."""
        return self._fields[_TIMESTAMP] + self._offset_ns

    @property
    def event(self) -> str:
        """The kernel's name of the syscall, or ``category:name`` of a tracepoint.

        A syscall number without an event gives ``syscall_999``.
        """
        name = self._decoder.spec.name
        return unknown.name_of(self.raw[unknown.NUMBER_ARG] & 0xFFFFFFFF) if name == unknown.NAME else name

    @property
    def pid(self) -> int:
        """The process ID (the kernel's tgid)."""
        return self._fields[_TGID]

    @property
    def tid(self) -> int:
        """The thread ID."""
        return self._fields[_TID]

    @property
    def comm(self) -> str:
        """The thread's name, at most 15 bytes of text."""
        return show_comm(self._data[_COMM])

    @property
    def uid(self) -> int:
        """The user ID of the thread."""
        return self._fields[_UID]

    @property
    def gid(self) -> int:
        """The group ID of the thread."""
        return self._fields[_GID]

    @property
    def cpu(self) -> int:
        """The CPU on which the record was made, counted from 0."""
        return self._fields[_CPU]

    @property
    def seq(self) -> int:
        """The record's number on its CPU, within its class: gaps are lost records."""
        return self._fields[_SEQ]

    @property
    def cgroup_id(self) -> int:
        """The ID of the thread's cgroup v2, 0 where the level (4.4, 4.11) cannot tell it."""
        return self._fields[_CGROUP_ID]

    @property
    def ret(self) -> int | None:
        """The return value, None for a call that has not returned and for a tracepoint."""
        return None if self._fields[_FLAGS] & (NO_RETURN | UNFINISHED) else self._fields[_RET]

    @property
    def error(self) -> str | None:
        """The name of the error, such as ``ENOENT``, None where the call did not fail.

        The kernel's restart codes count as errors.
        """
        ret = self._fields[_RET]
        if ret >= 0 or ret < -MAX_ERROR or self._fields[_FLAGS] & (NO_RETURN | UNFINISHED):
            return None
        return self._decoder.tables.errno.get(-ret) or error_name(-ret)

    @property
    def duration_ns(self) -> int | None:
        """The time from entry to return in nanoseconds, None where it was not measured.

        ``DetailOptions(durations=True)`` asks for it.
        """
        return self._fields[_DURATION] if self._fields[_FLAGS] & DURATION else None

    @property
    def raw(self) -> tuple[int, ...]:
        """The arguments as the kernel passed them: unsigned integers, six for a syscall."""
        return self._decoder.raw.unpack_from(self._data, HEADER_BYTES)

    @property
    def unfinished(self) -> bool:
        """Whether the call had not returned when the trace ended."""
        return bool(self._fields[_FLAGS] & UNFINISHED)

    @property
    def image(self) -> dict[str, Value]:
        """What the new program of an exec was given, for arguments that could not be read at the entry."""
        return self.notes().image

    @property
    def stack(self) -> "Stack | None":
        """The stacks from which the call was made, None unless stacks were asked for (``StackOptions``)."""
        return self._decoder.find_stack(self._fields, self._data) if self._fields[_FLAGS] & STACKS else None

    @property
    def args(self) -> Args:
        """The arguments by name, as a mapping and as attributes, such as ``event.args.filename``."""
        return Args(self.decoded())

    @property
    def truncated(self) -> dict[str, int | None]:
        """The true lengths of arguments that were cut, by name. The value is None where the length is unknown."""
        return self.notes().truncated

    @property
    def unreadable(self) -> list[str]:
        """The names of arguments that could not be read, in whole or in part."""
        return self.notes().unreadable

    @property
    def spec(self) -> EventSpec:
        """The specification of the event: its arguments, their types and offsets."""
        return self._decoder.spec

    @property
    def tables(self) -> Tables:
        """The sets, structs and names of errors that go with ``spec``."""
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
        """Return the arguments as a dictionary. The event keeps it: do not change it."""
        return self._args

    def notes(self) -> Notes:
        """Return what is known about the arguments apart from their values."""
        return self._notes

    def to_dict(self) -> dict[str, Value]:
        """Return the event as a dictionary, with the keys of a line of JSON in their order."""
        fields, args = self._fields, self.decoded()
        shown: dict[str, Value] = {
            "ts": fields[_TIMESTAMP] + self._offset_ns,
            "event": self.event,
            "pid": fields[_TGID],
            "tid": fields[_TID],
            "comm": show_comm(self._data[_COMM]),
            "uid": fields[_UID],
            "gid": fields[_GID],
            "cpu": fields[_CPU],
            "seq": fields[_SEQ],
            "cgroup_id": fields[_CGROUP_ID],
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
        if fields[_FLAGS] & STACKS and (stack := self.stack) is not None:
            shown["stack"] = stack.to_json()
        return shown

    def __repr__(self) -> str:
        return f"<Event {self.event} pid={self.pid} args={self.decoded()!r} ret={self.ret}>"
