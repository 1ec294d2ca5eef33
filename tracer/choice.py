"""Which events, hook and objects a trace takes, of a battery and for the running kernel."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Final

from traceleft.battery import Battery
from traceleft.errors import ExpressionError, TraceleftError, UnsupportedError
from traceleft.expression import Catalogue, named, select
from traceleft.tracer.chosen import load_events, read_catalogue
from traceleft.tracer.costs import RAW, TRACEPOINT, Shape, cheaper_hook, depends_on_rates
from traceleft.tracer.formats import select_running
from traceleft.tracer.kernel import HOOKS, KernelFeatures, choose_hook, probe_kernel
from traceleft.tracer.kprobes import read_syscall_symbols
from traceleft.tracer.levels import NEEDS, Level, choose_level
from traceleft.tracer.plan import Plan, held_levels, make_plan
from traceleft.tracer.roles import EXECS, wants_dispatcher
from traceleft.tracer.running import describe_absent, describe_drift, find_absent, find_drift
from traceleft.tracer.spec import EventSpec, Schema, make_catalogue

NEEDED: Final = ("privileges", "no_lockdown")


def choose_plan(
    battery: Battery,
    events: Sequence[str],
    *,
    hook: str,
    uses_pids: bool,
    level: str | None = None,
    required: Collection[str] | None = None,
    shape: Shape | None = None,
) -> tuple[Plan, Schema]:
    """Return what to load for these event expressions, and the schema that goes with it.

    An event that this kernel does not have is left out, but for ``required`` ones; None: those that are named one by
    one. ``auto`` is weighed by what hooks cost a trace of this ``shape`` and these events; None: it is not, and
    nothing is measured. UnsupportedError, with the remedy, where the kernel or this process lacks something for it.
    """
    selection = select_running(battery)
    document = battery.schema_bytes(selection.name)
    catalogue = read_catalogue(document)
    schema = load_events(document, _choose_events(catalogue, events))
    specs = list(schema.events.values())
    needed = (*NEEDED, "pid_namespace") if uses_pids else NEEDED
    features = probe_kernel(only={*needed, *HOOKS, *NEEDS})
    for need in needed:
        features.require(need)
    names = [spec.name for spec in specs]
    # A level of which only some of the events have objects is named when one is missed.
    held = held_levels(selection.release, names) or frozenset(selection.release.core)
    chosen = choose_level(features, held, level)
    hook = _choose_hook(features, specs, hook, chosen, shape)
    symbols = cache(read_syscall_symbols)
    absent = find_absent(specs, hook, symbols, is_exact=selection.exact)
    _refuse_absent(absent, named(events, catalogue) if required is None else required)
    present = [spec for spec in specs if spec.name not in absent]
    if not present:
        raise UnsupportedError("events", f"{describe_absent(absent)}, and nothing remains")
    plan = make_plan(
        battery,
        selection.release,
        schema,
        [spec.name for spec in present],
        hook=hook,
        level=chosen,
        symbols=symbols() if hook == "kprobe" else (),
    )
    drift = find_drift(present)
    notices = [describe_absent(absent)] if absent else []
    notices += [describe_drift(drift, selection.name)] if drift else []
    return replace(plan, notices=tuple(notices)), schema


def _refuse_absent(absent: Mapping[str, str], required: Collection[str]) -> None:
    for name, why in absent.items():
        if name in required:
            raise UnsupportedError(name, why)


def _choose_hook(
    features: KernelFeatures, specs: Sequence[EventSpec], hook: str, level: Level, shape: Shape | None
) -> str:
    syscalls = [spec for spec in specs if spec.kind == "syscall"]
    if not syscalls:
        return "tracepoint"
    if hook == "auto" and any(spec.number is None for spec in syscalls):
        # Raw tracepoints know calls by their number alone.
        hook = "tracepoint"
    found = choose_hook(features, hook, among=level.hooks)
    has_both = found == RAW and TRACEPOINT in level.hooks and features.has(TRACEPOINT)
    return _weigh_hooks(syscalls, shape) if hook == "auto" and has_both and shape is not None else found


def _weigh_hooks(syscalls: Sequence[EventSpec], shape: Shape) -> str:
    """Return the cheaper hook, by what goes on now; raw tracepoints where that cannot be told, or does not matter."""
    names = [spec.name for spec in syscalls]
    needs_entry = any(spec.entry != "none" for spec in syscalls)
    shape = replace(shape, keeps_entries=shape.keeps_entries or needs_entry, has_exec=not EXECS.isdisjoint(names))
    if wants_dispatcher(names) or not depends_on_rates(shape):
        return RAW
    from traceleft.tracer.rates import measure_rates

    rates = measure_rates([spec.number for spec in syscalls if spec.number is not None])
    return RAW if rates is None else cheaper_hook(shape, rates)


def select_specs(specs: Mapping[str, EventSpec], expressions: Sequence[str]) -> list[EventSpec]:
    """Return the events that expressions choose, of these."""
    syscalls = [name for name, spec in specs.items() if spec.kind == "syscall"]
    return [specs[name] for name in select(expressions, make_catalogue(specs), default=syscalls)]


def _choose_events(catalogue: Catalogue, events: Sequence[str]) -> tuple[str, ...]:
    names = select(events, catalogue, default=[name for name in catalogue.names if ":" not in name])
    if not names and events:
        raise ExpressionError("the event expressions choose no event", expression=",".join(events)[:64])
    if not names:
        raise TraceleftError("no event is chosen; see: traceleft list")
    return names
