"""What is to be loaded: objects of a battery, and which of their programs serve a hook."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from traceleft.battery import Battery, Release
from traceleft.errors import BatteryError, UnsupportedError
from traceleft.tracer.spec import EventSpec, Schema

LEVEL: Final = "5.8"
CORE: Final = "core"
CORE_PROGRAMS: Final = {
    "dispatch_enter": "dispatch_enter",
    "dispatch_exit": "dispatch_exit",
    "dispatch_tp_enter": "dispatch_tp_enter",
    "dispatch_tp_exit": "dispatch_tp_exit",
    "on_fork": "on_fork",
    "on_exec": "on_exec",
    "on_exit": "on_exit",
}
ROLES: Final[Mapping[str, tuple[str, ...]]] = {
    "raw_tracepoint": ("raw_enter", "raw_exit"),
    "tracepoint": ("tp_enter", "tp_exit"),
    "kprobe": ("kprobe", "kretprobe"),
}
EVENT_ROLE: Final = "event"


@dataclass(frozen=True, slots=True)
class Part:
    """One event's object, and its programs by role."""

    spec: EventSpec
    data: bytes
    programs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Plan:
    """All objects of a trace, and the hook that they are for."""

    hook: str
    core: bytes
    parts: tuple[Part, ...]
    core_programs: Mapping[str, str]

    @property
    def needs_entry(self) -> bool:
        """Whether some event cannot be told from its exit alone."""
        return any(part.spec.entry != "none" for part in self.parts if part.spec.kind == "syscall")

    @property
    def highest_id(self) -> int:
        """The highest event id."""
        return max((part.spec.id for part in self.parts), default=0)


def make_plan(
    battery: Battery, release: Release, schema: Schema, events: Iterable[str], *, hook: str, level: str = LEVEL
) -> Plan:
    """Take the objects of these events for a hook out of a battery.

    Raise BatteryError where the battery lacks one or it does not belong to the schema, UnsupportedError where the hook
    cannot serve an event.
    """
    core = release.core.get(level)
    if core is None:
        raise _lacking(battery, f"holds nothing for level {level}; build it with --level {level}")
    parts = tuple(_make_part(battery, release, schema.events[name], hook, level) for name in events)
    return Plan(hook, battery.object_bytes(core), parts, CORE_PROGRAMS)


def _make_part(battery: Battery, release: Release, spec: EventSpec, hook: str, level: str) -> Part:
    digest = release.events.get(spec.name, {}).get(level)
    if digest is None:
        raise _lacking(battery, f"holds no object of {spec.name} for level {level}; generate and build it again")
    entry = battery.entry(digest)
    if entry.layout != spec.digest:
        raise _lacking(battery, f"the object of {spec.name} and the schema disagree on its layout; build it again")
    roles = _roles_of(spec, hook)
    programs = {program.role: program.name for program in entry.programs if program.role in roles}
    if not programs:
        raise _lacking(battery, f"the object of {spec.name} has no program for {hook}; build it again")
    return Part(spec, battery.object_bytes(digest), programs)


def _lacking(battery: Battery, what: str) -> BatteryError:
    return BatteryError(what, path=str(battery.path))


def _roles_of(spec: EventSpec, hook: str) -> tuple[str, ...]:
    if spec.kind == "tracepoint":
        return (EVENT_ROLE,)
    if hook == "raw_tracepoint" and spec.number is None:
        raise UnsupportedError(
            f"{spec.name} on a raw tracepoint", "its syscall number is not known: use --attach tracepoint"
        )
    return ROLES[hook]
