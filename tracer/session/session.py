"""Objects, maps and programs of a plan: loaded, attached, and released again on every path."""

import contextlib
import os
import time
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Self

from traceleft.errors import ProbeError, RefusedError, UnsupportedError
from traceleft.linux import EXECS
from traceleft.tracer import _native
from traceleft.tracer.account.ledger import KernelCounts
from traceleft.tracer.kernel.cgroups import put_cgroup
from traceleft.tracer.kernel.kernel_btf import task_offsets
from traceleft.tracer.kernel.kprobe_core import FIND_PID, find_pid_offset
from traceleft.tracer.kernel.kprobes import ReturnProbes, remove_leftovers
from traceleft.tracer.kernel.memory import PAGE_BYTES, choose_perf_pages, choose_queue_bytes, choose_ring_pages
from traceleft.tracer.schema import core as core_events
from traceleft.tracer.schema import tasks, unknown
from traceleft.tracer.session import filters, task_events, unknown_calls, uring
from traceleft.tracer.session.attach import (
    RAW,
    attach_own,
    attach_part,
    attach_raw,
    attach_sched,
    attach_tracepoint,
    check_format,
    convert_error,
    find_offsets,
)
from traceleft.tracer.session.compat import FIND_STATUS, find_status_offset
from traceleft.tracer.session.direct_jumps import NEAR, choose_near
from traceleft.tracer.session.exec_prepare import attach_prepare
from traceleft.tracer.session.filters import Filters, Offsets, OneProcess, pack_config
from traceleft.tracer.session.maps import (
    NAMES,
    OWNER_NAMES,
    STACK_NAMES,
    Maps,
    chosen_flags,
)
from traceleft.tracer.session.open_files import more_open_files
from traceleft.tracer.session.options import Options
from traceleft.tracer.session.parallel import detach_all, run_all
from traceleft.tracer.session.plan import Part, Plan
from traceleft.tracer.session.roles import Roles
from traceleft.tracer.session.run_stats import RunStats

if TYPE_CHECKING:
    from traceleft.tracer.session.kernel_rollup import RawGroups

SYSCALLS_MAX: Final = 1024
LOADERS_MAX: Final = 8
PROG_ARRAYS: Final = (
    ("raw_enter", "progs_enter"),
    ("raw_exit", "progs_exit"),
    ("tp_enter", "progs_tp_enter"),
    ("tp_exit", "progs_tp_exit"),
)
STACKS: Final = "stacks"
# The programs that are jumped to.
NEAR_ROLE: Final = "raw_exit"
NOT_NEAR: Final = -1


