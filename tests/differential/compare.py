"""Compare one argument as we show it in JSON with what strace shows, by the kind that our schema says it has."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.differential.decoded import control_agrees, holds, show_sockaddr
from tests.differential.numbers import MODES, NUMBERS, Names, literal, number, set_names, status_of, unshow, wait_status
from tests.differential.rules import SPELLINGS, stable
from tests.differential.strace_text import Change, Items, Struct, Text, Value, Word

Kind = Mapping[str, Any]
"""An argument, a member or an element as the schema describes it."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two traces differ, and what either shows."""

    place: str
    ours: str
    theirs: str


Found = Iterator[Difference]
ThreadOf = Callable[[int], object]
"""Names a process or thread in a way that is the same in every run."""


@dataclass(frozen=True, slots=True)
class Comparer:
    """Knows the schema's tables, and which threads are which in either trace."""

    sets: Mapping[str, Kind]
    structs: Mapping[str, Kind]
    our_thread: ThreadOf
    their_thread: ThreadOf

    def names(self, name: str) -> Names:
        """Return the numbers of a set's names, strace's spellings included."""
        names = set_names(self.sets[name])
        return names | {theirs: names[ours] for theirs, ours in SPELLINGS.items() if ours in names}

    def argument(self, place: str, kind: Kind, ours: Any, theirs: Value, *, is_cut: bool) -> Found:
        """Compare an argument; ``is_cut`` says that our event marks it as truncated."""
        theirs = _unwrap(theirs)
        if isinstance(ours, dict) and kind.get("direction") == "inout":
            # An integer is shown twice only where it changed; that of a failed call was not read again.
            is_whole = kind["kind"] == "value" and not _is_address(ours["out"])
            before, after = (theirs.before, theirs.after) if isinstance(theirs, Change) else (theirs, theirs)
            yield from self.value(place, kind, ours["in"], before, is_cut=is_cut)
            if is_whole or before is not after:
                yield from self.value(f"{place}.out", kind, ours["out"], after, is_cut=is_cut)
            return
        if isinstance(theirs, Change):
            theirs = theirs.after
        yield from self.value(place, kind, ours, theirs, is_cut=is_cut)

    def value(self, place: str, kind: Kind, ours: Any, theirs: Value, *, is_cut: bool = False) -> Found:
        """Compare a value of any kind."""
        name = kind["kind"]
        if is_cut and isinstance(ours, list) and isinstance(theirs, Items) and len(ours) < len(theirs.values):
            yield Difference(f"{place}.count", str(len(ours)), str(len(theirs.values)))
            theirs = Items(theirs.values[: len(ours)])
        if isinstance(theirs, Word) and _is_address(ours) and name not in ("int", "fd", "pid", "uid", "mode", "set"):
            yield from _same(place, ours, theirs, int(ours or "0", 16) == number(theirs.text, NUMBERS))
        elif name == "buffer" and isinstance(ours, list):  # a mask, shown as the numbers of its bits
            yield from self._fdset(place, kind, ours, theirs)
        elif name in ("path", "text", "buffer", "bytes") or is_undecoded(kind, ours):
            yield from self._text(place, ours, theirs, is_cut=is_cut)
        elif name == "struct":
            yield from self._struct(place, self.structs[kind["struct"]], ours, theirs)
        elif name == "array":
            yield from self._list(place, kind["element"], ours, theirs)
        elif name == "value":
            yield from self._pointed(place, kind["element"], ours, theirs)
        elif name in _SHAPES:
            yield from _SHAPES[name](self, place, kind, ours, theirs)
        else:
            yield from self._scalar(place, kind, ours, theirs)

    def _text(self, place: str, ours: Any, theirs: Value, *, is_cut: bool) -> Found:
        if not isinstance(ours, str):
            yield Difference(place, repr(ours), repr(theirs))
        elif isinstance(theirs, Text):
            mine, yours = stable(unshow(ours), self.our_thread), stable(theirs.data, self.their_thread)
            same = mine == yours and is_cut == theirs.is_cut
            yield from _same(place, f"{ours!r}{'...' * is_cut}", theirs, same)
        else:
            yield from _same(place, ours, theirs, holds(unshow(ours), theirs))

    def _struct(self, place: str, struct: Kind, ours: Any, theirs: Value) -> Found:
        theirs = _as_struct(theirs)
        if not isinstance(ours, dict) or not isinstance(theirs, Struct):
            yield Difference(place, repr(ours), repr(theirs))
            return
        for name, value in theirs.members:
            kinds = [member for member in struct["members"] if member["name"] == name]
            if name not in ours or not kinds:
                yield Difference(f"{place}.{name}", "not there", repr(value))
                continue
            # One of a union's: which, the name that we show tells.
            found = [list(self.value(f"{place}.{name}", kind, ours[name], value)) for kind in kinds]
            yield from min(found, key=len)

    def _list(self, place: str, element: Kind, ours: Any, theirs: Value) -> Found:
        if not isinstance(ours, list) or not isinstance(theirs, Items) or len(ours) != len(theirs.values):
            yield Difference(place, repr(ours), repr(theirs))
            return
        for one, other in zip(ours, theirs.values, strict=True):
            yield from self.value(f"{place}[]", element, one, other)

    def _pointed(self, place: str, element: Kind, ours: Any, theirs: Value) -> Found:
        if isinstance(theirs, Items) and len(theirs.values) == 1:
            theirs = theirs.values[0]
        if isinstance(theirs, Word) and theirs.text.startswith("{WIF"):
            signals = self.names("signal")
            yield from _same(place, ours, theirs, status_of(ours, signals) == wait_status(theirs.text, signals))
        else:
            yield from self._scalar(place, element, ours, theirs)

    def _scalar(self, place: str, kind: Kind, ours: Any, theirs: Value) -> Found:
        name = kind["kind"]
        if isinstance(theirs, Struct):  # a union of a number and an address: epoll's data, a signal's value
            theirs = theirs.get("u64") or theirs.get("sival_ptr") or theirs
        if isinstance(theirs, Change):
            theirs = theirs.after
        names = self.names(kind["set"]) if "set" in kind else MODES if name == "mode" else {}
        known = {**names, **NUMBERS}
        mine = number(ours, known) if isinstance(ours, str) else _as_int(ours)
        yours = number(theirs.text, known) if isinstance(theirs, Word) else None
        if name == "pid" and mine is not None and yours is not None:
            same = self.our_thread(mine) == self.their_thread(yours)
        else:
            ones = (1 << 8 * kind.get("width", 8)) - 1
            same = mine is not None and yours is not None and (mine & ones) == (yours & ones)
        yield from _same(place, ours, theirs, same)

    def _sigset(self, place: str, kind: Kind, ours: Any, theirs: Value) -> Found:
        if not isinstance(theirs, Items) or not isinstance(ours, list):
            yield Difference(place, repr(ours), repr(theirs))
            return
        shown = {f"SIG{word.text}" for word in theirs.values if isinstance(word, Word)}
        if theirs.is_complement:
            shown = set(set_names(self.sets["signal"])) - {"0"} - shown
        yield from _same(place, ours, theirs, {_signal(name) for name in ours} == {_signal(name) for name in shown})

    def _fdset(self, place: str, kind: Kind, ours: Any, theirs: Value) -> Found:
        values = theirs.values if isinstance(theirs, Items) else ()
        yield from _same(place, ours, theirs, ours == [literal(v.text) for v in values if isinstance(v, Word)])

    def _strings(self, place: str, kind: Kind, ours: Any, theirs: Value) -> Found:
        if not isinstance(theirs, Items) or not isinstance(ours, list) or len(ours) != len(theirs.values):
            yield Difference(place, repr(ours), repr(theirs))
            return
        for one, other in zip(ours, theirs.values, strict=True):
            same = unshow(one) == other.data if isinstance(other, Text) and one is not None else one is None
            yield from _same(f"{place}[]", one, other, same)

    def _iovec(self, place: str, kind: Kind, ours: Any, theirs: Value) -> Found:
        if not isinstance(theirs, Items) or not isinstance(ours, list) or len(ours) != len(theirs.values):
            yield Difference(place, repr(ours), repr(theirs))
            return
        for one, other in zip(ours, theirs.values, strict=True):
            base, size = (other.get("iov_base"), other.get("iov_len")) if isinstance(other, Struct) else (None, None)
            if base is None or size is None:
                yield Difference(place, repr(one), repr(other))
            elif isinstance(base, Text) and one["data"] is not None:
                yield from _same(f"{place}[].data", one["data"], base, unshow(one["data"]) == base.data)
            else:
                yield from self._scalar(f"{place}[].base", {"kind": "pointer"}, one["base"], base)
            if size is not None:
                yield from self._scalar(f"{place}[].len", {"kind": "int"}, one["len"], size)

    def _sockaddr(self, place: str, kind: Kind, ours: Any, theirs: Value) -> Found:
        shown = show_sockaddr(theirs) if isinstance(theirs, Struct) else {}
        mine = {key: ours.get(key) for key in shown} if isinstance(ours, dict) else ours
        yield from _same(place, mine, shown or theirs, bool(shown) and mine == shown)

    def _msghdr(self, place: str, kind: Kind, ours: Any, theirs: Value) -> Found:
        if not isinstance(ours, dict) or not isinstance(theirs, Struct):
            yield Difference(place, repr(ours), repr(theirs))
            return
        for name, value in theirs.members:
            if name == "msg_name" and ours["name"] is not None:
                yield from self._sockaddr(f"{place}.name", kind, ours["name"], value)
            elif name == "msg_iov":
                yield from self._iovec(f"{place}.iov", kind, ours["iov"], value)
            elif name == "msg_flags":
                yield from self._scalar(f"{place}.flags", {**kind, "kind": "set"}, ours["flags"], value)
            elif name == "msg_control" and isinstance(value, Items):
                yield from _same(f"{place}.control", ours["control"], value, control_agrees(ours["control"], value))


