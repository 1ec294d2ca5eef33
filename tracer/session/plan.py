"""What is to be loaded: objects of a battery, and which of their programs serve a hook."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from traceleft.battery import Battery, Release
from traceleft.errors import BatteryError, UnsupportedError
from traceleft.tracer.kernel.levels import LEVELS, Level
from traceleft.tracer.schema import core as core_events
from traceleft.tracer.schema.spec import EventSpec, Schema

CORE: Final = "core"
ROLES: Final[Mapping[str, tuple[str, ...]]] = {
    "raw_tracepoint": ("raw_enter", "raw_exit"),
    "tracepoint": ("tp_enter", "tp_exit"),
    "kprobe": ("kprobe", "kprobe_plain", "kretprobe"),
}
EVENT_ROLE: Final = "event"


@dataclass(frozen=True, slots=True)
class Part:
    """One event's object, and its programs by role; `symbol` is the function that its kprobes are for.

    The events of ``core_events`` have no object: their programs are the core's.
    """

    spec: EventSpec
    data: bytes
    programs: Mapping[str, str]
    symbol: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """All objects of a trace, and the hook and level that they are for; ``notices`` are lines for the user.

    ``unknown`` are the numbers whose calls are shown as the one event ``unknown``.
    """

    hook: str
    core: bytes
    parts: tuple[Part, ...]
    core_programs: Mapping[str, str]
    level: Level = LEVELS["5.8"]
    notices: tuple[str, ...] = ()
    unknown: tuple[int, ...] = ()

    @property
    def needs_entry(self) -> bool:
        """Whether some event cannot be known from its exit alone."""
        return any(part.spec.entry != "none" for part in self.parts if part.spec.kind == "syscall")

    @property
    def highest_id(self) -> int:
        """The highest event id."""
        return max((part.spec.id for part in self.parts), default=0)

    def has_map(self, name: str) -> bool:
        """Whether the core has a map, by its table of names: batteries of before lack some."""
        return b"\0%s\0" % name.encode() in self.core

    def layouts(self) -> dict[int, tuple[int, int, int]]:
        """Return by event how its records are laid out: bytes of the fixed part, arguments, slots."""
        specs = [part.spec for part in self.parts]
        return {spec.id: (spec.fixed_size, spec.args_count, len(spec.slots)) for spec in specs}


def make_plan(
    battery: Battery,
    release: Release,
    schema: Schema,
    events: Iterable[str],
    *,
    hook: str,
    level: Level,
    symbols: Collection[str] = (),
    prepare: tuple[str, ...] = (),
    core_roles: Mapping[str, Iterable[str]] | None = None,
    unknown: tuple[int, ...] = (),
) -> Plan:
    """Take the objects of these events for a hook out of a battery; kprobes need the kernel's symbols of syscalls.

    ``prepare`` are roles of programs that read an exec's strings again (see ``exec_prepare``), ``core_roles`` those of
    the core's own events by name, ``unknown`` are numbers that no event is for.

    Raise BatteryError where the battery lacks one or it does not belong to the schema, UnsupportedError where the hook
    cannot serve an event.
    """
    core = release.core.get(level.name)
    if core is None:
        raise _lacking(battery, f"holds nothing for level {level.name}; build it with --level {level.name}")
    names = [name for name in events if name not in core_events.NAMES]
    parts = tuple(_make_part(battery, release, schema.events[name], hook, level.name, prepare) for name in names)
    if hook == "kprobe":
        parts = tuple(place_kprobe(part, symbols) if part.spec.kind == "syscall" else part for part in parts)
    core_programs = {program.role: program.name for program in battery.entry(core).programs}
    for name, roles in (core_roles or {}).items():
        parts += (Part(schema.events[name], b"", {role: core_programs[role] for role in roles}),)
    return Plan(hook, battery.object_bytes(core), parts, core_programs, level, unknown=unknown)


def held_levels(release: Release, events: Iterable[str]) -> frozenset[str]:
    """Return the levels at which a release has objects of all these events."""
    held = frozenset(release.core)
    return held.intersection(*(release.events.get(name, {}) for name in events if name not in core_events.NAMES))


def place_kprobe(part: Part, symbols: Collection[str]) -> Part:
    """Choose the function of a syscall that this kernel has, and the program that reads its arguments from there.

    UnsupportedError where the kernel has none. Without symbols the newest form is tried.
    """
    name = part.spec.name
    # Since v4.17, syscalls are entered through a wrapper named after the architecture, with one pt_regs *. Older
    # kernels call the function itself; those without arguments never were SyS_.
    forms = [("kprobe", f"__x64_sys_{name}"), ("kprobe_plain", f"SyS_{name}"), ("kprobe_plain", f"sys_{name}")]
    found = [(role, symbol) for role, symbol in forms if role in part.programs and (not symbols or symbol in symbols)]
    if not found:
        raise UnsupportedError(f"a kprobe for {name}", f"this kernel has no such function; leave it out: -e '!{name}'")
    role, symbol = found[0]
    others = {found_role for found_role, _ in forms} - {role}
    programs = {each: program for each, program in part.programs.items() if each not in others}
    return replace(part, programs=programs, symbol=symbol)


def _make_part(
    battery: Battery, release: Release, spec: EventSpec, hook: str, level: str, prepare: tuple[str, ...]
) -> Part:
    digest = release.events.get(spec.name, {}).get(level)
    if digest is None:
        raise _lacking(battery, f"holds no object of {spec.name} for level {level}; generate and build it again")
    entry = battery.entry(digest)
    if entry.layout != spec.digest:
        raise _lacking(battery, f"the object of {spec.name} and the schema disagree on its layout; build it again")
    held = {program.role for program in entry.programs}
    roles = (*_roles_of(spec, hook), *[role for role in prepare if role in held][:1])
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


ROLLUP_ENTER: Final = "rollup_enter"
ROLLUP_EXIT: Final = "rollup_exit"
