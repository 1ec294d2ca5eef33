"""The floor of an object: the oldest kernel that can load it, read from its bytes, and why.

Below 5.8, what the verifier refuses counts too (verifier.py, walk.py). What a newer one refuses is not in the bytes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from traceleft.battery.level import Level
from traceleft.battery.objects.elf import ObjectFacts, inspect_object
from traceleft.battery.objects.map_btf import MapFacts
from traceleft.battery.objects.program import ProgramFacts
from traceleft.battery.since import NEVER, OLDEST, Kernel, Since, load_since
from traceleft.battery.verifier.before_4_11 import judge_old
from traceleft.battery.verifier.encoding import NOT_FOLLOWED
from traceleft.battery.verifier.era import ERAS, UNRULED
from traceleft.battery.verifier.hazard import find_hazards
from traceleft.battery.verifier.shape import Refusal, Verdict
from traceleft.battery.verifier.verifier_rules import CONTEXTS, RULES, Rules
from traceleft.battery.verifier.walk import judge
from traceleft.errors import BatteryError

# Programs of the core that the tracer loads only on kernels that have what they need (roles.py); another stands in.
OPTIONAL: Final = frozenset(
    {"dispatch_enter_task", "dispatch_exit_task", "rollup_enter_task", "rollup_exit_task", "count_raw_exit_task"}
)
FLAG_BITS: Final = 32
# Each verifier's rules end where those of the next begin.
STARTS: Final = (*(rules.kernel for rules in RULES), *(era.kernel for era in ERAS))
ENDS: Final = dict(zip(STARTS, (*STARTS[1:], UNRULED), strict=True))
# What makes addresses that the rules do not follow, and no instruction shows.
WITH_ADDRESSES: Final = frozenset({"global_data", "callback", "kernel_symbol"})


@dataclass(frozen=True, slots=True, order=True)
class Reason:
    """Something that an object needs: ``place`` (a program, a map) has ``what``, for which ``kernel`` is the first."""

    kernel: Kernel
    place: str
    what: str

    def __str__(self) -> str:
        needs = "which no kernel takes" if self.kernel == NEVER else f"which needs {self.kernel}"
        return f"{self.place} has {self.what}, {needs}"


@dataclass(frozen=True, slots=True)
class Floor:
    """The oldest kernel that can load an object, and all that it needs, what is newest first."""

    kernel: Kernel
    reasons: tuple[Reason, ...]

    def above(self, kernel: Kernel) -> tuple[Reason, ...]:
        """Return what keeps the object from loading on a kernel."""
        return tuple(reason for reason in self.reasons if reason.kernel > kernel)


def find_floor(data: bytes) -> Floor:
    """Return the floor of an object's bytes. Raises BatteryError for bytes that are not an eBPF object."""
    return floor_of(inspect_object(data))


def floor_of(facts: ObjectFacts) -> Floor:
    """Return the floor of an object that was inspected."""
    since = load_since()
    programs = [program for program in facts.programs if program.name not in OPTIONAL]
    found = {reason for program in programs for reason in _of_program(program, since)}
    found |= {reason for each in facts.maps for reason in _of_map(each, since)}
    if facts.needs_kernel_btf:
        found.add(_feature("core_relocation", "the object", since))
    found |= {reason for program in facts.programs for reason in _of_hazards(program)}
    kernel = max((OLDEST, *(reason.kernel for reason in found)))
    if kernel < UNRULED:
        found |= {reason for program in programs for reason in _of_verifiers(program, facts.maps, kernel)}
    reasons = sorted(found, key=lambda reason: (-reason.kernel.major, -reason.kernel.minor, reason))
    return Floor(max((OLDEST, *(reason.kernel for reason in reasons))), tuple(reasons))


def check_floor(floor: Floor, level: Level) -> None:
    """Refuse an object that needs more than its level gives: BatteryError with the newest thing that it needs.

    What kernels refuse is named before what only the rules do not follow.
    """
    above = floor.above(level.kernel)
    if above:
        reason = next((each for each in above if NOT_FOLLOWED not in each.what), above[0])
        raise BatteryError(f"{reason}; level {level.name} is for kernels from {level.kernel} on")


