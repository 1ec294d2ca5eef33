"""A guest that qualifies a battery: an image of what that takes, and a kernel booted on it in QEMU.

The kernel needs an initial RAM disk, ELF, a serial port, proc and sysfs of its own, and no modules: Python is the
guest's first process (``traceleft.tracer.qualify_guest``), and tells over a second serial port.
"""

import gzip
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
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Final

from traceleft.battery.manifest import one_line
from traceleft.battery.store import Battery, describe, read_file
from traceleft.battery.verify import named_files
from traceleft.errors import BatteryError, TraceleftError, UnsupportedError

PROGRAM: Final = "traceleft.tracer.qualify_guest"
QEMU: Final = "qemu-system-x86_64"
MACHINE: Final = "x86_64"
PYTHON_ROOT: Final = "py"
LIBRARIES: Final = f"{PYTHON_ROOT}/libraries"
KERNEL_BYTES_MAX: Final = 256 << 20
# A bzImage says what it is at 0x202 (Documentation/arch/x86/boot.rst).
KERNEL_MAGIC: Final = (0x202, b"HdrS")
FIXED_MEMORY_MIB: Final = 512
# What the guest writes is cut there, and QEMU ends.
OUTPUT_BYTES_MAX: Final = 16 << 20
CONSOLE_TAIL: Final = 64 << 10
LOOK_S: Final = 0.2
END: Final = b'{"end":'
PANIC: Final = "Kernel panic"
PYC_HEADER: Final = 16
DEVICES: Final = {"dev/console": (5, 1), "dev/null": (1, 3), "dev/ttyS1": (4, 65)}
DIRECTORIES: Final = ("proc", "sys", "tmp")
# Without cx16, with which 6.x kernels crash under emulation.
CPU: Final = "max,-cx16"
# With a thread for each CPU, one of 5.10's stays for ever on code that the other patches (static calls).
ACCELERATOR: Final = "tcg,thread=single"
_LIBRARY: Final = re.compile(r"^\s*(?:(\S+) => )?(/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)
_MISSING: Final = re.compile(r"^\s*(\S+) => not found$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of an image: its bytes, or where they are; a device has numbers instead."""

    data: bytes | Path = b""
    mode: int = stat.S_IFREG | 0o644
    device: tuple[int, int] = (0, 0)


def lay_out(modules: Mapping[str, Path], interpreter: Path, battery: Battery) -> dict[str, Entry]:
    """Return the files of an image by name: an interpreter with these modules and no others, and a battery."""
    libraries = find_libraries([interpreter, *(path for path in modules.values() if path.suffix != ".py")])
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


def write_image(file: IO[bytes], entries: Mapping[str, Entry]) -> None:
    """Write a cpio archive as the kernel unpacks it (newc), in gzip; the same entries give the same bytes."""
    directories = {str(parent) for name in entries for parent in Path(name).parents if str(parent) != "."}
    every = dict.fromkeys(directories, Entry(mode=stat.S_IFDIR | 0o755)) | dict(entries)
    with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1, mtime=0, filename="") as out:
        for number, name in enumerate(sorted(every), start=1):
            entry = every[name]
            data = entry.data if isinstance(entry.data, bytes) else entry.data.read_bytes()
            out.write(_header(number, name, len(data), mode=entry.mode, device=entry.device))
            out.write(data + bytes(-len(data) % 4))
        out.write(_header(0, "TRAILER!!!", 0))


def _header(number: int, name: str, size: int, *, mode: int = 0, device: tuple[int, int] = (0, 0)) -> bytes:
    """Return a file's header: number, mode, uid, gid, links, mtime, size, two device numbers, name's length, 0."""
    raw = name.encode() + b"\0"
    words = (number, mode, 0, 0, 1, 0, size, 0, 0, *device, len(raw), 0)
    header = b"070701" + b"".join(b"%08X" % word for word in words) + raw
    return header + bytes(-len(header) % 4)


def read_kernel(path: Path) -> bytes:
    """Return a kernel's image; UnsupportedError if it is none that can be booted."""
    try:
        data = read_file(path.resolve(), KERNEL_BYTES_MAX)
    except OSError as exc:
        raise UnsupportedError(one_line(path), f"the kernel cannot be read: {describe(exc)}") from exc
    start, magic = KERNEL_MAGIC
    if len(data) > KERNEL_BYTES_MAX or data[start : start + len(magic)] != magic:
        raise UnsupportedError(one_line(path), "is no kernel for x86_64; give a bzImage, as /boot/vmlinuz-* are")
    return data


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

    The iteration ends when the guest has ended, and raises TraceleftError, with the last line of its console, where it
    takes longer than ``timeout_s``. Nothing is left running.
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
        with _run_qemu(_command(qemu, directory), directory) as process:
            yield _follow(process, directory, timeout_s)


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


def _command(qemu: str, directory: Path) -> list[str]:
    """Return QEMU's command line; its files are named from the directory, since a comma in a path would end it."""
    with open(directory / "image", "rb") as image:
        image.seek(-4, os.SEEK_END)
        unpacked = int.from_bytes(image.read(4), "little")
    memory_mib = FIXED_MEMORY_MIB + 2 * (unpacked >> 20)
    init = f"rdinit=/{PYTHON_ROOT}/bin/python3 LD_LIBRARY_PATH=/{LIBRARIES} -- -B -I -S -m {PROGRAM}"
    return [
        *(
            qemu,
            "-accel",
            ACCELERATOR,
            "-cpu",
            CPU,
            "-smp",
            "2",
            "-m",
            str(memory_mib),
            "-display",
            "none",
            "-nodefaults",
        ),
        *("-no-reboot", "-kernel", "kernel", "-initrd", "image", "-append", f"console=ttyS0 panic=-1 quiet {init}"),
        *("-serial", "file:console", "-serial", "file:told"),
    ]


def _follow(process: subprocess.Popen[bytes], directory: Path, timeout_s: float) -> Iterator[bytes]:
    """Yield what the guest tells until it says that it has ended."""
    deadline = time.monotonic() + timeout_s
    told = _Growing(directory / "told")
    while True:
        is_over = process.poll() is not None
        for line in told.lines():
            yield line
            if line.startswith(END):
                return
        if is_over:
            break
        if time.monotonic() > deadline:
            raise TraceleftError(f"the guest did not end within {timeout_s:g} s; {_last_words(directory)}")
        time.sleep(LOOK_S)
    # Where the kernel has no second serial port, the console has it all.
    lines = [line for line in _Growing(directory / "console").lines() if line.startswith(b"{")]
    yield from lines
    if not any(line.startswith(END) for line in lines):
        raise TraceleftError(f"the guest died; {_last_words(directory)}")


class _Growing:
    """A file that another process writes, taken line by line."""

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
        return [line.strip(b"\r\0") for line in whole.split(b"\n")[:-1]]


def _last_words(directory: Path) -> str:
    """Return the last line of the guest's console, the reason of a panic before others; else what QEMU says."""
    for name, what in (("console", "its console's last line"), ("stderr", "QEMU says")):
        with suppress(FileNotFoundError), open(directory / name, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - CONSOLE_TAIL))
            lines = [line.strip() for line in file.read(CONSOLE_TAIL).decode(errors="replace").splitlines()]
            lines = [line for line in lines if line and not line.startswith("{")]
            if lines:
                return f"{what}: {one_line(next((line for line in lines if PANIC in line), lines[-1]))}"
    return "it said nothing"
