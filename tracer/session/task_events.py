"""Events of threads that are not syscalls: signals that they get, and how they end, in lines as strace has them.

Each is an event whose programs are the core's (templates/core_tasks.j2). Whether a kernel tells them depends on what
it has of raw tracepoints, tracepoints, BTF and kprobes, not on the hook by which calls are traced.
"""

import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from traceleft import tracefs
from traceleft.errors import UnsupportedError
from traceleft.tracer import _native
from traceleft.tracer.kernel.features import EXACT, KernelFeatures
from traceleft.tracer.kernel.formats import read_format
from traceleft.tracer.kernel.kernel_btf import TaskOffsets, task_offsets
from traceleft.tracer.schema.tasks import PROCESS_EXIT, SIGNAL

if TYPE_CHECKING:
    pass

REASONS: Final[Mapping[str, str]] = {
    SIGNAL: "this kernel, or the level in use, has no tracepoint signal:signal_deliver for it",
    PROCESS_EXIT: "this kernel shows an exit status neither by BTF nor by kprobes",
}


# By role, where its program is attached: a raw tracepoint, a tracepoint with its category, or a function.
RAW_PLACES: Final = {
    "raw_signal_sent": "signal_generate",
    "raw_signal": "signal_deliver",
    "raw_process_exit": "sched_process_exit",
}
TRACEPOINT_PLACES: Final = {
    "tp_signal": ("signal", "signal_deliver"),
    "tp_process_exit": ("sched", "sched_process_exit"),
}
KPROBE_EXIT: Final = "kprobe_process_exit"
# It keeps `tasks` current as well, and is attached for that.
STACK_EXIT: Final = "kprobe_on_exit"
EXIT_FUNCTION: Final = "do_exit"
MAP: Final = "task_places"

_TELLS: Final = {SIGNAL: 1, PROCESS_EXIT: 2}
_PLACES: Final = struct.Struct("=IIII")
# Where the program looks for them.
_DELIVER_FIELDS: Final = {"sig": (8, 4), "errno": (12, 4), "code": (16, 4)}


def choose_roles(name: str, held: Collection[str], features: KernelFeatures) -> tuple[str, ...] | None:
    """Return the roles of the core's programs that tell one of these events here, of those held; None: nothing can."""
    ways = _signal_ways(features) if name == SIGNAL else _exit_ways(features, held)
    return next((roles for roles in ways if set(roles) <= set(held)), None)


def is_told_by(core: bytes) -> bool:
    """Whether a core's programs tell of threads; those of older batteries do not."""
    return b"\0%s\0" % MAP.encode() in core


def _signal_ways(features: KernelFeatures) -> Iterator[tuple[str, ...]]:
    if _has_raw(features):
        if _knows_all(task_offsets()):
            # One that ends a process at once is shown as the process ends.
            yield "raw_signal", "raw_signal_sent", "raw_process_exit"
        yield ("raw_signal",)
    if features.has("tracepoint") and _has_deliver_fields():
        if features.has("raw_tracepoint") and _knows_all(task_offsets()):
            # If the kernel skips the program on the raw tracepoint, only the line of a signal that kills is missing.
            yield "tp_signal", "raw_signal_sent", "tp_process_exit"
        yield ("tp_signal",)


def _exit_ways(features: KernelFeatures, held: Collection[str]) -> Iterator[tuple[str, ...]]:
    if STACK_EXIT in held:
        yield ()
    if _has_raw(features) and _knows_all(task_offsets()):
        yield ("raw_process_exit",)
    if features.has("tracepoint") and task_offsets().exit_code is not None:
        yield ("tp_process_exit",)
    if features.has("kprobe"):
        yield (KPROBE_EXIT,)


def _has_raw(features: KernelFeatures) -> bool:
    """Whether there are raw tracepoints, and the kernel skips no program on them."""
    return features.has("raw_tracepoint") and not features.lacks(EXACT)


def _knows_all(offsets: TaskOffsets) -> bool:
    return None not in (offsets.pid, offsets.tgid, offsets.exit_code)


def _has_deliver_fields() -> bool:
    try:
        found = tracefs.field_offsets(read_format("signal", "signal_deliver"))
    except (OSError, UnsupportedError):
        return False
    return all(found.get(name) == place for name, place in _DELIVER_FIELDS.items())


def write_places(core: _native.Object, events: Iterable[str]) -> None:
    """Tell the core's programs which of these events are wanted, and where the kernel keeps what they read."""
    offsets = task_offsets()
    wanted = sum(_TELLS.get(name, 0) for name in events)
    value = _PLACES.pack(offsets.pid or 0, offsets.tgid or 0, offsets.exit_code or 0, wanted)
    _native.map_update(core.map_fd(MAP), bytes(4), value)
