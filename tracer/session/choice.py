"""Which events, hook and objects a trace takes, of a battery and for the running kernel."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Final

from traceleft.battery import Battery, Selection
from traceleft.errors import ExpressionError, TraceleftError, UnsupportedError
from traceleft.expression import Catalogue, named, select
from traceleft.linux import EXECS, HOOKS, RAW_TRACEPOINT, TRACEPOINT
from traceleft.tracer.kernel.events import OF_HOOKS, describe_absent, describe_drift, find_absent, find_drift
from traceleft.tracer.kernel.features import EXACT, KernelFeatures, choose_hook, probe_kernel
from traceleft.tracer.kernel.formats import select_running
from traceleft.tracer.kernel.kprobes import read_syscall_symbols
from traceleft.tracer.kernel.levels import NEEDS, Level, choose_levels
from traceleft.tracer.schema import core as core_events
from traceleft.tracer.schema import unknown
from traceleft.tracer.schema.select import load_events, read_catalogue, read_numbers
from traceleft.tracer.schema.spec import EventSpec, Schema
from traceleft.tracer.session import task_events, unknown_calls
from traceleft.tracer.session.attach import can_dispatch_tracepoints
from traceleft.tracer.session.costs import Shape, cheaper_hook, depends_on_rates
from traceleft.tracer.session.exec_prepare import prepare_roles
from traceleft.tracer.session.plan import Plan, held_levels, make_plan
from traceleft.tracer.session.roles import wants_dispatcher

NEEDED: Final = ("privileges", "no_lockdown")
# Raises UnsupportedError for a plan that cannot do what is asked of a trace.
Check = Callable[[Plan], object]


class Choice:
    """What a trace takes out of a battery: its events, and for each level that may serve it a plan.

    ``required`` are the events that must be there; others are left out where the kernel lacks them.
    """

    def __init__(
        self,
        battery: Battery,
        selection: Selection,
        schema: Schema,
        features: KernelFeatures,
        *,
        hook: str,
        level: str | None,
        required: frozenset[str],
        shape: Shape | None,
        check: Check,
        unknown: tuple[int, ...],
    ) -> None:
        self._battery = battery
        self._unknown = unknown
        self._selection = selection
        self._features = features
        self._hook = hook
        self._shape = shape
        self._check = check
        self._symbols = cache(read_syscall_symbols)
        self.schema = schema
        self.required = required
        # A level with objects of only some of the events is named when one is missed.
        release = selection.release
        held = held_levels(release, schema.events) or frozenset(release.core)
        self.levels = choose_levels(features, held, level)

    def best(self) -> Plan:
        """Return the plan of the highest level; UnsupportedError, with the remedy, where it cannot serve."""
        return self._plan(self.levels[0])

    def hooks(self, level: Level) -> tuple[str, ...]:
        """Return the hooks of a level that this kernel has."""
        return tuple(hook for hook in level.hooks if self._features.has(hook))

    def below(self, plan: Plan) -> Iterator[Plan]:
        """Yield the plans of the levels below a plan's that can serve, the next lower first."""
        for level in self.levels[self.levels.index(plan.level) + 1 :]:
            try:
                lower = self._plan(level)
            except UnsupportedError:
                continue
            yield lower

    def _plan(self, level: Level) -> Plan:
        specs = list(self.schema.events.values())
        hook = pick_hook(self._features, specs, self._hook, level, shape=self._shape, required=self.required)
        absent = find_absent(specs, hook, self._symbols, is_exact=self._selection.exact)
        refuse_absent(absent, self.required, others=[each for each in self.hooks(level) if each != hook])
        present = [spec for spec in specs if spec.name not in absent]
        core_roles, lacking = self._core_roles(present, hook, level)
        refuse_absent(lacking, self.required, others=[])
        present = [spec for spec in present if spec.name not in lacking]
        if not present:
            raise UnsupportedError("events", f"{describe_absent(absent or lacking)}, and nothing remains")
        plan = make_plan(
            self._battery,
            self._selection.release,
            self.schema,
            [spec.name for spec in present],
            hook=hook,
            level=level,
            symbols=self._symbols() if hook == "kprobe" else (),
            prepare=prepare_roles(hook) if any(spec.name in EXECS for spec in present) else (),
            core_roles=core_roles,
            unknown=self._unknown,
        )
        self._check(plan)
        return replace(plan, notices=tuple(self._notices(absent, present)))

    def _core_roles(
        self, specs: list[EventSpec], hook: str, level: Level
    ) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
        """Return the core's programs for each of its own events, by role, and why those that have none have none."""
        core = self._selection.release.core.get(level.name)
        held = {program.role for program in self._battery.entry(core).programs} if core else set()
        if core and not task_events.is_told_by(self._battery.object_bytes(core)):
            held.discard(task_events.STACK_EXIT)
        found: dict[str, tuple[str, ...]] = {}
        lacking: dict[str, str] = {}
        for name in (spec.name for spec in specs if spec.name in core_events.NAMES):
            if name == unknown.NAME:
                roles = self._roles_of_others(specs, hook)
            else:
                roles = task_events.choose_roles(name, held, self._features)
            if roles is not None and set(roles) <= held:
                found[name] = roles
            else:
                lacking[name] = unknown_calls.REASON if name == unknown.NAME else task_events.REASONS[name]
        return found, lacking

    def _roles_of_others(self, specs: list[EventSpec], hook: str) -> tuple[str, ...] | None:
        """Return what tells calls that no event is for, None where this hook does not see them."""
        names = [spec.name for spec in specs if spec.kind == "syscall"]
        sees = hook == RAW_TRACEPOINT or (hook == TRACEPOINT and wants_dispatcher(names) and can_dispatch_tracepoints())
        return unknown_calls.ROLES[hook] if sees else None

    def _notices(self, absent: Collection[str], present: Sequence[EventSpec]) -> Iterator[str]:
        drift = find_drift(present)
        if absent:
            yield describe_absent(absent)
        if drift:
            yield describe_drift(drift, self._selection.name)


