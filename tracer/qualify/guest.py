"""The first process of a guest that has nothing but this: it qualifies /battery and tells what it sees.

It tells over the second serial port; where the kernel has no such port, over QEMU's debugging port or the console.
It begins with ``{"begun": RELEASE}``, tells its lines (``traceleft.tracer.qualify``), or ``{"error": TEXT}`` where it
does not come to them, and ends with ``{"end": STATUS}``. Run elsewhere with ``--modules``, it tells what it has to be
given.
"""

import contextlib
import ctypes
import errno
import fcntl
import importlib
import json
import os
import resource
import struct
import sys
import termios
import traceback
import tty
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final, NoReturn

from traceleft.battery import Battery
from traceleft.errors import TraceleftError, UnsupportedError
from traceleft.tracer import _native
from traceleft.tracer.qualify.battery import qualify

Write = Callable[[bytes], int]
"""Takes bytes and returns how many of them it has written."""

BATTERY: Final = "/battery"
SERIAL: Final = "/dev/ttyS1"
# Where the kernel has no second serial port, a byte written to an I/O port reaches QEMU all the same; a read of that
# port gives its own number (QEMU's isa-debugcon).
PORTS: Final = "/dev/port"
DEBUG_PORT: Final = 0xE9
# At last: what we tell stands there between other lines.
CONSOLE: Final = "/dev/console"
# Bytes that nobody knows, from who made the image; how many bits the kernel may count for them.
SEED: Final = "/seed"
# RNDADDENTROPY of include/uapi/linux/random.h, of struct rand_pool_info: bits, bytes, then the bytes.
ADD_ENTROPY: Final = 0x40085203
# Mounted in this order; what fails (a kernel without it) shows in what follows.
MOUNTS: Final = (
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("tracefs", "/sys/kernel/tracing"),
    ("debugfs", "/sys/kernel/debug"),
)
OPEN_FILES: Final = 1 << 16
# What is imported only when it is needed.
LATE: Final = (
    "concurrent.futures.thread",
    "encodings.ascii",
    "encodings.latin_1",
    "runpy",
    "subprocess",
    "traceleft.tracer.qualify.guest",
)
LIBBPF: Final = "libbpf.so.1"
# What others import if it is there. OpenSSL would be half of the image.
UNUSED: Final = frozenset({"__main__", "_distutils_hack", "_hashlib", "_ssl", "sitecustomize", "ssl", "usercustomize"})
# RB_AUTOBOOT: with QEMU's -no-reboot its end, even on kernels that cannot switch a machine off.
RESTART: Final = 0x01234567


def list_modules() -> Mapping[str, str]:
    """Return the files of all modules that this program uses, by name; what is built in has none."""
    for name in LATE:
        importlib.import_module(name)
    found = {name: str(getattr(module, "__file__", None) or "") for name, module in list(sys.modules.items())}
    modules = {name: file for name, file in found.items() if os.path.isabs(file) and _is_needed(name)}
    return {**modules, LIBBPF: _find_libbpf()}


def _find_libbpf() -> str:
    """Return the file of libbpf, which no module is linked with: it is loaded when it is first needed."""
    _native.possible_cpus()
    lines = Path("/proc/self/maps").read_text(errors="replace").splitlines()
    return next(line.split(maxsplit=5)[5] for line in lines if os.path.basename(line).startswith("libbpf.so"))


def _is_needed(name: str) -> bool:
    # An alias (os.path) is another's module, as is __main__.
    spec = getattr(sys.modules[name], "__spec__", None)
    return name not in UNUSED and not name.startswith("__editable__") and spec is not None and spec.name == name


def tell(write: Write, message: Mapping[str, object]) -> None:
    """Write one line, whole."""
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[write(data) :]


def run(write: Write) -> int:
    """Qualify the battery; return a status as the program's on its own."""
    statuses = []
    try:
        for line in qualify(Battery.open(BATTERY)):
            statuses.append(line.status)
            tell(write, asdict(line))
    except TraceleftError as exc:
        tell(write, {"error": str(exc)})
        return 1
    return int("failed" in statuses or "ok" not in statuses)


def be_first() -> NoReturn:
    """Set the guest up, qualify in a child that may die, and end the guest."""
    status = 1
    write: Write = _to_console
    try:
        _open_standard_files()
        write = _open_channel()
        tell(write, {"begun": os.uname().release})
        _set_up()
        child = os.fork()
        if child == 0:
            _run_child(write)
        while (ended := os.wait())[0] != child:
            continue
        status = os.waitstatus_to_exitcode(ended[1])
    except TraceleftError as exc:
        tell(write, {"error": str(exc)})
    except Exception:
        traceback.print_exc()
    finally:
        tell(write, {"end": status})
        os.sync()
        ctypes.CDLL(None).reboot(RESTART)
        os._exit(1)


def _run_child(write: Write) -> NoReturn:
    try:
        os._exit(run(write))
    except BaseException as exc:
        tell(write, {"error": f"{type(exc).__name__}: {exc}"})
        traceback.print_exc()
    finally:
        os._exit(1)


def _open_standard_files() -> None:
    """Have something at 0, 1 and 2: a kernel without a console opens nothing for its first process."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)


def _set_up() -> None:
    libc = ctypes.CDLL(None)
    for kind, place in MOUNTS:
        # These directories are the image's own, or the kernel's where sysfs is mounted.
        if Path(place).is_dir():
            libc.mount(kind.encode(), place.encode(), kind.encode(), 0, None)
    if not Path("/proc/self/status").exists():
        raise UnsupportedError("proc", "this kernel has none; it needs CONFIG_PROC_FS")
    with contextlib.suppress(OSError):
        _add_entropy(Path(SEED).read_bytes())
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))


def _add_entropy(seed: bytes) -> None:
    """Let the kernel have random numbers: otherwise a call for some waits for minutes in a guest."""
    fd = os.open("/dev/urandom", os.O_RDWR)
    try:
        fcntl.ioctl(fd, ADD_ENTROPY, struct.pack("ii", 8 * len(seed), len(seed)) + seed)
        # Before 4.8 what is read here has a pool of its own, which takes from the first when it is read.
        os.read(fd, len(seed))
    finally:
        os.close(fd)


def _open_channel() -> Write:
    for open_one in (_open_serial, _open_debug_port):
        with contextlib.suppress(OSError, termios.error):
            return open_one()
    return _to_console


def _open_serial() -> Write:
    fd = os.open(SERIAL, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
    # Where there is no such port this fails, as a write would.
    tty.setraw(fd)
    return lambda data: os.write(fd, data)


def _open_debug_port() -> Write:
    fd = os.open(PORTS, os.O_RDWR | os.O_CLOEXEC)
    if os.pread(fd, 1, DEBUG_PORT) != bytes([DEBUG_PORT]):
        raise OSError(errno.ENODEV, "no debugging port")
    # The offset is the port's number, so a byte is a write.
    return lambda data: sum(os.pwrite(fd, data[at : at + 1], DEBUG_PORT) for at in range(len(data)))


def _to_console(data: bytes) -> int:
    """Write to the console; what no console takes is gone."""
    with contextlib.suppress(OSError):
        fd = os.open(CONSOLE, os.O_WRONLY | os.O_NOCTTY)
        try:
            return os.write(fd, data)
        finally:
            os.close(fd)
    return len(data)


if __name__ == "__main__":
    if sys.argv[1:] == ["--modules"]:
        print(json.dumps(list_modules()))
        sys.exit(0)
    be_first()
