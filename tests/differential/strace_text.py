"""Read what strace wrote with ``-f -o FILE``: calls, signals and ends of threads, arguments as trees of values."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias


@dataclass(frozen=True, slots=True)
class Word:
    """A number, a name, names joined by ``|``, an address: anything but a string, list or struct."""

    text: str


@dataclass(frozen=True, slots=True)
class Text:
    """A quoted string; ``is_cut`` where strace put ``...`` behind it."""

    data: bytes
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Items:
    """A list in brackets; ``is_complement`` for ``~[...]``, ``is_cut`` where it ends with ``...``."""

    values: tuple["Value", ...]
    is_complement: bool = False
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Struct:
    """Members in braces, in order; an empty name for a member that has none."""

    members: tuple[tuple[str, "Value"], ...]

    def get(self, name: str) -> "Value | None":
        """Return a member, None if it is not there."""
        return next((value for key, value in self.members if key == name), None)


@dataclass(frozen=True, slots=True)
class Change:
    """A value before and after the call: ``128 => 16``."""

    before: "Value"
    after: "Value"


Value: TypeAlias = Word | Text | Items | Struct | Change


@dataclass(frozen=True, slots=True)
class Call:
    """One call: arguments with their names where strace gives them, and what stands behind ``=``."""

    tid: int
    name: str
    args: tuple[tuple[str, Value], ...]
    ret: str
    error: str
    note: str


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal that a thread got: its name and ``siginfo``; ``is_ignored`` where it has no effect on the process."""

    tid: int
    name: str
    info: Value
    is_ignored: bool = False


@dataclass(frozen=True, slots=True)
class End:
    """How a thread ended, in the form of our JSON's; without a status where another thread's execve ended it."""

    tid: int
    status: Mapping[str, object]


Line: TypeAlias = Call | Signal | End

_STRING: Final = re.compile(r'@?"((?:[^"\\]|\\.)*)"(\.\.\.)?')
_ESCAPE: Final = re.compile(rb"\\(x[0-9a-fA-F]{2}|[0-7]{1,3}|.)", re.DOTALL)
_STATUS: Final = re.compile(r"\{WIF[^}]*\}(\|PTRACE_EVENT_\w+<<16)?")
_NAMED: Final = re.compile(r"([A-Za-z_]\w*)=(?!=)")
_SPACE: Final = re.compile(r"(?:\s|/\*.*?\*/)+")
_RESULT: Final = re.compile(
    r"\)\s+= (?P<ret>\?|-?\w+)(?: (?P<error>E[A-Z0-9_]+) \((?P<why>[^)]*)\))?(?: \((?P<note>.*)\))?$"
)
_LINE: Final = re.compile(r"(\d+) +(.*)")
_RESUMED: Final = re.compile(r"<\.\.\. (\w+) resumed>")
_UNFINISHED: Final = re.compile(r" ?<(?:unfinished|pid changed to \d+) \.\.\.>$")
_SUPERSEDED: Final = re.compile(r"\+\+\+ superseded by execve in pid (\d+) \+\+\+")
_SIGNAL: Final = re.compile(r"--- (?P<name>SIG\w+) (?P<info>\{.*\}) ---")
_EXITED: Final = re.compile(r"\+\+\+ exited with (\d+) \+\+\+")
_KILLED: Final = re.compile(r"\+\+\+ killed by (SIG\w+)( \(core dumped\))? \+\+\+")
_STOPPED: Final = re.compile(r"--- stopped by SIG\w+ ---")
_CONTROL: Final = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"v": b"\v", b"f": b"\f", b"b": b"\b", b"a": b"\a"}


def unescape(text: str) -> bytes:
    """Return the bytes of a string as strace escapes them."""

    def one(match: re.Match[bytes]) -> bytes:
        code = match[1]
        if code[:1] == b"x" and len(code) == 3:
            return bytes((int(code[1:], 16),))
        if code[:1].isdigit():
            return bytes((int(code, 8) & 0xFF,))
        return _CONTROL.get(code, code)

    return _ESCAPE.sub(one, text.encode("utf-8", "surrogateescape"))


