"""What a battery does on the running kernel: each object loaded, each hook attached, a known workload delivered.

``python -m traceleft.tracer.qualify BATTERY`` prints one JSON line for each level and hook (docs/reference/schema.md,
section 5) and exits 0 if all that the kernel offers works. Needs root, and neither BTF nor a program of the system.
"""

import argparse
import contextlib
import datetime
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Final

from traceleft.battery import Battery, ObjectEntry
from traceleft.battery.manifest import objects_digest, one_line
from traceleft.errors import ProbeError, TraceleftError, UnsupportedError
from traceleft.linux import HOOKS
from traceleft.tracer import _native
from traceleft.tracer.account.ledger import Ledger
from traceleft.tracer.decode.event import Event
from traceleft.tracer.kernel.features import KernelFeatures, probe_kernel
from traceleft.tracer.kernel.formats import select_running
from traceleft.tracer.kernel.levels import LEVELS, NEEDS, Level, explain_level, offered_levels
from traceleft.tracer.kernel.memory import PAGE_BYTES
from traceleft.tracer.kernel.task_loads import BY_TASK, can_read_task, find_task_offsets
from traceleft.tracer.qualify.workload import EVENTS, Workload, held, match_calls
from traceleft.tracer.schema.load import load_schema
from traceleft.tracer.schema.spec import Schema
from traceleft.tracer.session.attach import convert_error
from traceleft.tracer.session.maps import NAMES, OWNER_NAMES
from traceleft.tracer.session.options import DetailOptions, ProbeOptions
from traceleft.tracer.session.plan import CORE, EVENT_ROLE, ROLES
from traceleft.tracer.session.session import LOADERS_MAX
from traceleft.tracer.tracer import Tracer

# enum bpf_map_type of include/uapi/linux/bpf.h: what every kernel with BPF has.
MAP_ARRAY: Final = 2
PROBLEMS_MAX: Final = 20
# Objects whose programs do not attach are left out and all is tried again; after so many the hook is given up.
REFUSALS_MAX: Final = 8
TRACE_S: Final = 120
TEXT_LIMIT: Final = 64
# What of the core serves a hook, by the manifest's word for a program's type.
CORE_TYPES: Final[Mapping[str, tuple[str, ...]]] = {
    "raw_tracepoint": ("raw_tp", "tp"),
    "tracepoint": ("tp",),
    "kprobe": ("kprobe", "tp"),
}


@dataclass(frozen=True, slots=True)
class QualifyLine:
    """What was seen of one level and hook; ``status`` is ok, failed, or absent where the kernel does not offer it.

    ``built`` counts the level's objects that serve the hook, ``attached`` those of the release that serves this kernel.
    """

    kernel: str
    machine: str
    date: str
    release: str
    level: str
    hook: str
    objects: str
    status: str
    why: str = ""
    built: int = 0
    loaded: int = 0
    attached: int = 0
    made: int = 0
    delivered: int = 0
    left_out: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def qualify(battery: Battery, *, levels: Sequence[str] = (), hooks: Sequence[str] = ()) -> Iterator[QualifyLine]:
    """Yield what is seen of each level that a battery holds, or of some, on each hook, or on some."""
    features = probe_kernel(only={"privileges", *HOOKS, *NEEDS})
    features.require("privileges")
    _require_bpf()
    selection = select_running(battery)
    schema = load_schema(battery.schema(selection.name))
    offered = offered_levels(features)
    for level in LEVELS.values():
        if level.name not in (levels or selection.release.core):
            continue
        for hook in level.hooks:
            if hooks and hook not in hooks:
                continue
            trial = _Trial(battery, schema, selection.name, level, hook)
            lacking = _why_absent(features, level, hook, is_offered=level.name in offered)
            yield trial.line("absent", lacking) if lacking else trial.run(features)


def _require_bpf() -> None:
    try:
        os.close(_native.map_create(MAP_ARRAY, 4, 4, 1))
    except _native.Error as exc:
        said = os.strerror(int(exc.args[0])).lower()
        raise UnsupportedError("BPF", f"this kernel has none for us ({said}); it needs CONFIG_BPF_SYSCALL") from exc


