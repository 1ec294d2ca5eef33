"""What the decoders that ``traceleft generate`` renders stand on.

A rendered decoder is typed code for people to import; the tracer itself never runs one. Its values are those of
``traceleft.tracer.decode.decoder``.
"""

from dataclasses import dataclass
from typing import TypedDict

from traceleft.tracer.decode.decoder import Decoder
from traceleft.tracer.decode.event import Event
from traceleft.tracer.decode.fixed_part import Fields, Notes
from traceleft.tracer.decode.signals import show_wait_status
from traceleft.tracer.decode.value import ABSENT, Value
from traceleft.tracer.decode.values import compile_set, show_char, show_dirfd, show_pointer, show_uid
from traceleft.tracer.schema.load import load_schema

__all__ = [
    "ABSENT",
    "Fields",
    "Header",
    "Notes",
    "Value",
    "compile_set",
    "make_decoder",
    "read_header",
    "show_char",
    "show_dirfd",
    "show_pointer",
    "show_uid",
    "show_wait_status",
]


@dataclass(frozen=True, slots=True)
class Header:
    """What every event tells, whatever its arguments."""

    ts: int
    event: str
    pid: int
    tid: int
    comm: str
    uid: int
    gid: int
    cpu: int
    seq: int
    cgroup_id: int
    ret: int | None
    error: str | None
    duration_ns: int | None
    raw: tuple[int, ...]
    unfinished: bool
    truncated: dict[str, int | None]
    unreadable: list[str]
    image: dict[str, Value]

    def to_object(self, args: dict[str, Value]) -> dict[str, Value]:
        """Return the event with these arguments as the object that JSON shows."""
        before = ("ts", "event", "pid", "tid", "comm", "uid", "gid", "cpu", "seq", "cgroup_id")
        shown: dict[str, Value] = {name: getattr(self, name) for name in before}
        shown |= {"args": args, "ret": self.ret, "error": self.error, "duration_ns": self.duration_ns}
        if self.truncated:
            shown["truncated"] = {**self.truncated}
        if self.unreadable:
            shown["unreadable"] = [*self.unreadable]
        if self.image:
            shown["image"] = {**self.image}
        return shown


class HeaderValues(TypedDict):
    """The values of a ``Header``, by name."""

    ts: int
    event: str
    pid: int
    tid: int
    comm: str
    uid: int
    gid: int
    cpu: int
    seq: int
    cgroup_id: int
    ret: int | None
    error: str | None
    duration_ns: int | None
    raw: tuple[int, ...]
    unfinished: bool
    truncated: dict[str, int | None]
    unreadable: list[str]
    image: dict[str, Value]


def make_decoder(document: object) -> Decoder:
    """Return the decoder of the one event of a schema document."""
    schema = load_schema(document)
    (spec,) = schema.events.values()
    return Decoder(spec, schema.tables)


def read_header(decoder: Decoder, fields: Fields, data: bytes, notes: Notes, offset_ns: int) -> HeaderValues:
    """Return what a ``Header`` is made of; ``notes`` are those that reading the arguments left."""
    event = Event(decoder, data, offset_ns, fields)
    return {
        "ts": event.ts,
        "event": event.event,
        "pid": event.pid,
        "tid": event.tid,
        "comm": event.comm,
        "uid": event.uid,
        "gid": event.gid,
        "cpu": event.cpu,
        "seq": event.seq,
        "cgroup_id": event.cgroup_id,
        "ret": event.ret,
        "error": event.error,
        "duration_ns": event.duration_ns,
        "raw": event.raw,
        "unfinished": event.unfinished,
        "truncated": notes.truncated,
        "unreadable": notes.unreadable,
        "image": notes.image,
    }
