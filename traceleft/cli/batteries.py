"""Which battery a trace uses: the one that was named, one that is found, or one made for the running kernel."""

import fcntl
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from traceleft.cli.commands.build import DEFAULT_BATTERY, progress_bar
from traceleft.errors import BatteryError, ExpressionError, FormatError, TraceleftError, UnsupportedError
from traceleft.expression import Catalogue, select
from traceleft.terminal import notice
from traceleft.tracefs import find_tracefs

if TYPE_CHECKING:
    from traceleft.battery import Battery, Selection

VARIABLE = "TRACELEFT_BATTERY"
ENTER = "sys_enter_"


@dataclass(frozen=True, slots=True)
class Choice:
    """The events that expressions mean, and the battery that holds them; None if one has to be made."""

    battery: "Battery | None"
    events: tuple[str, ...]


def cache_directory() -> Path:
    """Return ``$XDG_CACHE_HOME/traceleft``; a relative path in the variable counts as unset."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if home.startswith("/") else Path.home() / ".cache") / "traceleft"


def serving_levels(level: str | None) -> tuple[str, ...]:
    """Return levels; a battery has to hold one of them. It is the level asked for, else those that the kernel offers.

    UnsupportedError for an unknown one. Who may not try what the kernel offers gets them all.
    """
    from traceleft.tracer.kernel.levels import LEVELS, check_level, offered_levels

    return (check_level(level),) if level else offered_levels() or tuple(LEVELS)


def choose_battery(option: Path | None, expressions: Sequence[str], level: str | None = None) -> Choice:
    """Choose the battery for the running kernel, these expressions, and a level if one is asked for.

    A named one (``--battery``, the environment) is used or refused. One that is found serves if it has all that the
    expressions mean on this kernel. ExpressionError for a name that is unknown.
    """
    levels = serving_levels(level)
    variable = os.environ.get(VARIABLE)
    if named := option or (Path(variable) if variable else None):
        battery = open_battery(named, levels)
        return Choice(battery, choose_events(battery, expressions))
    found = list(candidates(levels))
    for battery in found:
        if (events := choose_complete(battery, expressions)) is not None:
            return Choice(battery, events)
    events = choose_from_kernel(expressions)
    if events is None:
        return choose_partial(found, expressions)
    holding = (battery for battery in found if catalogue_of(battery).names.issuperset(events))
    return Choice(next(holding, None), events)


def choose_events(battery: "Battery", expressions: Sequence[str]) -> tuple[str, ...]:
    """Return the events of a battery that expressions mean; every syscall without any."""
    from traceleft.tracer.schema import core as core_events

    catalogue = catalogue_of(battery)
    return select(expressions, catalogue, default=core_events.default_events(catalogue))


def choose_complete(battery: "Battery", expressions: Sequence[str]) -> tuple[str, ...] | None:
    """Return the events out of a battery that has every syscall of this kernel; None where that is not known."""
    syscalls = kernel_syscalls()
    # A regular expression may mean tracepoints that the battery lacks.
    if not syscalls or not catalogue_of(battery).names.issuperset(syscalls) or any("/" in each for each in expressions):
        return None
    try:
        return choose_events(battery, expressions)
    except ExpressionError:
        # A tracepoint, perhaps, that the kernel has and the battery lacks.
        return None


def choose_partial(found: Sequence["Battery"], expressions: Sequence[str]) -> Choice:
    """Choose by what batteries hold, where the kernel's own events cannot be seen."""
    refusal: ExpressionError | None = None
    for battery in found:
        try:
            return Choice(battery, choose_events(battery, expressions))
        except ExpressionError as error:
            refusal = refusal or error
    if refusal:
        raise refusal
    return Choice(None, ())


def candidates(levels: Collection[str] | None = None) -> Iterator["Battery"]:
    """Open the batteries that nobody named but that may be used; those of this very release come first.

    They hold one of these levels, if any are given.
    """
    paths = (DEFAULT_BATTERY, cache_directory() / "battery")
    found = [battery for path in paths if (battery := consider(path)) and holds_level(battery, levels)]
    yield from sorted(found, key=lambda battery: not select_release(battery).exact)


def consider(path: Path) -> "Battery | None":
    """Open a battery that nobody named, if it is there, trusted and sound."""
    from traceleft.battery.store import why_untrusted

    if not os.path.exists(path):
        return None
    if reason := why_untrusted(path):
        notice_once(f"{path} is passed over: {reason}; --battery {path} uses it all the same")
        return None
    try:
        return open_battery(path)
    except TraceleftError as error:
        notice_once(f"{error}; passed over")
        return None


def select_release(battery: "Battery") -> "Selection":
    """Choose the release of a battery that serves the running kernel."""
    from traceleft.tracer.kernel.formats import select_running

    return select_running(battery)


