"""The first process of a guest that has nothing but this: it qualifies /battery and tells over the second serial port.

Beside its lines (``traceleft.tracer.qualify``) it tells ``{"error": TEXT}`` where it does not come to them, and at last
``{"end": STATUS}``. Run elsewhere with ``--modules``, it tells what it has to be given.
"""

import contextlib
import ctypes
import importlib
import json
import os
import resource
import sys
import termios
import traceback
import tty
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final, NoReturn

from traceleft.battery import Battery
from traceleft.errors import TraceleftError
from traceleft.tracer.qualify import qualify

BATTERY: Final = "/battery"
# The console is the first; where there is no second, what we tell stands there between other lines.
CHANNELS: Final = ("/dev/ttyS1", "/dev/console")
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
    "traceleft.tracer.qualify_guest",
)
# What others import if it is there. OpenSSL would be half of the image.
UNUSED: Final = frozenset({"__main__", "_distutils_hack", "_hashlib", "_ssl", "sitecustomize", "ssl", "usercustomize"})
# RB_AUTOBOOT: with QEMU's -no-reboot its end, on kernels that cannot switch a machine off, too.
RESTART: Final = 0x01234567


def list_modules() -> Mapping[str, str]:
    """Return the files of all modules that this program uses, by name; what is built in has none."""
    for name in LATE:
        importlib.import_module(name)
    found = {name: str(getattr(module, "__file__", None) or "") for name, module in list(sys.modules.items())}
    return {name: file for name, file in found.items() if os.path.isabs(file) and _is_needed(name)}


def _is_needed(name: str) -> bool:
    # An alias (os.path) is another's module, as is __main__.
    spec = getattr(sys.modules[name], "__spec__", None)
    return name not in UNUSED and not name.startswith("__editable__") and spec is not None and spec.name == name


def tell(fd: int, message: Mapping[str, object]) -> None:
    """Write one line, whole."""
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(fd, data) :]


def run(fd: int) -> int:
    """Qualify the battery; return a status as the program's on its own."""
    statuses = []
    try:
        for line in qualify(Battery.open(BATTERY)):
            statuses.append(line.status)
            tell(fd, asdict(line))
    except TraceleftError as exc:
        tell(fd, {"error": str(exc)})
        return 1
    return int("failed" in statuses or "ok" not in statuses)


def be_first() -> NoReturn:
    """Set the guest up, qualify in a child that may die, and end the guest."""
    status, fd = 1, 2
    try:
        _set_up()
        fd = _open_channel()
        child = os.fork()
        if child == 0:
            _run_child(fd)
        while (ended := os.wait())[0] != child:
            continue
        status = os.waitstatus_to_exitcode(ended[1])
    except Exception:
        traceback.print_exc()
    finally:
        tell(fd, {"end": status})
        os.sync()
        ctypes.CDLL(None).reboot(RESTART)
        os._exit(1)


def _run_child(fd: int) -> NoReturn:
    try:
        os._exit(run(fd))
    except BaseException as exc:
        tell(fd, {"error": f"{type(exc).__name__}: {exc}"})
        traceback.print_exc()
    finally:
        os._exit(1)


def _set_up() -> None:
    libc = ctypes.CDLL(None)
    for kind, place in MOUNTS:
        # These directories are the image's own, or the kernel's where sysfs is mounted.
        if Path(place).is_dir():
            libc.mount(kind.encode(), place.encode(), kind.encode(), 0, None)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))


def _open_channel() -> int:
    for path in CHANNELS:
        with contextlib.suppress(OSError, termios.error):
            fd = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
            # Where there is no such port this fails, as a write would.
            tty.setraw(fd)
            return fd
    return 2


if __name__ == "__main__":
    if sys.argv[1:] == ["--modules"]:
        print(json.dumps(list_modules()))
        sys.exit(0)
    be_first()
