"""A guest that qualifies a battery: an image of what that takes, and a kernel booted on it in QEMU.

The kernel needs an initial RAM disk (of any compression or none), ELF, and proc and sysfs of its own; no modules, no
devtmpfs, no virtio. Python is the guest's first process (``traceleft.tracer.qualify.guest``). It tells over a second
serial port, a debugging port or the console, whichever the kernel has.
"""

import importlib.util
import json
import os
import re
import resource
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Final

from traceleft.battery.guest.console import is_conclusive, last_words
from traceleft.battery.guest.cpio import Entry, write_image
from traceleft.battery.guest.kernel_image import read_kernel
from traceleft.battery.manifest import one_line
from traceleft.battery.store import Battery, describe
from traceleft.battery.verify import named_files
from traceleft.errors import BatteryError, TraceleftError, UnsupportedError

PROGRAM: Final = "traceleft.tracer.qualify.guest"
QEMU: Final = "qemu-system-x86_64"
MACHINE: Final = "x86_64"
PYTHON_ROOT: Final = "py"
LOADED: Final = ".so.1"
LIBRARIES: Final = f"{PYTHON_ROOT}/libraries"
FIXED_MEMORY_MIB: Final = 512
# What the guest writes is cut there, and QEMU ends.
OUTPUT_BYTES_MAX: Final = 16 << 20
CONSOLE_TAIL: Final = 64 << 10
LOOK_S: Final = 0.2
END: Final = b'{"end":'
PYC_HEADER: Final = 16
# A kernel may have no devtmpfs to show these by itself.
DEVICES: Final = {
    "dev/console": (5, 1),
    "dev/full": (1, 7),
    "dev/null": (1, 3),
    "dev/port": (1, 4),
    "dev/ptmx": (5, 2),
    "dev/random": (1, 8),
    "dev/tty": (5, 0),
    "dev/ttyS0": (4, 64),
    "dev/ttyS1": (4, 65),
    "dev/urandom": (1, 9),
    "dev/zero": (1, 5),
}
DIRECTORIES: Final = ("proc", "sys", "tmp")
# Bytes that the guest's random numbers are made of: nothing happens in a guest that they could come from.
SEED: Final = "seed"
SEED_BYTES: Final = 512
# Models of a CPU, one tried after the other until the guest's program begins: 6.x kernels were seen to crash with cx16
# under emulation, and an old one may not know what a new one does of what ``max`` has.
CPUS: Final = ("max", "max,-cx16", "qemu64")
# With a thread for each CPU, one of 5.10's stays for ever on code that the other patches (static calls), and cmpxchg16b
# crashes 6.x.
ACCELERATOR: Final = "tcg,thread=single"
# From QEMU's start to the guest's first line. A boot takes 5 to 20 s.
BOOT_S: Final = 180.0
# The channels that the guest writes to, then the console; each is a file next to the image.
CHANNELS: Final = ("told", "port")
CONSOLE: Final = "console"
# A kernel that oopses may go on with its locks held: that is the end. random.trust_cpu is known from 4.19 on.
PARAMETERS: Final = "console=ttyS0 earlyprintk=serial,ttyS0 quiet panic=-1 oops=panic random.trust_cpu=on"
_LIBRARY: Final = re.compile(r"^\s*(?:(\S+) => )?(/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)
_MISSING: Final = re.compile(r"^\s*(\S+) => not found$", re.MULTILINE)


class _NotBegunError(TraceleftError):
    """The guest ended, or took too long, before its program wrote anything; ``words`` is why, if that is known."""

    def __init__(self, message: str, words: str) -> None:
        super().__init__(message)
        self.words = words


def lay_out(modules: Mapping[str, Path], interpreter: Path, battery: Battery) -> dict[str, Entry]:
    """Return the files of an image by name: an interpreter with these modules and no others, and a battery."""
    libraries = find_libraries([interpreter, *(path for path in modules.values() if path.suffix != ".py")])
    # What modules load by its name when they need it, not by being linked with it.
    loaded = {name: path for name, path in modules.items() if name.endswith(LOADED)}
    libraries |= {f"{LIBRARIES}/{name}": path for name, path in loaded.items()}
    modules = {name: path for name, path in modules.items() if name not in loaded}
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    home = f"{PYTHON_ROOT}/{sys.platlibdir}/{version}"
    packages = {name.rpartition(".")[0] for name in modules} | _packages(modules)
    entries = {f"{PYTHON_ROOT}/bin/python3": Entry(interpreter, stat.S_IFREG | 0o755)}
    # The interpreter takes these for signs of its home.
    entries[f"{home}/lib-dynload/.keep"] = Entry()
    for name, path in modules.items():
        place = f"{home}/{name.replace('.', '/')}"
        if path.suffix == ".py":
            entries[f"{place}/__init__.pyc" if name in packages else f"{place}.pyc"] = Entry(compile_module(path))
        else:
            suffix = path.name[path.name.index(".") :]
            entries[place + suffix] = Entry(path)
    for name, path in libraries.items():
        entries[name] = Entry(path, stat.S_IFREG | 0o755)
    for path in named_files(battery):
        entries[f"battery/{path.relative_to(battery.path)}"] = Entry(path)
    entries |= {name: Entry(mode=stat.S_IFCHR | 0o600, device=device) for name, device in DEVICES.items()}
    entries |= {name: Entry(mode=stat.S_IFDIR | 0o755) for name in DIRECTORIES}
    entries[SEED] = Entry(os.urandom(SEED_BYTES), stat.S_IFREG | 0o600)
    return entries


def _packages(modules: Mapping[str, Path]) -> set[str]:
    return {name for name, path in modules.items() if path.name == "__init__.py"}


@cache
def find_modules() -> Mapping[str, Path]:
    """Return the modules that the guest's program uses, by name, as it tells itself."""
    command = [sys.executable, "-m", PROGRAM, "--modules"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError) as exc:
        said = one_line((getattr(exc, "stderr", None) or str(exc)).strip().rpartition("\n")[2])
        raise UnsupportedError("the tracer", f"cannot be started to be put into a guest: {said}") from exc
    return {name: Path(path) for name, path in json.loads(done.stdout).items()}


def find_libraries(files: Iterable[Path]) -> dict[str, Path]:
    """Return the shared libraries of these files by their places in an image, as ldd finds them."""
    ldd = shutil.which("ldd")
    if ldd is None:
        raise UnsupportedError("ldd", "is not installed: apt install libc-bin")
    done = subprocess.run([ldd, *files], capture_output=True, text=True, timeout=60, check=False)
    if missing := _MISSING.search(done.stdout):
        raise UnsupportedError(missing[1], "this shared library of Python or of traceleft is not there")
    # The loader alone has no name: it lies where the program says.
    found = ((name, path) for name, path in _LIBRARY.findall(done.stdout))
    return {f"{LIBRARIES}/{name}" if name else path.lstrip("/"): Path(path) for name, path in found}


def compile_module(path: Path) -> bytes:
    """Return a module's bytecode, which no time of a file is compared with."""
    import py_compile

    cached = Path(importlib.util.cache_from_source(str(path)))
    try:
        status, data = path.stat(), cached.read_bytes()
        times = int(status.st_mtime).to_bytes(4, "little") + (status.st_size & 0xFFFFFFFF).to_bytes(4, "little")
        if data[:PYC_HEADER] == importlib.util.MAGIC_NUMBER + bytes(4) + times:
            return data
    except OSError:
        pass
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory) / "module.pyc"
        py_compile.compile(str(path), str(target), doraise=True)
        return target.read_bytes()


