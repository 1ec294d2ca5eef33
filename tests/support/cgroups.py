"""Prints the number of the cgroup v2 root as programs see it: the kernel's handle of its directory.

Where cgroup v2 is not mounted, or the kernel gives its directories no handles (before 4.14), 0.
"""

import ctypes
import errno
import os
import sys

from traceleft.tracer.kernel.features import find_cgroup_mount

AT_FDCWD = -100
# struct file_handle: bytes, type, then the handle, which is the number of the directory's kernfs node.
HANDLE_BYTES = 8


def number_of(place: str) -> int:
    """Return the number of a cgroup, 0 where the kernel has no handles of cgroups; OSError where it fails."""
    handle = (ctypes.c_uint * 4)(HANDLE_BYTES)
    mount = ctypes.c_int()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.name_to_handle_at(AT_FDCWD, place.encode(), handle, ctypes.byref(mount), 0):
        if ctypes.get_errno() == errno.EOPNOTSUPP:
            return 0
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), place)
    return int(handle[2]) | int(handle[3]) << 32


if __name__ == "__main__":
    found = find_cgroup_mount()
    print(number_of(str(found)) if found else 0)
    sys.exit(0)
