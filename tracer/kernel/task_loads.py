"""Offsets by which programs read task_struct without a helper, for the loader to put into them.

A helper is a call, and most of what helpers tell of a caller lies in task_struct: to read it there takes a third off
what a traced call costs. Programs that do (templates/include/task.h) hold numbers that stand for offsets.
"""

from collections.abc import Collection, Mapping
from functools import cache
from typing import Final

from traceleft.tracer import _native
from traceleft.tracer.kernel.features import PROGRAM_RAW_TRACEPOINT
from traceleft.tracer.kernel.kernel_btf import STATUS, find_offset, open_btf

# What the names of such programs end in.
BY_TASK: Final = "_task"
# Batteries of before have others of that end, but not this one.
MARK: Final = "dispatch_enter_task"
# enum bpf_func_id of include/uapi/linux/bpf.h.
HELPER_CURRENT_TASK_BTF: Final = 158
HELPER_TASK_PT_REGS: Final = 175
# Offsets are 16 bits of an instruction, with a sign; from here on they are numbers that stand for one.
NUMBERS_MIN: Final = 0x7F00
COMM: Final = 0x7F18
COMM_END: Final = 0x7F20
# Each of them as in templates/include/task.h, and the members that lead to it, of structs within structs.
MEMBERS: Final = {
    0x7F00: STATUS,
    0x7F08: (("task_struct", "pid"),),
    0x7F10: (("task_struct", "tgid"),),
    COMM: (("task_struct", "comm"),),
    0x7F28: (("task_struct", "cred"),),
    0x7F30: (("task_struct", "cgroups"),),
    0x7F38: (("cred", "uid"),),
    0x7F40: (("cred", "gid"),),
    0x7F48: (("css_set", "dfl_cgrp"),),
    0x7F50: (("cgroup", "kn"),),
    0x7F58: (("kernfs_node", "id"),),
}


@cache
def find_task_offsets() -> Mapping[int, int] | None:
    """Return the running kernel's offset for each number.

    None where programs cannot read task_struct: before 5.15, without BTF, or where BTF lacks a member.
    """
    try:
        _native.probe_program(PROGRAM_RAW_TRACEPOINT, HELPER_CURRENT_TASK_BTF, HELPER_TASK_PT_REGS)
        btf = open_btf()
    except (OSError, _native.Error):
        return None
    found = {number: find_offset(btf, *path) for number, path in MEMBERS.items()}
    offsets = {number: offset for number, offset in found.items() if offset is not None and offset < NUMBERS_MIN}
    if len(offsets) < len(MEMBERS):
        return None
    return offsets | {COMM_END: offsets[COMM] + 8}


def can_read_task(roles: Collection[str]) -> bool:
    """Whether a core with these roles has programs that read task_struct, and the running kernel lets them."""
    return MARK in roles and find_task_offsets() is not None
