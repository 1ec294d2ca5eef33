"""Whether the kernel may preempt programs on tracepoints, and so skip other runs of them.

A kernel runs no program a second time on a CPU while a first run is unfinished there. Tracepoints were called with
preemption disabled up to 6.19, so this never mattered to syscalls. From 7.0 on they are guarded by SRCU
(a46023d5616e): a thread that is preempted within a program makes the kernel skip that program for all threads of
the CPU until it runs again. On 7.3 two of three calls of eight threads were skipped. perf's tracepoints
disable preemption themselves (16718274ee75), except for the events of `syscalls:*`; kprobes disable it, as ever.
"""

from functools import cache
from pathlib import Path
from typing import Final

from traceleft.tracer.kernel.kernel_btf import has_names, open_btf

KALLSYMS: Final = Path("/proc/kallsyms")
# Up to 6.12 tracepoints had such an SRCU for idle CPUs alone; counters of this struct came with 6.15, without it.
IN_BTF: Final = ("tracepoint_srcu_srcu_data", "srcu_ctr")
IN_KALLSYMS: Final = ("tracepoint_srcu", "init_srcu_struct_fast")


@cache
def may_preempt_tracepoints() -> bool:
    """Tell whether programs of raw tracepoints, and of `syscalls:*`, may be preempted on the running kernel."""
    try:
        return has_names(open_btf(), *IN_BTF)
    except OSError:
        pass
    try:
        symbols = KALLSYMS.read_bytes()
    except OSError:
        return False
    return all(f" {name}\n".encode() in symbols for name in IN_KALLSYMS)