class Session:
    """A plan in the kernel. Use it in a with statement: whatever happens, nothing stays attached.

    Nothing is emitted before enable(). Needs CAP_BPF and CAP_PERFMON, or root. RefusedError where the kernel refuses
    the core or an event. With ``required`` an event that is not among them is left out instead: then `plan` lacks it,
    and `left_out` has the kernel's words; RefusedError if none remains.
    """

    def __init__(
        self, plan: Plan, filters: Filters, options: Options, *, required: Collection[str] | None = None
    ) -> None:
        self.plan = plan
        self.left_out: dict[str, ProbeError] = {}
        self._required = required
        self.cpus = _native.possible_cpus()
        self._perf_pages = choose_perf_pages(options.buffers.pages, self.cpus) if plan.level.is_perf else 0
        self.buffer_pages = self._perf_pages * self.cpus or choose_ring_pages(options.buffers.pages)
        self._filters = filters
        self.asks_identity = filters.asks_identity
        self._options = options
        self._roles = Roles(plan, options, asks_identity=self.asks_identity)
        # The core's programs for its own events, by role.
        self._own = {part.spec.name: part.programs for part in plan.parts if part.spec.name in core_events.NAMES}
        self._uring = [] if options.loads_only else uring.choose_roles(plan.core_programs)
        self._near = choose_near(part.spec.name for part in self._objects() if self._roles.is_dispatched(part))
        self._offsets: Offsets | None = None
        self._only: OneProcess | None = None
        self._links: list[_native.Link] = []
        self._raw_links: list[_native.Link] = []
        self._part_links: dict[int, list[_native.Link]] = {}
        self._returns = ReturnProbes()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(more_open_files())
            self._run_stats = stack.enter_context(contextlib.closing(RunStats()))
            stack.callback(self.detach)
            if self.plan.hook == "kprobe":
                remove_leftovers()
            self._load_core(stack)
            # Programs on one tracepoint run in the order in which they were attached: an exec's event comes after what
            # the exec changes in `tasks`, an exit's before.
            self._attach_sched("exec", "fork", "free")
            self._load_parts()
            self._attach_own()
            self._attach_sched("exit")
            self._attach_dispatchers()
            self.drain = self._open_drain()
            stack.callback(self.drain.stop)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def enable(self) -> None:
        """Let events flow."""
        self._write_config(filters.ENABLED)

    def trace_only(self, process: OneProcess) -> None:
        """Take one process's calls and no others, its children's neither: that costs less than asking for threads.

        Before enable(). Where programs do not see every exit, the threads in `tasks` tell as they do without.
        """
        if self.plan.hook == "raw_tracepoint":
            self._only = process

    def disable(self) -> None:
        """Let no event flow any more; all stays attached."""
        self._write_config(0)

    def detach(self) -> None:
        """Detach every program; may be called again.

        For each but raw tracepoints the kernel waits a grace period, tens of milliseconds: many are waited for at once.
        """
        raw_links, self._raw_links = self._raw_links, []
        for link in raw_links:
            link.detach()
        links, self._links = self._links, []
        try:
            detach_all(link.detach for link in links)
        finally:
            self._returns.close()

    def counts(self) -> KernelCounts:
        """Return the kernel's counters once they stand still, which they do soon after disable() or detach()."""
        ids = [part.spec.id for part in self.plan.parts]
        before = self.maps.kernel_counts(ids, self.cpus)
        for _ in range(100):
            time.sleep(0.002)
            after = self.maps.kernel_counts(ids, self.cpus)
            if after == before:
                break
            before = after
        bypassed = uring.read_counts(self._core, self.cpus) if self._uring else {}
        return replace(before, skipped=self._run_stats.skipped(), bypassed=bypassed)

    def rolled_up(self) -> "RawGroups":
        """Return what the kernel has rolled up so far."""
        spec = self._options.rollup
        return {} if spec is None else spec.read(self.maps.fds, self.cpus, events=len(self.plan.parts))

    def shed(self, event: int) -> None:
        """Trace an event no longer, by its id; what it has emitted stays. Others go on."""
        part = next(part for part in self.plan.parts if part.spec.id == event)
        number = part.spec.number
        for link in self._part_links.pop(event, []):
            link.detach()
        if self._own.pop(part.spec.name, None) is not None and part.spec.name in tasks.NAMES:
            task_events.write_places(self._core, self._own)
        # Level 4.4 has neither that map nor arrays of programs.
        if number is not None and number < SYSCALLS_MAX and "chosen" in self.maps.fds:
            self.maps.put("chosen", number, 0)
            if part.spec.name == unknown.NAME:
                unknown_calls.mark(self.maps, self.plan.unknown, 0)
            for array, key, _ in self._places(part):
                self.maps.clear(array, key)

    def programs_ns(self) -> int:
        """Return how long our attached programs have run, in nanoseconds, where the kernel keeps statistics.

        What they tail-call counts as theirs.
        """
        return self._run_stats.total_ns()

    def _open_drain(self) -> _native.Drain:
        queue_bytes = choose_queue_bytes(self._options.buffers.queue_bytes)
        try:
            return _native.Drain(self.maps.fds["events"], self.plan.layouts(), queue_bytes, self._perf_pages)
        except _native.Error as exc:
            raise convert_error(exc, "core", remedy="try a smaller --buffer-pages") from exc

    def _load_core(self, stack: contextlib.ExitStack) -> None:
        sizes = {"events": self.cpus if self._perf_pages else self.buffer_pages * PAGE_BYTES}
        # At level 4.4 these are arrays by key and CPU.
        share = self.cpus if self.plan.level.is_stack else 1
        sizes |= dict.fromkeys(("counters", "counts"), (self.plan.highest_id + 1) * share) | {"cpu_state": share}
        spec = self._options.rollup
        sizes |= spec.sizes(len(self.plan.parts)) if spec is not None else {}
        attaches = not self._options.loads_only
        finds_status = attaches and FIND_STATUS in self.plan.core_programs and task_offsets().status is None
        asked = self._options.stacks
        own = {}
        if asked is not None:
            from traceleft.tracer.stacks.live_stacks import make_map

            if not self.plan.has_map(STACKS):
                raise UnsupportedError("-k", "the battery is older than stacks; build it again")
            own[STACKS] = make_map(asked.entries)
            stack.callback(os.close, own[STACKS])
        more = [FIND_STATUS] * finds_status + [FIND_PID] * ("kprobe_on_fork" in self._roles.names)
        told = (role for programs in self._own.values() for role in programs)
        self._core = self._open_core(sizes, own, [*more, *told, *self._uring])
        stack.callback(self._core.close)
        roles, is_stack = self._roles.names, self.plan.level.is_stack
        names = [*(STACK_NAMES if is_stack else (*NAMES, *OWNER_NAMES)), *(() if spec is None else spec.maps)]
        # A map that was reused has the name, if any, that it was made with.
        found = {name: own.get(name) or self._core.map_fd(name) for name in names if self.plan.has_map(name)}
        self.maps = Maps(found, is_stack)
        if spec is not None:
            spec.prepare(self.maps.fds, self.cpus)
        self._offsets = find_offsets(roles)
        if finds_status:
            status = find_status_offset(self._core, self.plan.core_programs[FIND_STATUS], self.maps)
            self._offsets = replace(self._offsets, compat=status)
        self._write_config(0)
        if attaches and "kprobe_on_fork" in roles:
            self._find_pid_offset()
        if self._filters.cgroup is not None:
            put_cgroup(self.maps.fds["cgroups"], self._filters.cgroup)

    def _open_core(self, sizes: dict[str, int], own: dict[str, int], more: list[str]) -> _native.Object:
        """Load the core's programs of our roles and some more; by helpers where the verifier lets none read a task."""
        while True:
            wanted = sorted({self.plan.core_programs[role] for role in (*self._roles.names, *more)})
            try:
                core = _native.Object(
                    self.plan.core, role="core", sizes=sizes, programs=wanted, reuse=own, offsets=self._roles.offsets
                )
            except _native.Error as exc:
                if not self._roles.reads_task:
                    raise convert_error(exc, "core") from exc
                self._roles = self._roles.by_helpers()
            else:
                self._run_stats.note(core, wanted)
                return core

    def _find_pid_offset(self) -> None:
        assert self._offsets is not None
        program = self.plan.core_programs[FIND_PID]
        try:
            offset = find_pid_offset(self._core, program, self._core.map_fd("pid_words"))
        except _native.Error as exc:
            raise convert_error(exc, "alloc_pid", remedy="kprobes must work") from exc
        self._offsets = replace(self._offsets, fork_child_pid=offset)
        self._write_config(0)

    def _attach_sched(self, *wanted: str) -> None:
        """Attach what keeps `tasks` current."""
        if self._options.loads_only:
            return
        for role in self._roles.names:
            if any(f"on_{each}" in role for each in wanted):
                links = self._raw_links if role.startswith(RAW) else self._links
                links.append(attach_sched(self._core, role, self.plan.core_programs[role]))

    def _attach_own(self) -> None:
        """Attach what tells of signals, of ends of threads, and of operations that are not calls."""
        if self._options.loads_only:
            return
        if not self._own.keys().isdisjoint(tasks.NAMES):
            task_events.write_places(self._core, self._own)
        for role in self._uring:
            uring.write_place(self._core, role)
        for role in sorted({*self._uring, *(role for name in tasks.NAMES for role in self._own.get(name, ()))}):
            links = self._raw_links if role.startswith(RAW) else self._links
            links.append(attach_own(self._core, role, self.plan.core_programs[role]))

    def _attach_dispatchers(self) -> None:
        """Attach exits before entries, so that no entry waits in vain."""
        if self._options.loads_only:
            return
        for role, tracepoint in self._roles.raw.items():
            self._raw_links.append(attach_raw(self._core, self.plan.core_programs[role], tracepoint))
        for role, tracepoint in self._roles.perf.items():
            program = self.plan.core_programs[role]
            self._links.append(attach_tracepoint(self._core, program, "raw_syscalls", tracepoint))

    def _load_parts(self) -> None:
        for part in self.plan.parts:
            if part.spec.kind == "tracepoint" and part.spec.name not in core_events.NAMES:
                check_format(part)
            elif self.plan.level.is_stack:
                continue
            elif part.spec.number is not None and part.spec.number < SYSCALLS_MAX:
                self.maps.put("chosen", part.spec.number, part.spec.id + 1 | self._chosen_flags(part))
        unknown_calls.place(self.maps, self._core, self._own.get(unknown.NAME, {}), self.plan.unknown)
        called = [part for part in self._objects() if self._roles.is_called(part)]
        if len(called) == 1:
            self._links += self._try_part(called[0])
        else:
            # The verifier takes nearly all of the time, and runs on as many CPUs as ask for it.
            workers = min(self.cpus, LOADERS_MAX)
            run_all(self._try_part, called, workers=workers, keep=self._links.extend)
        self._forget_left_out()

    def _objects(self) -> list[Part]:
        """Return the parts that have objects of their own."""
        return [part for part in self.plan.parts if part.spec.name not in core_events.NAMES]

    def _try_part(self, part: Part) -> list[_native.Link]:
        try:
            return self._load_part(part)
        except RefusedError as exc:
            if self._required is None or part.spec.name in self._required:
                raise
            self.left_out[part.spec.name] = exc
            return []

    def _forget_left_out(self) -> None:
        """Go on with the events that are there."""
        if not self.left_out:
            return
        for part in self.plan.parts:
            if part.spec.name in self.left_out:
                self.shed(part.spec.id)
        parts = tuple(part for part in self.plan.parts if part.spec.name not in self.left_out)
        if not parts:
            raise next(iter(self.left_out.values()))
        self.plan = replace(self.plan, parts=parts)

    def _chosen_flags(self, part: Part) -> int:
        spec = self._options.rollup
        moves = spec is not None and part.spec.name in spec.byte_events
        near = self._near.get(part.spec.name, NOT_NEAR) + 1 if NEAR in self.maps.fds else 0
        return chosen_flags(part.spec, moves=moves, near=near)

    def _load_part(self, part: Part) -> list[_native.Link]:
        try:
            loaded = _native.Object(
                part.data, role="handler", reuse=dict(self.maps.fds), programs=sorted(part.programs.values())
            )
        except _native.Error as exc:
            raise convert_error(exc, part.spec.name) from exc
        # The prog arrays and the links keep the programs: hundreds of objects need no fds of their own.
        with contextlib.closing(loaded):
            if self._options.loads_only:
                return []
            if self._roles.ends_execs and part.spec.name in EXECS and part.spec.number is not None:
                self.maps.put("progs_tp_exit", part.spec.number, loaded.program_fd(part.programs["tp_exit"]))
            links = self._part_links[part.spec.id] = attach_prepare(loaded, part.programs)
            if not self._roles.is_dispatched(part):
                self._run_stats.note(loaded, part.programs.values())
                try:
                    links += attach_part(loaded, part, self._returns)
                except BaseException:
                    for link in links:
                        link.detach()
                    raise
                return links
            for array, key, role in self._places(part):
                self.maps.put(array, key, loaded.program_fd(part.programs[role]))
            return links

    def _places(self, part: Part) -> Iterator[tuple[str, int, str]]:
        """Where a dispatched part's programs go: an array of programs, the key in it, the program's role."""
        if part.spec.number is None:
            return
        for role, array in PROG_ARRAYS:
            if role in part.programs:
                yield array, part.spec.number, role
        if NEAR in self.maps.fds and part.spec.name in self._near and NEAR_ROLE in part.programs:
            yield NEAR, self._near[part.spec.name], NEAR_ROLE

    def _write_config(self, flags: int) -> None:
        assert self._offsets is not None
        flags |= self._options.flags
        # An exit is paired with its entry through `tasks`.
        flags |= filters.UNFINISHED if self._roles.keeps_entries else 0
        flags |= filters.RETURNS if self.plan.hook == "kprobe" else 0
        config = pack_config(
            self._filters,
            self._offsets,
            flags=flags,
            self_tgid=os.getpid(),
            cpus=self.cpus,
            only=self._only,
            rollup=0 if self._options.rollup is None else self._options.rollup.flags,
        )
        self.maps.put("config", 0, config)
