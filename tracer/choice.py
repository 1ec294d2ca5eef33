"""Which events, hook and objects a trace takes, of a battery and for the running kernel."""

import os
from collections.abc import Mapping, Sequence
from typing import Final

from traceleft.battery import Battery
from traceleft.errors import TraceleftError
from traceleft.expression import Catalogue, select
from traceleft.tracer.kernel import HOOKS, KernelFeatures, choose_hook, probe_kernel
from traceleft.tracer.kprobes import read_syscall_symbols
from traceleft.tracer.levels import NEEDS, Level, choose_level
from traceleft.tracer.plan import Plan, held_levels, make_plan
from traceleft.tracer.schema import load_schema
from traceleft.tracer.spec import EventSpec, Schema

NEEDED: Final = ("privileges", "no_lockdown")


def choose_plan(
    battery: Battery, events: Sequence[str], *, hook: str, uses_pids: bool, level: str | None = None
) -> tuple[Plan, Schema]:
    """Return what to load for these event expressions, and the schema that goes with it.

    UnsupportedError, with the remedy, where the kernel or this process lacks something for it.
    """
    selection = battery.select(os.uname().release)
    schema = load_schema(battery.schema(selection.name))
    specs = _choose_events(schema, events)
    needed = (*NEEDED, "pid_namespace") if uses_pids else NEEDED
    features = probe_kernel(only={*needed, *HOOKS, *NEEDS})
    for need in needed:
        features.require(need)
    names = [spec.name for spec in specs]
    # A level of which only some of the events have objects is named when one is missed.
    held = held_levels(selection.release, names) or frozenset(selection.release.core)
    chosen = choose_level(features, held, level)
    hook = _choose_hook(features, specs, hook, chosen)
    symbols = read_syscall_symbols() if hook == "kprobe" else ()
    return make_plan(battery, selection.release, schema, names, hook=hook, level=chosen, symbols=symbols), schema


def _choose_hook(features: KernelFeatures, specs: Sequence[EventSpec], hook: str, level: Level) -> str:
    syscalls = [spec for spec in specs if spec.kind == "syscall"]
    if not syscalls:
        return "tracepoint"
    if hook == "auto" and any(spec.number is None for spec in syscalls):
        # Raw tracepoints know calls by their number alone.
        hook = "tracepoint"
    return choose_hook(features, hook, among=level.hooks)


def select_specs(specs: Mapping[str, EventSpec], expressions: Sequence[str]) -> list[EventSpec]:
    """Return the events that expressions choose, of these."""
    syscalls = [name for name, spec in specs.items() if spec.kind == "syscall"]
    return [specs[name] for name in select(expressions, _make_catalogue(specs), default=syscalls)]


def _choose_events(schema: Schema, events: Sequence[str]) -> list[EventSpec]:
    specs = select_specs(schema.events, events)
    if not specs:
        raise TraceleftError("no event is chosen; see: traceleft list")
    return specs


def _make_catalogue(specs: Mapping[str, EventSpec]) -> Catalogue:
    classes: dict[str, set[str]] = {}
    for name, spec in specs.items():
        for each in spec.classes:
            classes.setdefault(each, set()).add(name)
    return Catalogue(
        names=frozenset(specs),
        aliases={name: spec.aliases for name, spec in specs.items()},
        classes={name: frozenset(members) for name, members in classes.items()},
    )