def find_qemu(battery: Battery) -> str:
    """Return QEMU's program for a battery's machine."""
    if battery.manifest.machine != MACHINE:
        raise BatteryError(f"made for {battery.manifest.machine}; only {MACHINE} is booted", path=str(battery.path))
    found = shutil.which(QEMU)
    if found is None:
        raise UnsupportedError(QEMU, "is not installed: apt install qemu-system-x86")
    return found


@contextmanager
def open_guest(battery: Battery, kernel: Path, *, timeout_s: float) -> Iterator[Iterator[bytes]]:
    """Boot a kernel and yield the lines that it tells of a battery, as they come, whoever may have made them.

    The iteration ends when the guest has ended. It raises TraceleftError, with the reason that the console gives, where
    the guest dies or takes longer than ``timeout_s``. Nothing is left running.
    """
    qemu = find_qemu(battery)
    data = read_kernel(kernel)
    with tempfile.TemporaryDirectory(prefix="traceleft-guest-") as name:
        directory = Path(name)
        entries = lay_out(find_modules(), Path(sys.executable).resolve(), battery)
        try:
            (directory / "kernel").write_bytes(data)
            with open(directory / "image", "wb") as file:
                write_image(file, entries)
        except OSError as exc:
            raise UnsupportedError("the guest's image", f"cannot be made: {describe(exc)}") from exc
        with closing(_boot_until_it_tells(qemu, directory, timeout_s)) as lines:
            yield lines


