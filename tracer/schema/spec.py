"""What a schema says of events, as frozen values that were checked.

``traceleft.tracer.schema.load`` makes them from a document; everything that decodes works from them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from traceleft.expression import Catalogue

SCALAR_KINDS: Final = frozenset(
    {
        *("int", "hex", "pointer", "fd", "dirfd", "mode", "set", "dev", "pid", "uid", "char", "wait_status"),
        *("futex_wake_op", "none"),
    }
)
POINTER_KINDS: Final = frozenset(
    {
        *("path", "text", "buffer", "struct", "array", "value", "sockaddr", "strings", "iovec", "msghdr"),
        *("sigset", "fdset", "bytes"),
    }
)
MEMBER_KINDS: Final = SCALAR_KINDS | {"struct", "array", "text", "sockaddr", "sigset"}


@dataclass(frozen=True, slots=True)
class SetSpec:
    """Names of a value's parts: ``value & mask`` is looked up, the rest is named bit by bit; ``zero`` names nothing.

    The bits ``octal`` are permissions, a number in octal.
    """

    name: str
    width: int
    mask: int
    values: tuple[tuple[int, str], ...]
    bits: tuple[tuple[int, str], ...]
    zero: str = "0"
    octal: int = 0


@dataclass(frozen=True, slots=True)
class ValueSpec:
    """One value's kind, and what that kind needs; ``width`` in bytes, ``size`` is one element's."""

    kind: str
    width: int = 8
    signed: bool = False
    set_name: str = ""
    struct_name: str = ""
    element: "ValueSpec | None" = None
    count: int = 0
    size: int = 0
    show: str = ""
    cases: "CasesSpec | None" = None


@dataclass(frozen=True, slots=True)
class CasesSpec:
    """What a value is instead where argument ``arg``, its low 32 bits, holds one of the numbers.

    The bits ``ignore`` of that argument do not count.
    """

    arg: int
    kinds: tuple[tuple[int, ValueSpec], ...]
    ignore: int = 0

    def number(self, register: int) -> int:
        """Return what is looked up of the argument's register."""
        return register & 0xFFFFFFFF & ~self.ignore


@dataclass(frozen=True, slots=True)
class MemberSpec:
    """A member of a struct; present only while each member that ``when`` names holds one of the values given for it."""

    name: str
    offset: int
    value: ValueSpec
    when: tuple[tuple[str, frozenset[int]], ...] = ()


@dataclass(frozen=True, slots=True)
class StructSpec:
    """A struct as UAPI has it."""

    name: str
    size: int
    members: tuple[MemberSpec, ...]


@dataclass(frozen=True, slots=True)
class ArgSpec:
    """An argument of a syscall or a field of a tracepoint; slots are indices, None where there are none.

    Without ``on_zero`` what was captured means nothing when the call returned 0; where there are ``errors``, it means
    nothing when the call failed with another error.
    """

    name: str
    type: str
    index: int
    value: ValueSpec
    direction: Literal["in", "out", "inout"] = "in"
    slot: int | None = None
    slot_out: int | None = None
    length_arg: int | None = None
    on_zero: bool = True
    errors: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class SlotSpec:
    """Where a captured pointer's slot lies in the record's fixed part."""

    name: str
    offset: int
    at: Literal["entry", "exit"]


@dataclass(frozen=True, slots=True)
class EventSpec:
    """One event: how its records are laid out and what its arguments mean."""

    name: str
    id: int
    kind: Literal["syscall", "tracepoint"]
    number: int | None
    aliases: tuple[str, ...]
    classes: tuple[str, ...]
    format: str
    borrowed: bool
    entry: Literal["none", "number", "save", "emit"]
    ret: ValueSpec
    fixed_size: int
    args_count: int
    slots: tuple[SlotSpec, ...]
    digest: str
    args: tuple[ArgSpec, ...]


@dataclass(frozen=True, slots=True)
class Tables:
    """What events share: sets, structs, errno names and the byte order of all records."""

    sets: Mapping[str, SetSpec] = field(default_factory=dict)
    structs: Mapping[str, StructSpec] = field(default_factory=dict)
    errno: Mapping[int, str] = field(default_factory=dict)
    byte_order: Literal["little", "big"] = "little"


@dataclass(frozen=True, slots=True)
class Schema:
    """All events of one release of a kernel."""

    machine: str
    release: str
    events: Mapping[str, EventSpec]
    tables: Tables


def make_catalogue(specs: Mapping[str, EventSpec]) -> Catalogue:
    """Return what event expressions choose from, of these events."""
    classes: dict[str, set[str]] = {}
    for name, spec in specs.items():
        for each in spec.classes:
            classes.setdefault(each, set()).add(name)
    return Catalogue(
        names=frozenset(specs),
        aliases={name: spec.aliases for name, spec in specs.items()},
        classes={name: frozenset(members) for name, members in classes.items()},
    )
