"""What a compiled object must be before it goes into a battery."""

from dataclasses import dataclass
from typing import Final

from traceleft.battery.builder.generated_source import CORE, Layout, SourceFile
from traceleft.battery.level import Level
from traceleft.battery.manifest import Hook, ProgramEntry
from traceleft.battery.objects.elf import ObjectFacts, inspect_object, record_layout
from traceleft.battery.objects.program import ProgramFacts
from traceleft.battery.since import Kernel
from traceleft.battery.verifier.floor import check_floor, floor_of
from traceleft.errors import BatteryError, CompileError

HEADER_BYTES: Final = 80
WORD_BYTES: Final = 8

HANDLER_ROLES: Final[dict[str, Hook]] = {
    "raw_enter": "raw_tp",
    "raw_exit": "raw_tp",
    "tp_enter": "tp",
    "tp_exit": "tp",
    "kprobe": "kprobe",
    "kprobe_plain": "kprobe",
    "kretprobe": "kprobe",
    "raw_prepare": "raw_tp",
    "tp_prepare": "tp",
    "kprobe_prepare": "kprobe",
    "event": "tp",
}
CORE_ROLES: Final[dict[str, Hook]] = {
    "dispatch_enter": "raw_tp",
    "dispatch_exit": "raw_tp",
    "rollup_enter": "raw_tp",
    "rollup_exit": "raw_tp",
    "dispatch_enter_task": "raw_tp",
    "dispatch_exit_task": "raw_tp",
    "rollup_enter_task": "raw_tp",
    "rollup_exit_task": "raw_tp",
    "dispatch_tp_enter": "tp",
    "dispatch_tp_exit": "tp",
    "count_raw_exit": "raw_tp",
    "count_raw_exit_task": "raw_tp",
    "count_tp_exit": "tp",
    "other_exit": "raw_tp",
    "other_tp_enter": "tp",
    "other_tp_exit": "tp",
    "tp_signal": "tp",
    "tp_process_exit": "tp",
    "raw_signal": "raw_tp",
    "raw_signal_sent": "raw_tp",
    "raw_process_exit": "raw_tp",
    "kprobe_process_exit": "kprobe",
    "tp_uring": "tp",
    "raw_uring": "raw_tp",
    "find_status": "tp",
    "on_fork": "tp",
    "on_exec": "tp",
    "on_exit": "tp",
    "raw_on_fork": "raw_tp",
    "raw_on_exec": "raw_tp",
    "raw_on_exit": "raw_tp",
    "kprobe_find_pid": "kprobe",
    "kprobe_on_exec_begin": "kprobe",
    "kprobe_on_exec": "kprobe",
    "kprobe_on_free": "kprobe",
    "kprobe_on_fork": "kprobe",
    "kprobe_on_exit": "kprobe",
}


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found of an object that passed: its programs, and the oldest kernel that can load it."""

    programs: tuple[ProgramEntry, ...]
    floor: Kernel


def check_object(source: SourceFile, level: Level, data: bytes) -> Checked:
    """Check an object that still has its debug data: programs, floor, layout.

    Raises CompileError that names the source.
    """
    try:
        facts = inspect_object(data)
        if not facts.has_btf:
            raise BatteryError("has no BTF, which its maps need")
        programs = tuple(_program(source, program) for program in facts.programs)
        if not programs:
            raise BatteryError("has no program")
        floor = floor_of(facts)
        check_floor(floor, level)
        if source.layout is not None:
            _check_layout(source.layout, facts, record_layout(data, f"{source.identifier}_record"))
    except BatteryError as exc:
        raise CompileError(f"{source.file}: {exc}", source=source.file, log="") from exc
    return Checked(programs, floor.kernel)


def _program(source: SourceFile, facts: ProgramFacts) -> ProgramEntry:
    role, hook = _role(source, facts.name)
    return ProgramEntry(facts.name, role, hook, facts.section, facts.instructions, facts.helpers)


def _role(source: SourceFile, name: str) -> tuple[str, Hook]:
    """Read a program's role from its name."""
    roles = CORE_ROLES if source.event == CORE else HANDLER_ROLES
    suffix = "" if source.event == CORE else f"_{source.identifier}"
    role = name.removesuffix(suffix)
    if role not in roles or name != f"{role}{suffix}":
        raise BatteryError(f"program {name} must be one of {', '.join(f'{known}{suffix}' for known in roles)}")
    return role, roles[role]


def _check_layout(layout: Layout, facts: ObjectFacts, found: dict[str, tuple[int, int]]) -> None:
    """Hold the C structure, as compiled, against the schema's layout."""
    if facts.layout != layout.digest:
        raise BatteryError("its layout is not the schema's; generate again")
    wanted = {"header": (0, HEADER_BYTES), "args": (HEADER_BYTES, WORD_BYTES * layout.args)}
    wanted |= {slot.name: (slot.offset, WORD_BYTES) for slot in layout.slots}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            is_at, belongs_at = _say(found.get(name)), _say(wanted.get(name))
            raise BatteryError(f"its record's {name} is {is_at}, in the schema {belongs_at}; generate again")
    end = max(offset + size for offset, size in wanted.values())
    if end != layout.fixed_size:
        raise BatteryError(f"its record ends at {end}, in the schema at {layout.fixed_size}; generate again")


def _say(place: tuple[int, int] | None) -> str:
    return "not there" if place is None else f"{place[1]} bytes at {place[0]}"