def _of_program(program: ProgramFacts, since: Since) -> Iterator[Reason]:
    place = f"program {program.name}"
    kind = since.sections.get(program.section.split("/")[0])
    if kind is None:
        yield Reason(NEVER, place, f"a section, {program.section}, of an unknown type")
    else:
        yield Reason(kind.since, place, f"the type {kind.name}")
    count, limit = program.instructions, since.limit(OLDEST)
    if count > limit:
        yield Reason(since.takes(count), place, f"{count} instructions")
    if program.stack_bytes > since.stack_bytes:
        yield Reason(NEVER, place, f"{program.stack_bytes} bytes on the stack of {since.stack_bytes}")
    for feature in program.features:
        yield _feature(feature, place, since)
    for number in program.helpers:
        yield _of_helper(number, place, since)


def _of_hazards(program: ProgramFacts) -> Iterator[Reason]:
    """Yield what may never be loaded, wherever that would do no harm."""
    for each in find_hazards(program.code, program.maps):
        yield Reason(NEVER, f"program {program.name}", str(each))


def _of_verifiers(program: ProgramFacts, maps: Sequence[MapFacts], kernel: Kernel) -> Iterator[Reason]:
    """Yield what verifiers from a kernel on refuse of a program; that it lacks nothing there is known.

    One refusal of two verifiers is one reason. What rules refuse needs what comes after them; they do not matter to a
    program that needs that anyway.
    """
    found = {str(refusal): ENDS[first] for first, refusal in _refusals(program, maps, kernel) if refusal}
    for what, first in found.items():
        yield Reason(first, f"program {program.name}", what)


def _refusals(
    program: ProgramFacts, maps: Sequence[MapFacts], kernel: Kernel
) -> Iterator[tuple[Kernel, Refusal | None]]:
    """Yield what each verifier refuses, by the first kernel that has it; up to one that speaks for all later ones."""
    by_name = {each.name: each for each in maps}
    used = {at: by_name[name] for at, name in program.maps.items() if name in by_name}
    kind = load_since().sections[program.section.split("/")[0]].name
    missed = _not_followed(program, kind)
    for rules in (*RULES, *ERAS):
        if kernel >= ENDS[rules.kernel]:
            continue
        if missed is not None:
            verdict = Verdict(missed)
        elif isinstance(rules, Rules):
            verdict = judge_old(program.code, used, context=CONTEXTS[kind], rules=rules)
        else:
            verdict = judge(program.code, used, context=CONTEXTS[kind], era=rules, kernel=kernel)
        yield rules.kernel, verdict.refusal
        if verdict.is_plain:
            return


def _not_followed(program: ProgramFacts, kind: str) -> Refusal | None:
    """Return what makes a program one that no rules follow."""
    features = sorted(program.features & WITH_ADDRESSES)
    if kind in CONTEXTS and not features:
        return None
    what = load_since().features[features[0]].name if features else f"the type {kind}"
    return Refusal(0, f"{what}{NOT_FOLLOWED}")


def _of_helper(number: int, place: str, since: Since) -> Reason:
    helper = since.helper(number)
    if helper is None:
        return Reason(NEVER, place, f"a call of helper {number}, which is not known")
    if helper.tracing is None:
        return Reason(NEVER, place, f"a call of {helper.name} (helper {number}), not for tracing")
    return Reason(helper.tracing, place, f"a call of {helper.name} (helper {number})")


def _of_map(each: MapFacts, since: Since) -> Iterator[Reason]:
    place = f"map {each.name}"
    kind = since.map_types.get(each.type)
    yield Reason(kind.since if kind else NEVER, place, f"the type {kind.name if kind else each.type}")
    for bit in range(FLAG_BITS):
        if each.flags >> bit & 1:
            flag = since.map_flags.get(1 << bit)
            yield Reason(flag.since if flag else NEVER, place, f"the flag {flag.name if flag else hex(1 << bit)}")


def _feature(name: str, place: str, since: Since) -> Reason:
    thing = since.features.get(name)
    return Reason(thing.since, place, thing.name) if thing else Reason(NEVER, place, "an instruction that is not known")
