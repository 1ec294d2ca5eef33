"""Compare two traces of one program, thread by thread and call by call."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any

from tests.differential.compare import Comparer, Difference, Kind
from tests.differential.notes import compare_note
from tests.differential.numbers import NUMBERS, literal, number
from tests.differential.rules import DROPPED, EXCUSED, SKIPPED, find
from tests.differential.session import Event, Thread, Traced
from tests.differential.strace_text import Call, Value, Word
from tests.differential.told import compare_told

# strace shows clone's arguments by name, in an order of its own.
CLONE_ARGUMENTS = {
    "flags": "clone_flags",
    "child_stack": "newsp",
    "parent_tid": "parent_tidptr",
    "child_tidptr": "child_tidptr",
    "tls": "tls",
}


@dataclass(slots=True)
class Outcome:
    """What comparing one program's traces gave."""

    program: str
    hook: str
    threads: int = 0
    calls: int = 0
    told: int = 0
    values: int = 0
    dropped: int = 0
    excused: Counter[str] = field(default_factory=Counter)
    unexplained: list[str] = field(default_factory=list)

    @property
    def where(self) -> set[str]:
        """What a rule may be restricted to."""
        return {self.program, self.hook, f"{self.program}@{self.hook}"}

    def drops(self, name: str, error: str) -> bool:
        """Tell whether a call is left out."""
        return find(DROPPED, f"{name}.{error}", self.where) is not None

    def note(self, differences: Iterator[Difference], where: str) -> None:
        """Book differences as excused or as unexplained."""
        for difference in differences:
            rule = find(EXCUSED, difference.place, self.where)
            if rule:
                self.excused[rule.reason] += 1
            else:
                self.unexplained.append(
                    f"{where} {difference.place}: {difference.ours} but strace: {difference.theirs}"
                )


def compare_traces(program: str, hook: str, traced: Traced, schema: Mapping[str, Any]) -> Outcome:
    """Compare all threads of two traces."""
    outcome = Outcome(program, hook)
    tables = schema["tables"]
    comparer = Comparer(tables["sets"], tables["structs"], traced.our_threads.name, traced.their_threads.name)
    kernel_names = {alias: name for name, event in schema["events"].items() for alias in event["aliases"]}
    for thread in sorted(traced.threads()):
        ours = [e for e in traced.ours.get(thread, []) if not outcome.drops(e["event"], e["error"] or "")]
        every = [(kernel_names.get(call.name, call.name), call) for call in traced.theirs.get(thread, [])]
        theirs = [(name, call) for name, call in every if not outcome.drops(name, call.error)]
        outcome.threads += 1
        outcome.dropped += len(every) - len(theirs)
        for event, call in align(thread, ours, theirs, outcome):
            spec = schema["events"][event["event"]]
            outcome.calls += 1
            outcome.values += len(call.args) + 1
            outcome.note(compare_call(comparer, spec, event, call), f"{thread} {event['event']}[{outcome.calls}]")
        our_told, their_told = traced.our_told.get(thread, []), traced.their_told.get(thread, [])
        outcome.told += len(their_told)
        outcome.note(compare_told(comparer, our_told, their_told), f"{thread}")
    if traced.ledger["compat"] != traced.compat:
        outcome.unexplained.append(f"{traced.ledger['compat']} calls of 32-bit code, but strace: {traced.compat}")
    return outcome


def align(
    thread: Thread, ours: list[Event], theirs: list[tuple[str, Call]], outcome: Outcome
) -> Iterator[tuple[Event, Call]]:
    """Pair the calls of a thread; what has no partner is a difference."""
    our_names, their_names = [event["event"] for event in ours], [name for name, _ in theirs]
    matcher = SequenceMatcher(None, our_names, their_names, autojunk=False)
    for kind, start, end, their_start, their_end in matcher.get_opcodes():
        if kind == "equal":
            pairs = zip(ours[start:end], theirs[their_start:their_end], strict=True)
            yield from ((event, call) for event, (_, call) in pairs)
        else:
            mine, other = our_names[start:end], their_names[their_start:their_end]
            outcome.unexplained.append(f"{thread} calls from {start}: {mine} but strace: {other}")


