"""Why a battery serves the running kernel as it does, and what each lacks of the other."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from traceleft.errors import TraceleftError

if TYPE_CHECKING:
    from traceleft.battery import Battery
    from traceleft.tracer.schema.spec import Schema

NAMES_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a battery on this kernel; ``is_there`` is false where something is lacking."""

    name: str
    is_there: bool
    value: str
    names: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The finding on one line, with some of the names."""
        shown = ", ".join(self.names[:NAMES_SHOWN])
        more = len(self.names) - NAMES_SHOWN
        return f"{self.value}{': ' if shown else ''}{shown}{f' and {more} more' if more > 0 else ''}"


def explain_battery(path: Path) -> tuple[Finding, ...]:
    """Return what is to be said of a battery on the running kernel; what is wrong with it is a finding as well."""
    from traceleft.battery import Battery

    try:
        battery = Battery.open(path)
    except TraceleftError as error:
        return (Finding("manifest", False, str(error)),)
    return tuple(_findings(battery))


def _findings(battery: "Battery") -> Iterator[Finding]:
    from traceleft.battery.verify import verify_battery
    from traceleft.tracer.kernel.formats import select_running
    from traceleft.tracer.schema.load import load_schema

    yield _attempt("whole", lambda: f"{len(verify_battery(battery.path).manifest.objects)} objects, each as its digest")
    yield _signature(battery)
    try:
        selection = select_running(battery)
        schema = load_schema(battery.schema(selection.name))
    except TraceleftError as error:
        yield Finding("release", False, str(error))
        return
    kernel = os.uname().release
    yield Finding("release", True, f"{selection.name}, {selection.why}, {kernel}")
    yield _level(frozenset(selection.release.core))
    yield from _events(schema, frozenset(selection.release.events))


def _attempt(name: str, find: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, find())
    except TraceleftError as error:
        return Finding(name, False, str(error))


def _signature(battery: "Battery") -> Finding:
    from traceleft.battery.signature import FILE, read_signature

    if not os.path.lexists(battery.path / FILE):
        return Finding("signature", True, "none")
    return _attempt("signature", lambda: f"by {read_signature(battery)[0].fingerprint}; battery verify --key checks it")


def _level(held: frozenset[str]) -> Finding:
    from traceleft.battery.level import sort_levels
    from traceleft.tracer.kernel.levels import offered_levels

    offered = offered_levels()
    usable = [level for level in offered if level in held]
    said = f"it holds {', '.join(sort_levels(held))}; this kernel offers {', '.join(offered) or 'none to this user'}"
    return Finding("level", bool(usable), f"{usable[0] if usable else 'none'} ({said})")


def _events(schema: "Schema", held: frozenset[str]) -> Iterator[Finding]:
    """Yield how the battery's events and the kernel's compare, as far as the kernel shows them."""
    from traceleft.cli.batteries import kernel_syscalls
    from traceleft.tracer.kernel.events import find_absent, find_drift
    from traceleft.tracer.kernel.kprobes import read_syscall_symbols

    yield Finding("events", bool(held), str(len(held)))
    own = kernel_syscalls()
    if not own:
        yield Finding("formats", True, "this kernel's cannot be read; as root, with tracefs mounted, they can")
        return
    lacking = tuple(sorted(own - held))
    yield Finding("missing", not lacking, "syscalls of this kernel that it lacks" if lacking else "none", lacking)
    specs = [spec for name, spec in schema.events.items() if name in held]
    absent = find_absent(specs, "raw_tracepoint", read_syscall_symbols, is_exact=False)
    foreign = tuple(sorted(absent))
    yield Finding("not here", True, "its events that this kernel lacks" if foreign else "none", foreign)
    drift = tuple(find_drift([spec for spec in specs if spec.name not in absent]))
    said = "events whose formats on this kernel are others" if drift else "every format is as on this kernel"
    yield Finding("formats", not drift, said, drift)
