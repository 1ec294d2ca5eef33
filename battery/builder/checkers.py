"""Processes that check objects: the model of verifiers is Python, and threads of one process would take turns."""

import gc
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, Final, Self

import msgspec

from traceleft.battery.builder.compiler import CompilerStopped
from traceleft.battery.builder.generated_source import SourceFile
from traceleft.battery.builder.object_check import Checked, check_object
from traceleft.battery.level import Level, find_level
from traceleft.errors import CompileError

# Fewer objects are checked sooner than a process starts.
FEWEST: Final = 8
# Objects between two garbage collections. States are made by the hundred thousand, and none refers back to itself; what
# reads debug data makes circles, some thousand an object.
COLLECT_EVERY: Final = 32

Checker = subprocess.Popen[bytes]


class Request(msgspec.Struct):
    """An object that is to be checked: a line of JSON."""

    source: SourceFile
    level: str
    path: str


class Answer(msgspec.Struct):
    """What was found, or the message of what is wrong."""

    checked: Checked | None = None
    error: str = ""


_encode: Final = msgspec.json.Encoder().encode
_read_request: Final = msgspec.json.Decoder(Request).decode
_read_answer: Final = msgspec.json.Decoder(Answer).decode


class Checkers:
    """Checks objects for many threads at once, each by a process of its own if ``in_processes``.

    A context manager: no process is left behind.
    """

    def __init__(self, *, in_processes: bool) -> None:
        self._in_processes = in_processes
        self._own = threading.local()
        self._all: list[Checker] = []
        self._lock = threading.Lock()
        self._is_stopped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()
        for checker in self._all:
            _close(checker)

    def check(self, source: SourceFile, level: Level, path: Path) -> Checked:
        """Check the object at a path, as check_object does.

        Raises CompileError that names the source.
        """
        if not self._in_processes:
            return check_object(source, level, path.read_bytes())
        checker = self._process()
        assert checker.stdin is not None and checker.stdout is not None
        try:
            checker.stdin.write(_encode(Request(source, level.name, str(path))) + b"\n")
            checker.stdin.flush()
            answer = _read_answer(checker.stdout.readline())
        except (OSError, msgspec.MsgspecError) as exc:
            message = f"{source.file}: the process that checks its object ended with status {checker.wait()}"
            raise CompileError(message, source=source.file, log="") from exc
        if answer.checked is None:
            raise CompileError(answer.error, source=source.file, log="")
        return answer.checked

    def stop(self) -> None:
        """Kill what is running, and start no more; checks that wait raise CompileError."""
        with self._lock:
            self._is_stopped = True
            for checker in self._all:
                checker.kill()

    def _process(self) -> Checker:
        """Return the calling thread's process."""
        checker: Checker | None = getattr(self._own, "checker", None)
        if checker is None:
            with self._lock:
                if self._is_stopped:
                    raise CompilerStopped
                checker = self._own.checker = _start()
                self._all.append(checker)
        return checker


def _start() -> Checker:
    """Start a process that ends with its standard input, in a session of its own: Ctrl-C is not meant for it."""
    return subprocess.Popen(
        [sys.executable, "-m", "traceleft.battery.builder.checkers"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(each for each in sys.path if each)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


def _close(checker: Checker) -> None:
    """Close the pipes of a process that was killed, and wait for it; what it was not sent yet is dropped."""
    with suppress(BrokenPipeError), checker:
        pass
    checker.wait()


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer each request, until there are no more."""
    gc.freeze()
    gc.disable()
    for count, line in enumerate(requests, 1):
        request = _read_request(line)
        try:
            answer = Answer(check_object(request.source, find_level(request.level), Path(request.path).read_bytes()))
        except (CompileError, OSError) as exc:
            answer = Answer(error=str(exc))
        answers.write(_encode(answer) + b"\n")
        answers.flush()
        if count % COLLECT_EVERY == 0:
            gc.collect()
            # What is left is remembered for later objects: none of it need be looked at again.
            gc.freeze()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