def compare_call(comparer: Comparer, spec: Kind, event: Event, call: Call) -> Iterator[Difference]:
    """Compare one call: each argument that strace shows, then the result."""
    name = event["event"]
    by_name = {kind["name"]: kind for kind in spec["args"]}
    had = [kind for kind in spec["args"] if kind["name"] in event["args"]]
    kinds = [kind for kind in had if not is_skipped(f"{name}.{kind['name']}", event)]
    shown = set()
    for index, (label, value) in enumerate(call.args):
        label = CLONE_ARGUMENTS.get(label, label)
        kind = by_name.get(label) if label else kinds[index] if index < len(kinds) else None
        if kind is None:
            yield Difference(f"{name}.{label or index}", "no such argument", repr(value))
        else:
            shown.add(kind["name"])
            yield from compare_argument(comparer, narrow(kind, event), event, value)
    for kind in kinds:
        if kind["name"] not in shown:
            yield Difference(f"{name}.{kind['name']}.shown", repr(event["args"][kind["name"]]), "not shown")
    yield from compare_result(comparer, spec, event, call)
    yield from compare_note(comparer, spec, event, call)


def is_skipped(place: str, event: Event) -> bool:
    """Tell whether strace's list has no place for an argument, or none with this event's operation."""
    return place in SKIPPED and SKIPPED[place][0] in event["args"].get("op", "")


def compare_argument(comparer: Comparer, kind: Kind, event: Event, value: Value) -> Iterator[Difference]:
    """Compare an argument; where strace shows only its address, that one at least."""
    argument, place = kind["name"], f"{event['event']}.{kind['name']}"
    ours, is_cut = event["args"][argument], argument in event.get("truncated", {})
    found = list(comparer.argument(place, kind, ours, value, is_cut=is_cut))
    if found and "slot" in kind and isinstance(value, Word) and literal(value.text) == event["raw"][kind["index"]]:
        yield Difference(f"{place}.address", repr(ours), value.text)
    elif found and "slot" not in kind and not isinstance(value, Word):
        yield Difference(f"{place}.pointee", repr(ours), repr(value))
    else:
        yield from found


def narrow(kind: Kind, event: Event) -> Kind:
    """Return an argument's kind, by the value of the argument that tells it where it has cases."""
    while "cases" in kind:
        cases, kind = kind["cases"], {name: value for name, value in kind.items() if name != "cases"}
        selector = event["raw"][cases["arg"]] & 0xFFFFFFFF
        kind = {**kind, **cases["kinds"].get(str(selector), {})}
    return kind


def compare_result(comparer: Comparer, spec: Kind, event: Event, call: Call) -> Iterator[Difference]:
    """Compare the result and the error."""
    ours, place = event["ret"], f"{event['event']}.ret"
    shown = f"{ours} {event['error']}"
    if call.error or event["error"]:
        if call.error != event["error"]:
            yield Difference(place, shown, f"{call.ret} {call.error}")
        return
    theirs = None if call.ret == "?" else literal(call.ret)
    if theirs is None:
        theirs = None if call.ret == "?" else number(call.ret, NUMBERS)
    if ours is None or theirs is None:
        same = ours is None and call.ret == "?"
    elif spec.get("ret", {}).get("kind") == "pid" or is_child(comparer, event, theirs):
        same = comparer.our_thread(ours) == comparer.their_thread(theirs)
    else:
        same = ours & (2**64 - 1) == theirs & (2**64 - 1)
    if not same:
        yield Difference(place, shown, call.ret)


def is_child(comparer: Comparer, event: Event, theirs: int) -> bool:
    """Tell whether rt_sigreturn gives back what wait4 or fork did: a process of the trace."""
    return event["event"] == "rt_sigreturn" and theirs > 0 and isinstance(comparer.their_thread(theirs), tuple)
