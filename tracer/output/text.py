"""One event as one line of text: strace's line, with the arguments' names.

``Line(options).show(event)`` gives the line without its newline. Control characters never get through: what a traced
program passes cannot move the cursor of who watches.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import localtime, strftime
from typing import Final, Literal

from traceleft.tracer.decode.cases import choose_case
from traceleft.tracer.decode.event import Event
from traceleft.tracer.decode.values import compile_set, show_hex, show_pointer
from traceleft.tracer.output.show import Shown, compile_shown, escape
from traceleft.tracer.output.tasks import show_exit, show_signal
from traceleft.tracer.schema import tasks, unknown
from traceleft.tracer.schema.spec import EventSpec, SetSpec

TimeForm = Literal["default", "none", "t", "tt", "ttt", "r"]

RESTARTS: Final = {
    "ERESTARTSYS": "To be restarted if SA_RESTART is set",
    "ERESTARTNOINTR": "To be restarted",
    "ERESTARTNOHAND": "To be restarted if no handler",
    "ERESTART_RESTARTBLOCK": "Interrupted by signal",
}
_CONNECTED: Final = re.compile(r"[A-Za-z0-9-]{1,32}:\[[0-9a-f.:\[\]]{1,64}->")
_TELLS: Final = {tasks.SIGNAL: show_signal, tasks.PROCESS_EXIT: show_exit}
_CYAN, _RED, _GREEN, _DIM, _PLAIN = "\033[36m", "\033[31m", "\033[32m", "\033[2m", "\033[0m"


@dataclass(frozen=True, slots=True)
class TextOptions:
    """How lines look: the form of time as strace's options name it, durations (``-T``), colour, raw arguments."""

    time: TimeForm = "default"
    durations: bool = False
    colour: bool = False
    raw: bool = False


class Line:
    """Shows events as lines; keeps what it compiled per event, and the time of the line before (``-r``)."""

    def __init__(self, options: TextOptions | None = None) -> None:
        self._options = options or TextOptions()
        self._shown: dict[str, tuple[EventSpec, list[tuple[str, Shown]]]] = {}
        self._named: dict[SetSpec, Callable[[int], str]] = {}
        self._second = -1
        self._clock = ""
        self._before_ns: int | None = None

    def show(self, event: Event, paths: Mapping[str, str] | None = None) -> str:
        """Return the line of an event, without a newline; ``paths`` are the names of its fds by argument."""
        tell = _TELLS.get(event.spec.name) if not self._options.raw else None
        call = self._call(event, paths or {}) if tell is None else self._paint(tell(event.decoded()), _CYAN)
        # A thread that does not lead its process is named after it.
        task = f"{event.pid}" if event.tid == event.pid else f"{event.pid}/{event.tid}"
        who = self._paint(f"{escape(event.comm)}[{task}]", _DIM)
        return f"{self._time(event.ts)}{who} {call}"

    def _call(self, event: Event, paths: Mapping[str, str]) -> str:
        call = f"{self._paint(event.event, _CYAN)}({self._args(event, paths)}"
        return call + (self._result(event, paths) if event.spec.kind == "syscall" else ")")

    def _paint(self, text: str, colour: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._options.colour else text

    def _time(self, ts_ns: int) -> str:
        second, rest = divmod(ts_ns, 1_000_000_000)
        match self._options.time:
            case "none":
                return ""
            case "ttt":
                return f"{second}.{rest // 1000:06d} "
            case "r":
                before, self._before_ns = self._before_ns, ts_ns
                elapsed = max(ts_ns - before, 0) if before is not None else 0
                return f"{elapsed // 1_000_000_000:6d}.{elapsed % 1_000_000_000 // 1000:06d} "
            case "t":
                return f"{self._time_of_day(second)} "
        return f"{self._time_of_day(second)}.{rest // 1000:06d} "

    def _time_of_day(self, second: int) -> str:
        if second != self._second:
            self._second, self._clock = second, strftime("%H:%M:%S", localtime(second))
        return self._clock

    def _args(self, event: Event, paths: Mapping[str, str]) -> str:
        values, notes = event.decoded(), event.notes()
        if self._options.raw:
            return ", ".join(f"{arg.name}: 0x{event.raw[arg.index]:x}" for arg in event.spec.args)
        if event.spec.name == unknown.NAME:
            return ", ".join(show_hex(number) for number in event.raw[: unknown.NUMBER_ARG])
        parts = []
        for name, show in self._compiled(event):
            if name not in values:
                continue
            text = show(values[name], name, notes)
            parts.append(f"{name}: {text}<{_quote_path(paths[name])}>" if name in paths else f"{name}: {text}")
        return ", ".join(parts) + self._image(event)

    def _image(self, event: Event) -> str:
        """Return a comment with what a new image was given in place of what could not be read."""
        notes = event.notes()
        if not notes.image or notes.of_image is None:
            return ""
        shows = dict(self._compiled(event))
        shown = [f"{name}: {shows[name](value, name, notes.of_image)}" for name, value in notes.image.items()]
        return f" /* image: {', '.join(shown)} */"

    def _compiled(self, event: Event) -> list[tuple[str, Shown]]:
        spec = event.spec
        known = self._shown.get(spec.name)
        if known is None or known[0] is not spec:
            known = spec, [(arg.name, compile_shown(arg, event.tables)) for arg in spec.args]
            self._shown[spec.name] = known
        return known[1]

    def _returned(self, event: Event, ret: int) -> str:
        value = choose_case(event.spec.ret, event.raw)
        if value.kind != "set":
            return _show_ret(ret, value.kind)
        spec = event.tables.sets[value.set_name]
        if spec not in self._named:
            self._named[spec] = compile_set(spec, spec.width)
        return _show_named(ret, self._named[spec](ret), spec)

    def _result(self, event: Event, paths: Mapping[str, str]) -> str:
        if event.unfinished:
            return " <unfinished ...>"
        ret, error = event.ret, event.error
        if ret is None:
            text = "?"
        elif error in RESTARTS:
            text = self._paint(f"? {error} ({RESTARTS[error]})", _RED)
        elif error:
            text = self._paint(f"-1 {error} ({os.strerror(-ret)})", _RED)
        else:
            text = self._paint(self._returned(event, ret), _GREEN)
            if "ret" in paths:
                text += f"<{_quote_path(paths['ret'])}>"
        if self._options.durations:
            text += f" <{_seconds(event.duration_ns)}>"
        return f") = {text}"


def _show_named(ret: int, names: str, spec: SetSpec) -> str:
    """Return a number with its names after it; flags in hex."""
    number = f"0x{ret & 0xFFFFFFFF:x}" if spec.bits and ret else str(ret)
    return number if names == "0" else f"{number} ({names})"


def _show_ret(ret: int, kind: str) -> str:
    match kind:
        case "pointer":
            return show_pointer(ret & 0xFFFFFFFFFFFFFFFF) or "NULL"
        case "hex":
            return f"0x{ret & 0xFFFFFFFFFFFFFFFF:x}" if ret else "0"
        case "mode":
            return f"0{ret:03o}" if ret else "0"
    return str(ret)


def _seconds(duration_ns: int | None) -> str:
    if duration_ns is None:
        return "unavailable"
    return f"{duration_ns // 1_000_000_000}.{duration_ns % 1_000_000_000 // 1000:06d}"


def _quote_path(path: str) -> str:
    """Escape the name of a descriptor; the arrow between the ends of a connection stays."""
    ends = _CONNECTED.match(path)
    start = ends[0] if ends else ""
    return start + escape(path[len(start) :]).replace("<", "\\x3c").replace(">", "\\x3e")
