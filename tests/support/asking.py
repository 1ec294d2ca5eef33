"""Asking the kernel underneath whether it takes a program."""

import ctypes
import os
import struct

BPF = {"x86_64": 321, "aarch64": 280}
BPF_PROG_LOAD = 5
KPROBE, TRACEPOINT, RAW_TRACEPOINT = 2, 5, 17
LOG_BYTES = 1 << 16


def load_program(kind: int, code: bytes) -> tuple[bool, str]:
    """Load a program, and let go of it; return whether it was taken, and the verifier's words."""
    code_at, licence, log = (ctypes.create_string_buffer(data) for data in (code, b"GPL", bytes(LOG_BYTES)))
    places = (ctypes.addressof(code_at), ctypes.addressof(licence))
    head = struct.pack("<IIQQIIQI", kind, len(code) // 8, *places, 1, LOG_BYTES, ctypes.addressof(log), 0)
    libc = ctypes.CDLL(None, use_errno=True)
    attributes = ctypes.create_string_buffer(head.ljust(128, b"\0"))
    fd = libc.syscall(BPF[os.uname().machine], BPF_PROG_LOAD, attributes, 128)
    if fd >= 0:
        os.close(fd)
    assert fd >= 0 or log.value, os.strerror(ctypes.get_errno())
    return fd >= 0, log.value.decode()
