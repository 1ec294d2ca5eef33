"""Where each program is attached, and what is said when that does not work."""

import errno
import os
from collections.abc import Callable, Collection, Mapping
from typing import Final

from traceleft import tracefs
from traceleft.errors import ProbeError, RefusedError, UnsupportedError
from traceleft.tracer import _native
from traceleft.tracer.kernel.formats import digest_format, read_format
from traceleft.tracer.kernel.kernel_btf import task_offsets
from traceleft.tracer.kernel.kprobe_core import FUNCTIONS, attach_function
from traceleft.tracer.kernel.kprobes import ReturnProbes
from traceleft.tracer.kernel.preemption import may_preempt_tracepoints
from traceleft.tracer.session import task_events, uring
from traceleft.tracer.session.filters import Offsets
from traceleft.tracer.session.plan import Part
from traceleft.tracer.session.task_events import EXIT_FUNCTION

SCHED: Final = {"on_exec": "sched_process_exec", "on_fork": "sched_process_fork", "on_exit": "sched_process_exit"}
RAW: Final = "raw_"
# Where the programs of the core's own events go, by role, and the one that counts operations of io_uring.
RAW_PLACES: Final = {**task_events.RAW_PLACES, uring.RAW_ROLE: uring.TRACEPOINT}
TRACEPOINT_PLACES: Final = {**task_events.TRACEPOINT_PLACES, uring.ROLE: (uring.CATEGORY, uring.TRACEPOINT)}
LOG_TAIL: Final = 200
# What the kernel says of this process, its memory and its rights, and not of a program that it loads.
NOT_OF_PROGRAMS: Final = frozenset({errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EPERM, errno.EAGAIN, errno.EINTR})
# What it says of a hook: not there, not for probes, held by another program (tracepoints below 4.15 have room for one).
OF_HOOKS: Final = frozenset({errno.ENOENT, errno.EINVAL, errno.EADDRNOTAVAIL, errno.EEXIST})
USELESS: Final = ("processed ", "--", "libbpf: --", "libbpf: failed to load object", "libbpf: elf: skipping ")


def convert_error(exc: _native.Error, probe: str, *, remedy: str = "") -> ProbeError:
    """Make a ProbeError of what the native module raised: one line, the log kept whole.

    A RefusedError where other programs, of a lower level or for another hook, may do.
    """
    number, what, log = exc.args
    said = _telling_line(log) or os.strerror(number).lower()
    if number == errno.EMFILE:
        said, remedy = "too many open files", "raise the limit: ulimit -n 4096"
    text = f"cannot {what}: {said}"
    is_refused = (what == "load" and number not in NOT_OF_PROGRAMS) or (what == "attach" and number in OF_HOOKS)
    kind = RefusedError if is_refused else ProbeError
    return kind(f"{text}; {remedy}" if remedy else text, probe=probe, log=log)


def attach_sched(core: _native.Object, role: str, program: str) -> _native.Link:
    """Attach one of the programs that keep `tasks` current, by its role, to a tracepoint or a function."""
    if role in FUNCTIONS:
        return _attach(lambda: attach_function(core, role, program), " or ".join(FUNCTIONS[role]), "kprobes must work")
    if role.startswith(RAW):
        return attach_raw(core, program, SCHED[role.removeprefix(RAW)])
    return _attach(
        lambda: core.attach_tracepoint(program, "sched", SCHED[role]), f"sched:{SCHED[role]}", "tracefs must be mounted"
    )


def choose_sched_roles(programs: Collection[str], events: Collection[str]) -> list[str]:
    """Return the roles that keep `tasks` current: those on raw tracepoints if the core has them and BTF the offset.

    Where these may be preempted, both are perf's. So they are for an event of the same tracepoint: only on perf's
    do programs run in the order in which they were attached.
    """
    if set(FUNCTIONS) <= set(programs):
        return list(FUNCTIONS)
    raw = [f"{RAW}{role}" for role in SCHED]
    is_shared = any(f"sched:{tracepoint}" in events for tracepoint in SCHED.values())
    if is_shared or may_preempt_tracepoints() or task_offsets().pid is None or not set(raw) <= set(programs):
        return list(SCHED)
    return raw


def attach_raw(core: _native.Object, program: str, tracepoint: str) -> _native.Link:
    """Attach a program to a raw tracepoint."""
    return _attach(
        lambda: core.attach_raw_tracepoint(program, tracepoint), tracepoint, "try --attach tracepoint or kprobe"
    )


def attach_tracepoint(loaded: _native.Object, program: str, category: str, event: str) -> _native.Link:
    """Attach a program to a tracepoint, by perf."""
    return _attach(
        lambda: loaded.attach_tracepoint(program, category, event), f"{category}:{event}", "tracefs must be mounted"
    )


def attach_own(core: _native.Object, role: str, program: str) -> _native.Link:
    """Attach one of the programs of the core's own events, or the one that counts operations of io_uring, by role."""
    if role in RAW_PLACES:
        return attach_raw(core, program, RAW_PLACES[role])
    if role in TRACEPOINT_PLACES:
        return attach_tracepoint(core, program, *TRACEPOINT_PLACES[role])
    return _attach(lambda: core.attach_kprobe(program, EXIT_FUNCTION), EXIT_FUNCTION, "kprobes must work")