class Reader:
    """Reads values from a text, left to right."""

    def __init__(self, text: str, at: int = 0) -> None:
        self.text = text
        self.at = at

    def skip(self, *tokens: str) -> bool:
        """Step over space and comments, then over one of ``tokens``, if it is there."""
        if space := _SPACE.match(self.text, self.at):
            self.at = space.end()
        found = next((token for token in tokens if self.text.startswith(token, self.at)), None)
        self.at += len(found or "")
        return found is not None

    def named(self, end: str) -> tuple[str, Value]:
        """Read ``name=value`` or a value without a name."""
        self.skip()
        name = _NAMED.match(self.text, self.at)
        if name:
            self.at = name.end()
        return (name[1] if name else ""), self.value(end)

    def value(self, end: str) -> Value:
        """Read a value that ends at a comma or at one of the characters ``end``."""
        self.skip()
        first = self._one(end)
        before = self.at
        if self.skip("=>"):
            return Change(first, self.value(end))
        self.at = before
        return first

    def _one(self, end: str) -> Value:
        if string := _STRING.match(self.text, self.at):
            self.at = string.end()
            data = unescape(string[1])
            return Text(b"\0" + data if string[0][0] == "@" else data, string[2] is not None)
        if status := _STATUS.match(self.text, self.at):
            self.at = status.end()
            return Word(status[0])
        if self.skip("~["):
            return self._items(is_complement=True)
        if self.skip("["):
            return self._items(is_complement=False)
        if self.skip("{"):
            return self._struct()
        return self._word(end)

    def _items(self, *, is_complement: bool) -> Items:
        values: list[Value] = []
        is_cut = False
        while not self.skip("]"):
            if self.skip("..."):
                is_cut = True
                continue
            values.append(self.value("] "))
            self.skip(",")
        return Items(tuple(values), is_complement, is_cut)

    def _struct(self) -> Struct:
        members: list[tuple[str, Value]] = []
        while not self.skip("}"):
            if not self.skip("..."):
                members.append(self.named("}"))
            self.skip(",")
        return Struct(tuple(members))

    def _word(self, end: str) -> Word:
        start, depth = self.at, 0
        while self.at < len(self.text):
            char = self.text[self.at]
            if depth == 0 and (char in end or char == "," or self.text.startswith((" =>", " /*"), self.at)):
                break
            if string := _STRING.match(self.text, self.at):
                self.at = string.end()
                continue
            depth += (char == "(") - (char == ")")
            self.at += 1
        if self.at == start:
            raise ValueError(f"no value at {self.text[start : start + 40]!r}")
        return Word(self.text[start : self.at].strip())


def parse_call(tid: int, line: str) -> Call:
    """Read one whole call, ``name(arguments) = result``."""
    name, opening, _ = line.partition("(")
    if not opening:
        raise ValueError(f"no call: {line!r}")
    reader, args = Reader(line, len(name) + 1), []
    if line.startswith("<...", reader.at):  # restart_syscall(<... resuming interrupted poll ...>)
        reader.at = line.index(">", reader.at) + 1
    while not reader.text.startswith(")", reader.at):
        args.append(reader.named(")"))
        reader.skip(",")
    result = _RESULT.match(line, reader.at)
    if result is None:
        raise ValueError(f"no result: {line!r}")
    return Call(tid, name, tuple(args), result["ret"], result["error"] or "", result["note"] or "")


def parse_told(tid: int, line: str) -> Signal | End | None:
    """Read a signal or the end of a thread; that a thread stopped was shown as the signal that stops it."""
    if signal := _SIGNAL.fullmatch(line):
        return Signal(tid, signal["name"], Reader(signal["info"]).value(""))
    if exited := _EXITED.fullmatch(line):
        return End(tid, {"exited": int(exited[1])})
    if killed := _KILLED.fullmatch(line):
        return End(tid, {"signaled": killed[1], "core_dumped": killed[2] is not None})
    if _SUPERSEDED.fullmatch(line):
        return End(tid, {})
    if _STOPPED.fullmatch(line):
        return None
    raise ValueError(f"neither signal nor end: {line!r}")


def parse_trace(lines: Iterable[str]) -> Iterator[Line]:
    """Yield a trace's calls in the order in which they ended, with signals and ends of threads among them.

    A call in which its thread was killed is left out.
    """
    begun: dict[int, str] = {}
    for line in lines:
        numbered = _LINE.match(line)
        if numbered is None:
            raise ValueError(f"no line of strace's: {line!r}")
        tid, text = int(numbered[1]), numbered[2]
        if text.startswith(("+++", "---")):
            if superseded := _SUPERSEDED.match(text):
                begun[tid] = begun.pop(int(superseded[1]))
            if told := parse_told(tid, text):
                yield told
            continue
        if unfinished := _UNFINISHED.search(text):
            begun[tid] = text[: unfinished.start()]
            continue
        if text.startswith("<... ??? resumed>"):  # killed before strace could see in which call
            begun.pop(tid, None)
            continue
        if resumed := _RESUMED.match(text):
            text = begun.pop(tid) + text[resumed.end() :]
        if not text.endswith("<detached ...>"):
            yield parse_call(tid, text)