_SHAPES: Final = {
    "sigset": Comparer._sigset,
    "fdset": Comparer._fdset,
    "strings": Comparer._strings,
    "iovec": Comparer._iovec,
    "sockaddr": Comparer._sockaddr,
    "msghdr": Comparer._msghdr,
}


def is_undecoded(kind: Kind, ours: object) -> bool:
    """Tell whether an option's value is shown as bytes: they were not as many as the option has."""
    named = kind["kind"] == "value" and kind["element"]["kind"] in ("set", "hex", "pointer", "char")
    return kind["kind"] in ("struct", "value") and isinstance(ours, str) and not named


def _same(place: str, ours: object, theirs: object, same: bool) -> Found:
    if not same:
        yield Difference(place, repr(ours), repr(theirs))


def _as_int(ours: object) -> int | None:
    return 0 if ours is None else ours if isinstance(ours, int) else None


def _is_address(ours: object) -> bool:
    return ours is None or (isinstance(ours, str) and ours.startswith("0x"))


def _unwrap(theirs: Value) -> Value:
    """Return ``[128 => 16]`` as what stood there before and after."""
    if isinstance(theirs, Items) and len(theirs.values) == 1 and isinstance(theirs.values[0], Change):
        return theirs.values[0]
    return theirs


def _as_struct(theirs: Value) -> Value:
    """strace abbreviates a timespec that is a request, and struct sched_param."""
    if isinstance(theirs, Word) and theirs.text.startswith("UTIME_"):
        return Struct((("tv_nsec", theirs),))
    if isinstance(theirs, Items) and len(theirs.values) == 1 and isinstance(theirs.values[0], Word):
        return Struct((("sched_priority", theirs.values[0]),))
    return theirs


def _signal(name: str) -> str:
    return {"SIGRTMIN": "SIGRT_0", "SIGRT_32": "SIGRTMAX"}.get(name, name)
