"""What the running kernel has of a battery's events, and what it has otherwise."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from traceleft.tracer.kernel.formats import has_formats, kernel_format
from traceleft.tracer.kernel.kprobes import find_refused
from traceleft.tracer.schema import core as core_events
from traceleft.tracer.schema.spec import EventSpec

NAMES_SHOWN: Final = 5
WRAPPER: Final = "__x64_sys_"
PLAIN: Final = ("SyS_", "sys_")
# Why a hook cannot serve an event that another may serve.
NO_KPROBE: Final = "this kernel sets no kprobe on its function"
NO_TRACEPOINT: Final = "this kernel has no such tracepoint"
NO_NUMBER: Final = "its syscall number is not known"
OF_HOOKS: Final = frozenset({NO_KPROBE, NO_TRACEPOINT, NO_NUMBER})
Symbols = Callable[[], Collection[str]]


def find_absent(specs: Iterable[EventSpec], hook: str, symbols: Symbols, *, is_exact: bool) -> dict[str, str]:
    """Return which of these events this kernel does not have for a hook, and why.

    Nothing is said of what cannot be seen: without tracefs, or where the kernel does not tell its ``symbols``. Of
    syscalls on raw tracepoints an exact release tells already.
    """
    if not has_formats():
        return {}
    found = {spec.name: _why_absent(spec, hook, symbols, is_exact=is_exact) for spec in specs}
    absent = {name: why for name, why in found.items() if why is not None}
    if hook == "kprobe":
        absent |= _find_refused(found.keys() - absent.keys(), symbols())
    return absent


def _find_refused(names: Iterable[str], known: Collection[str]) -> dict[str, str]:
    # Of several prefixes the first counts, as where the kprobe is placed.
    prefixes = tuple(reversed(_prefixes(known)))
    functions = {name: f"{prefix}{name}" for name in names for prefix in prefixes if f"{prefix}{name}" in known}
    refused = find_refused(functions.values())
    return {name: NO_KPROBE for name, function in sorted(functions.items()) if function in refused}


def _prefixes(known: Collection[str]) -> tuple[str, ...]:
    # A kernel with wrappers (since v4.17) has functions of the plain names for other ends.
    return (WRAPPER,) if f"{WRAPPER}read" in known else PLAIN


def _why_absent(spec: EventSpec, hook: str, symbols: Symbols, *, is_exact: bool) -> str | None:
    if spec.name in core_events.NAMES:
        return None
    digest = kernel_format(spec.name)
    if spec.kind == "tracepoint":
        if digest is None:
            return "this kernel has no such tracepoint; see: traceleft list"
        if digest != spec.format:
            return "its format on this kernel is not the battery's: generate and build it from this kernel"
        return None
    if hook == "tracepoint":
        return NO_TRACEPOINT if digest is None else None
    if hook == "raw_tracepoint" and spec.number is None:
        return NO_NUMBER
    if hook == "raw_tracepoint" and (is_exact or digest is not None):
        return None
    known = symbols()
    if not known or any(f"{prefix}{spec.name}" in known for prefix in _prefixes(known)):
        return None
    return "this kernel has no such syscall"


def find_drift(specs: Iterable[EventSpec]) -> list[str]:
    """Return the syscalls among these whose formats on this kernel are not those that the battery was made from."""
    syscalls = [spec for spec in specs if spec.kind == "syscall" and not spec.borrowed]
    return [spec.name for spec in syscalls if (digest := kernel_format(spec.name)) and digest != spec.format]


def describe_absent(absent: Collection[str]) -> str:
    """Say in one line which events are left out."""
    return f"this kernel does not have {shorten(sorted(absent))}: left out"


def describe_refused(refused: Mapping[str, Exception]) -> str:
    """Say in one line which events a kernel refuses, and the reason of the first."""
    first = min(refused)
    return f"this kernel refuses {shorten(sorted(refused))}: left out ({refused[first]})"


def describe_drift(drift: Sequence[str], release: str) -> str:
    """Say in one line which events have other formats than a battery's release."""
    return f"formats on this kernel are not those of the battery's {release}: {shorten(drift)}"


def shorten(names: Sequence[str]) -> str:
    """Return names for one line: some, and how many more there are."""
    more = len(names) - NAMES_SHOWN
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:NAMES_SHOWN])} and {more} more"