def can_dispatch_tracepoints() -> bool:
    """Whether raw_syscalls' events hold number, arguments and result where those of `syscalls` do."""
    wanted = {"sys_enter": {"id": (8, 8), "args": (16, 48)}, "sys_exit": {"id": (8, 8), "ret": (16, 8)}}
    try:
        found = {event: tracefs.field_offsets(read_format("raw_syscalls", event)) for event in wanted}
    except OSError:
        return False
    return all(found[event].get(name) == place for event in wanted for name, place in wanted[event].items())


def attach_part(loaded: _native.Object, part: Part, returns: ReturnProbes) -> list[_native.Link]:
    """Attach a handler's programs to the event's own hooks; none for raw tracepoints, which tail-call them.

    What returns goes first: a call is never kept whose return nobody waits for.
    """
    attachers = _attachers(loaded, part, returns)
    links: list[_native.Link] = []
    try:
        for role in ("tp_exit", "kretprobe", "tp_enter", "kprobe", "kprobe_plain", "event"):
            if role in part.programs:
                links += [_attach(attach, part.spec.name, remedy) for attach, remedy in attachers[role]]
    except BaseException:
        for link in links:
            link.detach()
        raise
    return links


def _attachers(
    loaded: _native.Object, part: Part, returns: ReturnProbes
) -> Mapping[str, list[tuple[Callable[[], _native.Link], str]]]:
    name = part.spec.name
    category, _, event = name.partition(":")
    exits = [name, "execve"] if name == "execveat" else [name]
    lacking = f"this kernel has no such tracepoint; leave it out: -e '!{name}'"

    def tracepoint(role: str, place: str, what: str) -> Callable[[], _native.Link]:
        return lambda: loaded.attach_tracepoint(part.programs[role], place, what)

    def kprobe(role: str) -> Callable[[], _native.Link]:
        return lambda: loaded.attach_kprobe(part.programs[role], part.symbol)

    def kretprobe() -> _native.Link:
        return returns.attach(loaded, part.programs["kretprobe"], part.symbol, event=name)

    return {
        "tp_enter": [(tracepoint("tp_enter", "syscalls", f"sys_enter_{name}"), lacking)],
        "tp_exit": [(tracepoint("tp_exit", "syscalls", f"sys_exit_{each}"), lacking) for each in exits],
        "kprobe": [(kprobe("kprobe"), f"no kprobe on {part.symbol}; leave it out: -e '!{name}'")],
        "kprobe_plain": [(kprobe("kprobe_plain"), f"no kprobe on {part.symbol}; leave it out: -e '!{name}'")],
        "kretprobe": [(kretprobe, f"no kretprobe on {part.symbol}; leave it out: -e '!{name}'")],
        "event": [(tracepoint("event", category, event), "this kernel has no such tracepoint")],
    }


def _attach(attach: Callable[[], _native.Link], place: str, remedy: str) -> _native.Link:
    try:
        return attach()
    except _native.Error as exc:
        if exc.args[0] == errno.EEXIST:
            remedy = "another program holds it, and this kernel lets it have one only; end that tracer"
        raise convert_error(exc, place, remedy=remedy) from exc


def check_format(part: Part) -> None:
    """Refuse a tracepoint whose format on this kernel is not the one that its object was made from."""
    category, _, event = part.spec.name.partition(":")
    try:
        text = read_format(category, event)
    except OSError as exc:
        raise ProbeError("this kernel has no such tracepoint; see: traceleft list", probe=part.spec.name) from exc
    if digest_format(text) != part.spec.format:
        raise ProbeError(
            "its format on this kernel is not the battery's: generate and build it from this kernel",
            probe=part.spec.name,
        )


def find_offsets(roles: Collection[str]) -> Offsets:
    """Return what the programs of these roles have to know of the running kernel."""
    if "kprobe_on_fork" in roles:
        # Found once its program is loaded (kprobe_core.find_pid_offset).
        return Offsets(fork_child_pid=0, exec_old_pid=0)
    found = task_offsets()
    if "raw_on_fork" in roles:
        return Offsets(fork_child_pid=found.pid or 0, exec_old_pid=0, compat=found.status)
    return Offsets(
        fork_child_pid=_field_offset("sched_process_fork", "child_pid"),
        exec_old_pid=_field_offset("sched_process_exec", "old_pid"),
        compat=found.status,
    )


def _field_offset(event: str, field: str) -> int:
    try:
        found = tracefs.field_offsets(read_format("sched", event))
    except OSError as exc:
        raise UnsupportedError(f"tracepoint sched:{event}", "tracefs lacks it; needs CONFIG_TRACEPOINTS") from exc
    if field not in found:
        raise UnsupportedError(f"tracepoint sched:{event}", f"its format has no field {field}")
    offset, size = found[field]
    # The programs read four bytes within the first 256.
    if size != 4 or offset > 252:
        raise UnsupportedError(f"tracepoint sched:{event}", f"its field {field} lies at {offset} with {size} bytes")
    return offset


def _telling_line(log: str) -> str:
    """The verifier's reason: the last line before its statistics."""
    lines = [line.strip() for line in log.splitlines()]
    lines = [line for line in lines if line and not line.startswith(USELESS)]
    refused = [line for line in lines if not line.startswith("libbpf:")] or lines
    return refused[-1].removeprefix("libbpf: ")[:LOG_TAIL] if refused else ""
