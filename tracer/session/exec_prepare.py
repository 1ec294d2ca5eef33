"""Where the strings of an exec are read again: just before the old image is gone.

What could not be read as the call was entered can be read there: the kernel has copied the strings by then, so their
pages are present. sched:sched_prepare_exec came with 6.10. On kernels without it a kprobe on begin_new_exec()
(flush_old_exec() below 5.8) serves, from level 4.18 on. Elsewhere such strings are shown as unreadable.
"""

import contextlib
import os
from collections.abc import Callable, Mapping
from functools import cache
from typing import Final

from traceleft import tracefs
from traceleft.errors import ProbeError
from traceleft.tracer import _native
from traceleft.tracer.kernel.formats import kernel_format
from traceleft.tracer.kernel.kprobe_core import attach_begin_exec
from traceleft.tracer.session.attach import attach_raw, attach_tracepoint

TRACEPOINT: Final = "sched_prepare_exec"
_KPROBE_ROLE: Final = "kprobe_prepare"
_ROLES: Final = {"raw_tracepoint": "raw_prepare", "tracepoint": "tp_prepare"}
_KPROBE_PMU: Final = "/sys/bus/event_source/devices/kprobe"


@cache
def prepare_roles(hook: str) -> tuple[str, ...]:
    """Return the roles of programs that a hook can attach there on this kernel, the best first."""
    has_tracepoint = hook in _ROLES and kernel_format(f"sched:{TRACEPOINT}") is not None
    places = [_KPROBE_PMU, *(f"{place}/kprobe_events" for place in tracefs.PLACES)]
    has_kprobes = any(os.path.exists(place) for place in places)
    return (*((_ROLES[hook],) if has_tracepoint else ()), *((_KPROBE_ROLE,) if has_kprobes else ()))


def attach_prepare(loaded: _native.Object, programs: Mapping[str, str]) -> list[_native.Link]:
    """Attach the program of an exec's object that reads again, if it has one of a role, and the kernel takes it."""
    attachers: Mapping[str, Callable[[str], _native.Link]] = {
        "raw_prepare": lambda program: attach_raw(loaded, program, TRACEPOINT),
        "tp_prepare": lambda program: attach_tracepoint(loaded, program, "sched", TRACEPOINT),
        _KPROBE_ROLE: lambda program: attach_begin_exec(loaded, program),
    }
    for role, attach in attachers.items():
        if role in programs:
            with contextlib.suppress(ProbeError, _native.Error):
                return [attach(programs[role])]
    return []
