"""The core's programs that a trace needs: what is not loaded costs nobody anything."""

from collections.abc import Collection
from functools import cached_property
from typing import Final

from traceleft.linux import EXECS
from traceleft.tracer.kernel.preemption import may_preempt_tracepoints
from traceleft.tracer.kernel.task_loads import BY_TASK, can_read_task, find_task_offsets
from traceleft.tracer.session import filters
from traceleft.tracer.session.attach import can_dispatch_tracepoints, choose_sched_roles
from traceleft.tracer.session.compat import COUNT_RAW, COUNT_TRACEPOINT
from traceleft.tracer.session.options import Options
from traceleft.tracer.session.plan import ROLLUP_ENTER, ROLLUP_EXIT, Part, Plan

# From so many syscalls on, one pair of tracepoints for all is cheaper to attach, and above all to detach.
DISPATCHED_MIN: Final = 8
DISPATCH_ENTER: Final = "dispatch_enter"
DISPATCH_EXIT: Final = "dispatch_exit"
TRACEPOINT_DISPATCHERS: Final = {"dispatch_tp_exit": "sys_exit", "dispatch_tp_enter": "sys_enter"}


class Roles:
    """Which of the core's programs a trace loads, and how its events' programs are reached.

    ``asks_identity``: whether a filter asks for more than the process that makes a call. ``reads_task``: whether
    programs may read task_struct, where there are such and the kernel knows how.
    """

    def __init__(self, plan: Plan, options: Options, *, asks_identity: bool, reads_task: bool = True) -> None:
        self._plan = plan
        self._options = options
        self._asks_identity = asks_identity
        self.reads_task = reads_task and can_read_task(plan.core_programs)

    def by_helpers(self) -> "Roles":
        """Return the same with programs that ask helpers."""
        return Roles(self._plan, self._options, asks_identity=self._asks_identity, reads_task=False)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All that are loaded and attached."""
        keeps_tasks = self.keeps_entries or self._options.tasks_only
        events = [part.spec.name for part in self._plan.parts]
        tasks = choose_sched_roles(self._plan.core_programs, events) if keeps_tasks else []
        return (*tasks, *self.raw, *self.perf)

    @cached_property
    def raw(self) -> dict[str, str]:
        """Those of raw tracepoints, each with its tracepoint, exits first: no entry waits for one in vain."""
        if self._has_syscalls and self._plan.hook == "raw_tracepoint":
            rolls_up = self._options.rollup is not None
            exits = {self._pick(ROLLUP_EXIT if rolls_up else DISPATCH_EXIT): "sys_exit"}
            enters = {self._pick(ROLLUP_ENTER if rolls_up else DISPATCH_ENTER): "sys_enter"}
            return exits | enters if self.keeps_entries else exits
        return {self._pick(COUNT_RAW): "sys_exit"} if self._counter == COUNT_RAW else {}

    @cached_property
    def perf(self) -> dict[str, str]:
        """Those of raw_syscalls:* by perf, each with its tracepoint, exits first."""
        if self.dispatches_tracepoints:
            return TRACEPOINT_DISPATCHERS
        return {COUNT_TRACEPOINT: "sys_exit"} if self._counter == COUNT_TRACEPOINT else {}

    @cached_property
    def _has_syscalls(self) -> bool:
        return any(part.spec.kind == "syscall" for part in self._plan.parts)

    @cached_property
    def _counter(self) -> str | None:
        """What counts 32-bit calls where no dispatcher does; a raw tracepoint costs bystanders least."""
        held = self._plan.core_programs
        if not self._has_syscalls or self._plan.hook == "raw_tracepoint" or self.dispatches_tracepoints:
            return None
        if COUNT_RAW in held and not self.ends_execs and not may_preempt_tracepoints():
            return COUNT_RAW
        return COUNT_TRACEPOINT if COUNT_TRACEPOINT in held and can_dispatch_tracepoints() else None

    def _pick(self, role: str) -> str:
        return role + BY_TASK if self.reads_task else role

    @property
    def offsets(self) -> dict[int, int]:
        """What is put into programs that read task_struct."""
        return dict(find_task_offsets() or {}) if self.reads_task else {}

    @cached_property
    def keeps_entries(self) -> bool:
        """Whether exits are paired with entries; only raw tracepoints see a call's arguments at its exit."""
        sees_no_args = self._plan.hook != "raw_tracepoint" and self._has_syscalls
        # Which calls are unfinished, /proc tells of a process, and the kernel alone of who else is asked for.
        asked = self._options.flags & filters.TIMES or (self._options.unfinished and self._asks_identity)
        return sees_no_args or self._plan.needs_entry or bool(asked)

    @cached_property
    def dispatches_tracepoints(self) -> bool:
        """Whether events on the tracepoint hook share one pair of tracepoints, which are not preempted anywhere."""
        numbered = [part.spec.name for part in self._plan.parts if part.spec.number is not None]
        is_wanted = wants_dispatcher(numbered) or (bool(numbered) and may_preempt_tracepoints())
        return self._plan.hook == "tracepoint" and is_wanted and can_dispatch_tracepoints()

    @cached_property
    def ends_execs(self) -> bool:
        """Whether execs have tracepoints of their own, which do not fire at the end of those of 32-bit images."""
        return (
            self._plan.hook == "tracepoint"
            and not self.dispatches_tracepoints
            and any(part.spec.name in EXECS for part in self._plan.parts)
        )

    def is_dispatched(self, part: Part) -> bool:
        """Whether the part's programs are tail-called by the core's, not attached to anything."""
        is_raw = self._plan.hook == "raw_tracepoint"
        return part.spec.number is not None and (is_raw or self.dispatches_tracepoints)

    def is_called(self, part: Part) -> bool:
        """Where calls are only counted, the dispatcher does that, except for those that it does not see return."""
        is_dispatched = self._plan.hook == "raw_tracepoint" and part.spec.kind == "syscall"
        if not self._options.is_only_counting or not is_dispatched:
            return True
        return self._options.rollup is None and part.spec.entry == "emit"


def wants_dispatcher(syscalls: Collection[str]) -> bool:
    """Whether these share one pair of tracepoints on the tracepoint hook, rather than having each its own."""
    # Both execs return by one tracepoint, which has room for one program only on kernels below 4.15.
    return len(syscalls) >= DISPATCHED_MIN or set(syscalls) >= EXECS
