"""Compare the signals that a thread got, and how it ended."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Final

from tests.differential.compare import Comparer, Difference
from tests.differential.session import Event
from tests.differential.strace_text import End, Signal, Struct, Value, Word

Key = tuple[str, object]
END: Final = "end"
INFO: Final = {"kind": "struct", "struct": "siginfo"}


def compare_told(comparer: Comparer, ours: Sequence[Event], theirs: Sequence[Signal | End]) -> Iterator[Difference]:
    """Pair a thread's signals and its end in their order, and compare each pair."""
    our_keys = [_our_key(comparer, event) for event in ours]
    their_keys = [_their_key(comparer, told) for told in theirs]
    matcher = SequenceMatcher(None, our_keys, their_keys, autojunk=False)
    for kind, start, end, their_start, their_end in matcher.get_opcodes():
        if kind == "equal":
            for event, told in zip(ours[start:end], theirs[their_start:their_end], strict=True):
                yield from _compare_pair(comparer, event, told)
        else:
            yield from map(_ours_alone, ours[start:end])
            yield from map(_theirs_alone, theirs[their_start:their_end])


def _our_key(comparer: Comparer, event: Event) -> Key:
    info = event["args"].get("info") or {}
    return event["args"].get("signal", END), comparer.our_thread(info["si_pid"]) if "si_pid" in info else None


def _their_key(comparer: Comparer, told: Signal | End) -> Key:
    """Return a signal's name and who sent it: one child's SIGCHLD must not be paired with another's."""
    if isinstance(told, End):
        return END, None
    sender = told.info.get("si_pid") if isinstance(told.info, Struct) else None
    return told.name, comparer.their_thread(int(sender.text)) if isinstance(sender, Word) else None


def _ours_alone(event: Event) -> Difference:
    place = f"signal.{event['args']['signal']}" if event["event"] == "signal" else "process_exit"
    return Difference(f"{place}.ours_alone", str(event["args"]), "nothing")


def _theirs_alone(told: Signal | End) -> Difference:
    """strace tells what we do not; of a signal, whether the process ignores it."""
    if isinstance(told, End):
        return Difference("process_exit.strace_alone", "nothing", str(told.status))
    who = "ignored" if told.is_ignored else "strace_alone"
    return Difference(f"signal.{told.name}.{who}", "nothing", repr(told.info))


def _compare_pair(comparer: Comparer, event: Event, told: Signal | End) -> Iterator[Difference]:
    if isinstance(told, Signal):
        ours, place = event["args"]["info"], f"signal.{told.name}"
        yield from comparer.value(place, INFO, ours, told.info)
        yield from _not_shown(place, ours, told.info)
    elif event["args"]["status"] != told.status:
        place = "process_exit.status" if told.status else "process_exit.superseded"
        yield Difference(place, str(event["args"]["status"]), str(told.status))


def _not_shown(place: str, ours: Mapping[str, object], theirs: Value) -> Iterator[Difference]:
    """Find what we alone show of a signal; strace leaves ``si_errno`` out where it is 0."""
    shown = {name for name, _ in theirs.members} if isinstance(theirs, Struct) else set()
    for name, value in ours.items():
        if name not in shown and (name, value) != ("si_errno", 0):
            yield Difference(f"{place}.{name}.shown", repr(value), "not shown")