def _boot_until_it_tells(qemu: str, directory: Path, timeout_s: float) -> Generator[bytes, None, None]:
    """Boot with one CPU after another until the guest tells something, and yield all that it tells."""
    deadline = time.monotonic() + timeout_s
    first: _NotBegunError | None = None
    for cpu in CPUS:
        for name in (*CHANNELS, CONSOLE):
            (directory / name).unlink(missing_ok=True)
        with _run_qemu(_command(qemu, directory, cpu), directory) as process:
            try:
                yield from _follow(process, directory, timeout_s=timeout_s, deadline=deadline)
            except _NotBegunError as exc:
                first = first or exc
                if is_conclusive(exc.words) or time.monotonic() > deadline:
                    break
            else:
                return
    if first is not None:
        raise TraceleftError(str(first)) from first


@contextmanager
def _run_qemu(command: list[str], directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run QEMU in a directory; it is gone afterwards."""
    with open(directory / "stderr", "wb") as errors:
        process = subprocess.Popen(
            command, cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors
        )
    try:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (OUTPUT_BYTES_MAX, OUTPUT_BYTES_MAX))
        yield process
    finally:
        process.kill()
        process.wait()


def _command(qemu: str, directory: Path, cpu: str) -> list[str]:
    """Return QEMU's command line; its files are named from the directory, since a comma in a path would end it."""
    memory_mib = FIXED_MEMORY_MIB + 2 * ((directory / "image").stat().st_size >> 20)
    init = f"rdinit=/{PYTHON_ROOT}/bin/python3 LD_LIBRARY_PATH=/{LIBRARIES} -- -B -I -S -m {PROGRAM}"
    told, port = CHANNELS
    return [
        *(qemu, "-accel", ACCELERATOR, "-cpu", cpu, "-smp", "2", "-m", str(memory_mib)),
        *("-display", "none", "-nodefaults", "-no-reboot"),
        *("-kernel", "kernel", "-initrd", "image", "-append", f"{PARAMETERS} {init}"),
        *("-serial", f"file:{CONSOLE}", "-serial", f"file:{told}", "-debugcon", f"file:{port}"),
    ]


def _follow(process: subprocess.Popen[bytes], directory: Path, *, timeout_s: float, deadline: float) -> Iterator[bytes]:
    """Yield what the guest tells until it says that it has ended."""
    boot_deadline = time.monotonic() + BOOT_S
    channels = [_Growing(directory / name) for name in (*CHANNELS, CONSOLE)]
    has_begun = False
    while True:
        is_over = process.poll() is not None
        for line in (line for channel in channels for line in channel.lines()):
            has_begun = True
            yield line
            if line.startswith(END):
                return
        now = time.monotonic()
        if is_over:
            raise _end("the guest died", directory, has_begun=has_begun)
        if now > deadline:
            raise _end(f"the guest did not end within {timeout_s:g} s", directory, has_begun=has_begun)
        if not has_begun and now > boot_deadline:
            raise _end(f"the guest did not begin within {BOOT_S:g} s", directory, has_begun=False)
        time.sleep(LOOK_S)


def _end(what: str, directory: Path, *, has_begun: bool) -> TraceleftError:
    """Return the error for a guest that did not end as it should."""
    words = last_words(_read_tail(directory / CONSOLE))
    said = f"its console says: {words}" if words else "it said nothing"
    if not words and (refused := last_words(_read_tail(directory / "stderr"))):
        said = f"QEMU says: {refused}"
    message = f"{what}; {said}"
    return TraceleftError(message) if has_begun else _NotBegunError(message, words)


def _read_tail(path: Path) -> bytes:
    with suppress(FileNotFoundError), open(path, "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - CONSOLE_TAIL))
        return file.read(CONSOLE_TAIL)
    return b""


class _Growing:
    """A file that another process writes, taken line by line; on a console what is no JSON is the kernel's."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._done = 0

    def lines(self) -> list[bytes]:
        """Return the whole lines that are new."""
        try:
            with open(self._path, "rb") as file:
                file.seek(self._done)
                data = file.read(OUTPUT_BYTES_MAX)
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._done += len(whole)
        lines = [line.strip(b"\r\0") for line in whole.split(b"\n")[:-1]]
        return [line for line in lines if self._path.name != CONSOLE or line.startswith(b"{")]