def choose(
    battery: Battery,
    events: Sequence[str],
    *,
    hook: str,
    uses_pids: bool,
    level: str | None = None,
    required: Collection[str] | None = None,
    shape: Shape | None = None,
    check: Check = lambda plan: None,
) -> Choice:
    """Return what to load for these event expressions, and the schema that goes with it.

    An event that this kernel does not have is left out, except ``required`` ones; None: those that are named one by
    one. ``auto`` is weighed by what hooks cost a trace of this ``shape`` and these events; None: it is not, and
    nothing is measured. ``check`` raises for a plan that cannot do what else is asked. UnsupportedError, with the
    remedy, where the kernel or this process lacks something for it.
    """
    selection = select_running(battery)
    document = battery.schema_bytes(selection.name)
    catalogue = core_events.add_to(read_catalogue(document))
    schema = load_events(document, _choose_events(catalogue, events))
    needed = (*NEEDED, "pid_namespace") if uses_pids else NEEDED
    features = probe_kernel(only={*needed, *HOOKS, EXACT, *NEEDS})
    for need in needed:
        features.require(need)
    return Choice(
        battery,
        selection,
        schema,
        features,
        hook=hook,
        level=level,
        required=frozenset(named(events, catalogue) if required is None else required),
        shape=shape,
        check=check,
        unknown=tuple(unknown.unknown_numbers(read_numbers(document))) if unknown.NAME in schema.events else (),
    )


def refuse_absent(absent: Mapping[str, str], required: Collection[str], *, others: Sequence[str]) -> None:
    """Raise UnsupportedError for a required event that is absent; ``others`` are hooks that may have it."""
    for name, why in absent.items():
        if name in required:
            instead = f"; use --attach {' or '.join(others)}" if others and why in OF_HOOKS else ""
            raise UnsupportedError(name, f"{why}{instead}")


def pick_hook(
    features: KernelFeatures,
    specs: Sequence[EventSpec],
    hook: str,
    level: Level,
    *,
    shape: Shape | None,
    required: Collection[str],
) -> str:
    """Return the hook of a level for these events: the one asked for, else the cheapest that serves what is required.

    UnsupportedError, with the remedy, where the kernel or the level lacks it.
    """
    syscalls = [spec for spec in specs if spec.kind == "syscall"]
    if not syscalls:
        return TRACEPOINT
    has_tracepoints = TRACEPOINT in level.hooks and features.has(TRACEPOINT)
    if hook == "auto" and has_tracepoints and _needs_names(syscalls, required):
        return TRACEPOINT
    found = choose_hook(features, hook, among=level.hooks)
    if hook == "auto" and found == RAW_TRACEPOINT and has_tracepoints and shape is not None:
        return _weigh_hooks(syscalls, shape)
    return found


def _needs_names(syscalls: Sequence[EventSpec], required: Collection[str]) -> bool:
    """Whether calls without a number are asked for, or nothing else: raw tracepoints know calls by number alone.

    For others that have none the trace does not change its hook: they are left out.
    """
    unnumbered = [spec.name for spec in syscalls if spec.number is None]
    return len(unnumbered) == len(syscalls) or not set(unnumbered).isdisjoint(required)


def _weigh_hooks(syscalls: Sequence[EventSpec], shape: Shape) -> str:
    """Return the cheaper hook, by what goes on now; raw tracepoints where that is not known, or does not matter."""
    names = [spec.name for spec in syscalls]
    needs_entry = any(spec.entry != "none" for spec in syscalls)
    shape = replace(shape, keeps_entries=shape.keeps_entries or needs_entry, has_exec=not EXECS.isdisjoint(names))
    if wants_dispatcher(names) or not depends_on_rates(shape):
        return RAW_TRACEPOINT
    from traceleft.tracer.kernel.counters import measure_rates

    rates = measure_rates([spec.number for spec in syscalls if spec.number is not None])
    return RAW_TRACEPOINT if rates is None else cheaper_hook(shape, rates)


def _choose_events(catalogue: Catalogue, events: Sequence[str]) -> tuple[str, ...]:
    names = select(events, catalogue, default=core_events.default_events(catalogue))
    if not names and events:
        raise ExpressionError("the event expressions choose no event", expression=",".join(events)[:64])
    if not names:
        raise TraceleftError("no event is chosen; see: traceleft list")
    return names