def _why_absent(features: KernelFeatures, level: Level, hook: str, *, is_offered: bool) -> str:
    if not is_offered:
        return f"this kernel {explain_level(features, level.name)}"
    feature = features.features[hook]
    return "" if feature.is_present else f"this kernel has no {hook} programs: {feature.value}; {feature.remedy}"


class _Trial:
    """One level and hook, tried."""

    def __init__(self, battery: Battery, schema: Schema, release: str, level: Level, hook: str) -> None:
        self._battery = battery
        self._schema = schema
        self._release = release
        self._level = level
        self._hook = hook
        self._problems: list[str] = []
        self._notes: list[str] = []

    def line(self, status: str, why: str = "", **figures: int | tuple[str, ...]) -> QualifyLine:
        """Return the line of this trial."""
        uname = os.uname()
        return QualifyLine(
            uname.release,
            uname.machine,
            datetime.datetime.now(datetime.UTC).date().isoformat(),
            self._release,
            self._level.name,
            self._hook,
            objects_digest(self._battery.manifest, self._level.name),
            status,
            one_line(why),
            problems=tuple(one_line(problem) for problem in self._problems[:PROBLEMS_MAX]),
            **figures,  # type: ignore[arg-type]
        )

    def run(self, features: KernelFeatures) -> QualifyLine:
        """Load, attach, deliver."""
        objects = self._objects()
        figures: dict[str, int | tuple[str, ...]] = {"built": len(objects)}
        try:
            loaded = self._load_all(objects, features)
            figures["loaded"] = len(loaded)
            figures |= self._trace({entry.event for entry in loaded.values()})
        except (TraceleftError, _native.Error, OSError) as exc:
            self._problems.append(str(exc))
        if self._problems:
            return self.line("failed", self._problems[0], **figures)
        if not figures["made"]:
            self._notes.append(f"the battery has none of the events that are made: {', '.join(EVENTS)}")
        return self.line("ok", "; ".join(self._notes), **figures)

    def _objects(self) -> dict[str, ObjectEntry]:
        """The level's objects that have programs for the hook, of all releases."""
        held = self._battery.manifest.objects.items()
        return {digest: entry for digest, entry in held if self._level.name in entry.sources and self._programs(entry)}

    def _programs(self, entry: ObjectEntry) -> list[str]:
        if entry.event == CORE:
            types = CORE_TYPES[self._hook]
            return [program.name for program in entry.programs if program.hook in types]
        roles = (*ROLES[self._hook], EVENT_ROLE) if self._hook == "tracepoint" else ROLES[self._hook]
        return [program.name for program in entry.programs if program.role in roles]

    def _load_all(self, objects: Mapping[str, ObjectEntry], features: KernelFeatures) -> dict[str, ObjectEntry]:
        """Load every object by itself, with the core's maps; return those that the kernel took."""
        cores = {digest: entry for digest, entry in objects.items() if entry.event == CORE}
        taken: dict[str, ObjectEntry] = {}
        with contextlib.ExitStack() as stack:
            maps: dict[str, int] = {}
            for digest, entry in cores.items():
                core = self._load_core(digest, entry, features)
                stack.callback(core.close)
                taken[digest] = entry
                maps = maps or _map_fds(core)
            others = {digest: entry for digest, entry in objects.items() if digest not in cores}
            pool = stack.enter_context(ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, LOADERS_MAX)))
            results = pool.map(lambda digest: self._try_object(digest, maps), others)
            for (digest, entry), problem in zip(others.items(), results, strict=True):
                if problem:
                    self._problems.append(problem)
                else:
                    taken[digest] = entry
        return taken

    def _load_core(self, digest: str, entry: ObjectEntry, features: KernelFeatures) -> _native.Object:
        has_tracepoints = features.has("tracepoint")
        reads_task = can_read_task({program.role for program in entry.programs})
        programs = [
            program.name
            for program in entry.programs
            if program.hook in CORE_TYPES[self._hook]
            and (program.hook != "tp" or has_tracepoints)
            and (reads_task or not program.role.endswith(BY_TASK))
        ]
        sizes = {"events": _native.possible_cpus() if self._level.is_perf else PAGE_BYTES, "counters": 1, "counts": 1}
        try:
            data, offsets = self._battery.object_bytes(digest), dict(find_task_offsets() or {})
            return _native.Object(data, role="core", sizes=sizes, programs=programs, offsets=offsets)
        except _native.Error as exc:
            raise convert_error(exc, CORE) from exc

    def _try_object(self, digest: str, maps: Mapping[str, int]) -> str:
        """Load an object and let it go; return the reason where the kernel does not take it."""
        entry = self._battery.entry(digest)
        try:
            data, programs = self._battery.object_bytes(digest), self._programs(entry)
            _native.Object(data, role="handler", reuse=dict(maps), programs=programs).close()
        except _native.Error as exc:
            return str(convert_error(exc, entry.event))
        return ""

    def _trace(self, events: set[str]) -> dict[str, int | tuple[str, ...]]:
        """Trace the workload with all events of the kernel's release that were loaded."""
        wanted = {
            name: spec
            for name, spec in self._schema.events.items()
            if name in events
            and (self._hook == "tracepoint" or spec.kind == "syscall")
            and self._level.name in self._battery.release(self._release).events.get(name, {})
        }
        with Workload(wanted) as workload, contextlib.ExitStack() as stack:
            tracer = self._attach(sorted(wanted), workload.pid, stack)
            seen: list[Event] = []
            for name in held(tracer.specs):
                tracer.on(name, seen.append)
            workload.release()
            tracer.run(duration_s=TRACE_S)
            tracer.close()
            calls = [call for call in workload.calls() if call.event in tracer.specs]
        missing = match_calls(calls, seen)
        for call in missing:
            self._problems.append(f"not delivered as made: {call}")
        self._look_at(tracer.ledger)
        left_out = tuple(sorted(wanted.keys() - tracer.specs.keys()))
        return {
            "attached": len(tracer.specs) + 1,
            "made": len(calls),
            "delivered": len(calls) - len(missing),
            "left_out": left_out,
        }

    def _look_at(self, ledger: Ledger) -> None:
        """Hold what is accounted for against what was emitted, and note what kprobes missed."""
        total = ledger.total
        if total.lost or total.dropped or total.undecodable or total.unaccounted:
            self._problems.append(f"events went missing: {ledger}")
        missed = ", ".join(f"{name} {figures.missed}" for name, figures in ledger.by_event.items() if figures.missed)
        if missed:
            # A call that is missed is not delivered.
            self._notes.append(f"missed: {missed}")

    def _attach(self, names: list[str], pid: int, stack: contextlib.ExitStack) -> Tracer:
        """Return a tracer that runs; an event whose programs the kernel refuses is left out of it, and named."""
        for _ in range(REFUSALS_MAX):
            tracer = Tracer(
                self._battery,
                events=names,
                pids=[pid],
                follow=True,
                details=DetailOptions(unfinished=False, text_limit=TEXT_LIMIT),
                probes=ProbeOptions(required=(), hook=self._hook, level=self._level.name),
            )
            try:
                tracer.start()
            except ProbeError as exc:
                if exc.probe not in names or len(names) == 1:
                    raise
                self._problems.append(str(exc))
                names = [name for name in names if name != exc.probe]
                continue
            stack.callback(tracer.close)
            return tracer
        raise TraceleftError(f"{REFUSALS_MAX} events and more were refused; nothing was traced")


def _map_fds(core: _native.Object) -> dict[str, int]:
    """The shared maps that a level has."""
    found = {}
    for name in (*NAMES, *OWNER_NAMES):
        with contextlib.suppress(_native.Error):
            found[name] = core.map_fd(name)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each level and hook; 0 if something works and nothing that the kernel offers fails, else 1."""
    parser = argparse.ArgumentParser(prog="python -m traceleft.tracer.qualify", description=__doc__)
    parser.add_argument("battery", metavar="BATTERY")
    parser.add_argument("--level", action="append", default=[], choices=list(LEVELS))
    parser.add_argument("--hook", action="append", default=[], choices=HOOKS)
    chosen = parser.parse_args(arguments)
    statuses = []
    try:
        for line in qualify(Battery.open(chosen.battery), levels=chosen.level, hooks=chosen.hook):
            statuses.append(line.status)
            print(json.dumps(asdict(line)), flush=True)
    except TraceleftError as exc:
        print(f"qualify: {exc}", file=sys.stderr)
        return 1
    return int("failed" in statuses or "ok" not in statuses)
