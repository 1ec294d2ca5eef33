"""Compare what strace adds to a result in parentheses: what came out of poll and select."""

import re
from collections.abc import Iterator
from typing import Any, Final

from tests.differential.compare import Comparer, Difference, Kind
from tests.differential.session import Event
from tests.differential.strace_text import Call, Items, Reader, Struct, Value

_LABEL: Final = re.compile(r",?\s*(in|out|except|left) ")
_SELECT: Final = {"in": "inp", "out": "outp", "except": "exp", "left": ("tvp", "tsp", "timeout")}


def compare_note(comparer: Comparer, spec: Kind, event: Event, call: Call) -> Iterator[Difference]:
    """Compare the note of a call that has one; other calls' notes (``Timeout``, ``flags O_RDWR``) tell nothing new."""
    if not call.note or spec["args"][0]["name"] not in ("ufds", "n"):
        return
    for label, value in _read_note(call.note):
        for kind in spec["args"]:
            name, place = kind["name"], f"{event['event']}.{kind['name']}.out"
            ours = event["args"][name]
            if label == "" and name == "ufds":
                yield from _compare_polled(comparer, place, kind, ours, value)
            elif label and name in _SELECT[label] and isinstance(ours, dict):
                yield from comparer.value(place, kind, ours["out"], value)


def _read_note(note: str) -> Iterator[tuple[str, Value]]:
    reader = Reader(note)
    while reader.at < len(note):
        label = _LABEL.match(note, reader.at)
        if label:
            reader.at = label.end()
        elif not note.startswith("[", reader.at):
            return
        yield (label[1] if label else ""), reader.value(",")


def _compare_polled(comparer: Comparer, place: str, kind: Kind, ours: Any, theirs: Value) -> Iterator[Difference]:
    """strace shows the entries in which something happened."""
    happened = [entry for entry in ours if entry["revents"] != "0"]
    if not isinstance(theirs, Items) or len(theirs.values) != len(happened):
        yield Difference(place, repr(happened), repr(theirs))
        return
    for entry, value in zip(happened, theirs.values, strict=True):
        if isinstance(value, Struct):
            yield from comparer.value(f"{place}[]", kind["element"], entry, value)
