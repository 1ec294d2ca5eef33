"""clang and llvm-strip: found, run without a shell, never left behind."""

import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from traceleft.battery.manifest import one_line
from traceleft.errors import CompileError, UnsupportedError

OLDEST: Final = 12
NEWEST: Final = 40
REMEDY: Final = "install it with: apt-get install clang llvm"
VERSION_TIMEOUT_S: Final = 20
COMPILE_TIMEOUT_S: Final = 120

# No path, time or host gets into an object: names are relative to the working directory, which is called ".".
FLAGS: Final = (
    "-std=gnu11",
    "-O2",
    "-g",
    "-Wall",
    "-Werror",
    "-nostdinc",
    "-fno-stack-protector",
    "-fno-addrsig",
    "-fno-crash-diagnostics",
    "-fdebug-compilation-dir",
    ".",
)
TARGETS: Final = {"little": "bpfel", "big": "bpfeb"}
DIAGNOSTIC: Final = re.compile(r"^\S.*?: (?:fatal )?error: .*$", re.MULTILINE)
NO_TARGET: Final = re.compile(r"unable to create target|unknown target triple|no targets? (?:are|is) compatible", re.I)
ENVIRONMENT: Final = ("PATH", "HOME", "LD_LIBRARY_PATH")


class CompilerStopped(Exception):
    """The compiler was stopped while a source waited for it."""


class Compiler:
    """A clang with its llvm-strip. Used by many threads at once; ``stop`` ends all that they run."""

    def __init__(self, *, clang: str, strip: str, version: str) -> None:
        self.clang = clang
        self.strip_path = strip
        self.version = version
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._is_stopped = False

    def compile(self, directory: Path, source: str, output: Path, *, flags: Sequence[str]) -> None:
        """Compile ``directory``/``source`` into ``output``, debug data included.

        Raises CompileError with clang's first diagnostic, the whole log in it.
        """
        command = [self.clang, *flags, "-c", source, "-o", str(output.absolute())]
        status, log = self._run(command, directory, source)
        if status and NO_TARGET.search(log):
            raise UnsupportedError(f"{self.clang} cannot make eBPF objects", REMEDY)
        if status:
            raise CompileError(_first_diagnostic(log, source, status), source=source, log=log)
        if not output.is_file():
            raise CompileError(f"{source}: {self.clang} made no object and does not say why", source=source, log=log)

    def strip(self, objects: Sequence[Path]) -> None:
        """Remove the debug data except BTF from objects, in place."""
        names = [str(path.absolute()) for path in objects]
        status, log = self._run([self.strip_path, "-g", *names], objects[0].parent, "llvm-strip")
        if status:
            raise CompileError(f"llvm-strip: {_first_line(log, status)}", source=objects[0].name, log=log)

    def stop(self) -> None:
        """Kill what is running, and refuse to run more."""
        with self._lock:
            self._is_stopped = True
            for process in self._running:
                _kill(process)

    def _run(self, command: list[str], directory: Path, source: str) -> tuple[int, str]:
        """Run a command to its end: its status and all that it printed."""
        process = self._start(command, directory)
        try:
            log, _ = process.communicate(timeout=COMPILE_TIMEOUT_S)
        except subprocess.TimeoutExpired as exc:
            message = f"{source}: {Path(command[0]).name} took more than {COMPILE_TIMEOUT_S} s and was killed"
            raise CompileError(message, source=source, log="") from exc
        finally:
            _end(process)
            with self._lock:
                self._running.discard(process)
        if self._is_stopped:
            raise CompilerStopped
        return process.returncode, log

    def _start(self, command: list[str], directory: Path) -> subprocess.Popen[str]:
        with self._lock:
            if self._is_stopped:
                raise CompilerStopped
            try:
                process = _popen(command, directory)
            except OSError as exc:
                raise UnsupportedError(f"{command[0]} cannot be run ({exc.strerror})", REMEDY) from exc
            self._running.add(process)
        return process


def shared_flags(byte_order: str) -> tuple[str, ...]:
    """Return the flags that all levels share."""
    return ("-target", TARGETS[byte_order], *FLAGS)


def find_compiler() -> Compiler:
    """Return the clang named by $TRACELEFT_CLANG, or else the one on the PATH, with its llvm-strip.

    Raises UnsupportedError where there is none, or one that is too old.
    """
    clang = _find_clang()
    version, major = _read_version(clang)
    if major < OLDEST:
        raise UnsupportedError(f"{clang} is version {major}, {OLDEST} or later is needed", REMEDY)
    return Compiler(clang=clang, strip=_find_strip(clang, major), version=version)


def _find_clang() -> str:
    named = os.environ.get("TRACELEFT_CLANG")
    if named:
        found = shutil.which(named)
        if found is None:
            what = f"clang: $TRACELEFT_CLANG is {one_line(named)}, which is not an executable"
            raise UnsupportedError(what, "correct it or unset it")
        return os.path.abspath(found)
    candidates = ["clang", *(f"clang-{major}" for major in range(NEWEST, OLDEST - 1, -1))]
    found = next((path for name in candidates if (path := shutil.which(name))), None)
    if found is None:
        raise UnsupportedError("clang is not installed", REMEDY)
    return os.path.abspath(found)


def _find_strip(clang: str, major: int) -> str:
    """Return clang's own llvm-strip where there is one, else any: all of them take debug data out."""
    beside = os.path.join(os.path.dirname(os.path.realpath(clang)), "llvm-strip")
    versions = (f"llvm-strip-{number}" for number in (major, *range(NEWEST, OLDEST - 1, -1)))
    found = next((path for name in (beside, "llvm-strip", *versions) if (path := shutil.which(name))), None)
    if found is None:
        raise UnsupportedError("llvm-strip is not installed", REMEDY)
    return os.path.abspath(found)


def _read_version(clang: str) -> tuple[str, int]:
    """Return what a clang calls itself, and its major version."""
    try:
        process = _popen([clang, "--version"], Path("/"))
    except OSError as exc:
        raise UnsupportedError(f"{clang} cannot be run ({exc.strerror})", REMEDY) from exc
    try:
        text, _ = process.communicate(timeout=VERSION_TIMEOUT_S)
    except subprocess.TimeoutExpired as exc:
        raise UnsupportedError(f"{clang} does not answer", REMEDY) from exc
    finally:
        _end(process)
    found = re.search(r"^.*\bclang version (\d{1,4})\..*$", text, re.MULTILINE)
    if found is None:
        raise UnsupportedError(f"{clang} does not tell a clang version", REMEDY)
    return one_line(found[0]), int(found[1])


def _popen(command: list[str], directory: Path) -> subprocess.Popen[str]:
    """Start a command in a session of its own: what a terminal's Ctrl-C means is for us to say."""
    environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    return subprocess.Popen(
        command,
        cwd=directory,
        env=environment | {"LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
        errors="replace",
    )


def _kill(process: subprocess.Popen[str]) -> None:
    """Kill a command with all that it started, if it still runs."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _end(process: subprocess.Popen[str]) -> None:
    """Make sure that a command has ended, and close its pipe."""
    with process:
        _kill(process)


def _first_diagnostic(log: str, source: str, status: int) -> str:
    found = DIAGNOSTIC.search(log)
    if found is None:
        return f"{source}: {_first_line(log, status)}"
    text = one_line(found[0])
    return text if text.startswith(source) else f"{source}: {text}"


def _first_line(log: str, status: int) -> str:
    """Return the first line that was printed, or else how the process ended."""
    ended = f"killed by signal {-status}" if status < 0 else f"ended with status {status} and no word"
    return one_line(next((line for line in log.splitlines() if line.strip()), ended))