def holds_level(battery: "Battery", levels: Collection[str] | None) -> bool:
    """Tell whether a battery has objects of one of these levels for the running kernel."""
    held = select_release(battery).release.core
    return levels is None or not set(levels).isdisjoint(held)


def open_battery(path: Path, levels: Collection[str] | None = None) -> "Battery":
    """Open a battery and make sure that it has something for the running kernel, of one of these levels if given."""
    from traceleft.battery import Battery

    battery = Battery.open(path)
    if not select_release(battery).release.events:
        raise BatteryError("holds no event; generate and build it again", path=str(path))
    if levels is not None and not holds_level(battery, levels):
        wanted = " or ".join(levels)
        raise BatteryError(f"holds nothing for level {wanted}; generate and build it again", path=str(path))
    return battery


def catalogue_of(battery: "Battery") -> Catalogue:
    """Return what expressions can choose from a battery, for the running kernel."""
    from traceleft.tracer.schema import core as core_events
    from traceleft.tracer.schema.select import read_catalogue

    selection = select_release(battery)
    return core_events.add_to(read_catalogue(battery.schema_bytes(selection.name), among=selection.release.events))


def kernel_syscalls() -> frozenset[str]:
    """Return the syscalls that the running kernel shows formats of; none where it cannot be asked."""
    try:
        entries = os.listdir(find_tracefs() / "events" / "syscalls")
    except (TraceleftError, OSError):
        return frozenset()
    return frozenset(entry.removeprefix(ENTER) for entry in entries if entry.startswith(ENTER))


def choose_from_kernel(expressions: Sequence[str]) -> tuple[str, ...] | None:
    """Return the running kernel's events that expressions mean; None where it or the generator is out of reach."""
    try:
        from traceleft.generator.format_source import read_source
        from traceleft.generator.model import read_events
        from traceleft.generator.schema import make_catalogue
        from traceleft.tracer.schema import core as core_events

        source = read_source(None)
        events = read_events(source.formats, place=source.place)
    except (UnsupportedError, FormatError, ModuleNotFoundError):
        return None
    catalogue = core_events.add_to(make_catalogue(events, source.machine))
    return select(expressions, catalogue, default=(*events.syscalls, *core_events.NAMES))


def make_battery(events: Sequence[str], level: str | None = None) -> "Battery":
    """Make a battery with these events for the running kernel in the user's cache, or add them to it; open it.

    It is for the level asked for, else for the highest that the kernel offers, and for those that it held.
    """
    from traceleft.tracer.schema import core as core_events

    require_compiler()
    path = private_cache() / "battery"
    wanted_events = {*events} - core_events.NAMES
    wanted = serving_levels(level)[0]
    with locked(path.with_name("lock")):
        before = consider(path)
        if before is None and os.path.lexists(path):
            # Damaged, or of another version of ours: a cache is there to be made again.
            discard(path)
        held = catalogue_of(before).names - core_events.NAMES if before else frozenset()
        levels = held_levels(before)
        if before is None or wanted not in levels or not held.issuperset(wanted_events):
            add_this_kernel(path, sorted(held | wanted_events), sorted(levels.union([wanted])))
    return open_battery(path, [wanted])


def require_compiler() -> None:
    """Refuse to make a battery where there is no compiler for it."""
    from traceleft.battery.builder.compiler import find_compiler

    try:
        find_compiler()
    except UnsupportedError as error:
        reason = f"no battery fits kernel {os.uname().release}, and none can be built here: {error}"
        raise BatteryError(f"{reason}, or name one with --battery") from error


def private_cache() -> Path:
    """Make the user's cache directory, and refuse it where others could put something into it."""
    from traceleft.battery.store import why_untrusted

    directory = cache_directory()
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    if reason := why_untrusted(directory):
        raise BatteryError(f"no place for a battery: {reason}; set XDG_CACHE_HOME elsewhere", path=str(directory))
    return directory


def discard(path: Path) -> None:
    """Remove a battery, or whatever stands in its place."""
    import shutil

    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def held_levels(battery: "Battery | None") -> frozenset[str]:
    """Return the levels that a battery holds of this very release."""
    selection = select_release(battery) if battery else None
    return frozenset(selection.release.core) if selection and selection.exact else frozenset()


def add_this_kernel(path: Path, events: Sequence[str], levels: Sequence[str]) -> None:
    """Generate and build every syscall of the running kernel, and these events, for these levels."""
    import tempfile

    from traceleft.battery.builder.build import build
    from traceleft.generator import generate

    notice(f"no battery has all of it for kernel {os.uname().release}: making {path}")
    with tempfile.TemporaryDirectory(prefix="generate-", dir=path.parent) as work:
        source = Path(work) / "source"
        generate(None, expressions=["all", *events], output=source)
        with progress_bar("building") as progress:
            build(source, path, levels=levels, progress=progress)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file lock; others that want it wait."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@cache
def notice_once(text: str) -> None:
    """Print a line on stderr, the first time."""
    notice(text)
