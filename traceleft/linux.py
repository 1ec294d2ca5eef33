"""Facts of Linux that several layers need."""

from typing import Final

# A syscall failed where it returned -1 to -MAX_ERROR (include/linux/err.h).
MAX_ERROR: Final = 4095
EXECS: Final = frozenset({"execve", "execveat"})
"""The syscalls that replace the image of their process."""
RAW_TRACEPOINT: Final = "raw_tracepoint"
TRACEPOINT: Final = "tracepoint"
KPROBE: Final = "kprobe"
HOOKS: Final = (RAW_TRACEPOINT, TRACEPOINT, KPROBE)
"""What programs are attached to for syscalls, the cheapest first."""
