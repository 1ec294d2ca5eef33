"""Run the command, and hold how it refuses: its status, its one line, and that nothing of it is left."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.paths import ROOT

COMMAND = (sys.executable, "-m", "traceleft")
# Enough for every command, even on a busy machine.
SLOW_S = 120
LEFT_S = 60


@dataclass(frozen=True)
class Place:
    """A directory in which the command runs; its temporary files and its cache would lie in it as well."""

    directory: Path
    variables: dict[str, str] = field(default_factory=dict)

    def run(
        self,
        *arguments: str | Path,
        before: Sequence[str] = (),
        limit: Callable[[], object] | None = None,
        timeout_s: float = SLOW_S,
    ) -> subprocess.CompletedProcess[str]:
        """Run the command to its end; no process of its session may outlive it."""
        with self.start(*arguments, before=before, limit=limit) as process:
            try:
                output, errors = process.communicate(timeout=timeout_s)
            finally:
                still = session_members(process.pid)
                kill_session(process.pid)
        assert not still, f"left running: {still}"
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def start(
        self, *arguments: str | Path, before: Sequence[str] = (), limit: Callable[[], object] | None = None
    ) -> subprocess.Popen[str]:
        """Start the command in a session of its own."""
        return subprocess.Popen(
            [*before, *COMMAND, *map(str, arguments)],
            cwd=self.directory,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="surrogateescape",
            start_new_session=True,
            preexec_fn=limit,
        )

    def environment(self) -> dict[str, str]:
        """Return our environment, with all that the command may write to below its directory."""
        own = {name: value for name, value in os.environ.items() if name != "TRACELEFT_BATTERY"}
        places = {"TMPDIR": str(self.directory), "XDG_CACHE_HOME": str(self.directory / "cache")}
        return {**own, **places, "PYTHONPATH": str(ROOT), **self.variables}

    def refuse(
        self,
        *arguments: str | Path,
        words: str,
        status: int = 1,
        before: Sequence[str] = (),
        limit: Callable[[], object] | None = None,
    ) -> None:
        """Check that the command is refused in one line with these words, and leaves the directory as it was."""
        held = tree(self.directory)

        done = self.run(*arguments, before=before, limit=limit)

        assert_one_line(done, status=status, words=words)
        assert tree(self.directory) == held


def assert_one_line(done: subprocess.CompletedProcess[str], *, status: int, words: str) -> None:
    """Check the status, and that stderr is one line of ours with these words."""
    assert done.returncode == status, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("traceleft: ")
    assert words in done.stderr
    assert "internal" not in done.stderr
    assert done.stdout == ""


def tree(directory: Path) -> dict[str, object]:
    """Return what lies below a directory: paths, with what a link leads to and how large a file is."""
    found: dict[str, object] = {}
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        is_plain = path.is_file() and not path.is_symlink()
        found[str(path.relative_to(directory))] = (status.st_mode, status.st_size if is_plain else None)
    return found


def session_members(leader: int) -> list[str]:
    """Return the processes of a session that still run, by their command lines."""
    members = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, session = (place / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(session) == leader and state not in "ZX":
                members.append((place / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return members


def kill_session(leader: int) -> None:
    """Kill what a session has left."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if int((place / "stat").read_text().rpartition(")")[2].split()[3]) == leader:
                os.kill(int(place.name), signal.SIGKILL)
        except OSError:
            continue


def kernel_objects() -> set[str]:
    """Return the eBPF programs and links that are in the kernel."""
    found = set()
    for kind in ("prog", "link"):
        found |= {f"{kind} {each['id']}" for each in json.loads(list_kernel_objects(kind) or "[]")}
    return found


def list_kernel_objects(kind: str) -> bytes:
    """Ask bpftool, again where an object went away while it looked."""
    for _ in range(50):
        shown = subprocess.run(["bpftool", "-j", kind, "show"], capture_output=True)
        if shown.returncode == 0:
            break
        time.sleep(0.05)
    return shown.stdout


def assert_kernel_is_clean(before: set[str]) -> None:
    """Check that no program and no link was left; the kernel frees them a little after their last user is gone."""
    assert_none_left(kernel_objects, before)


def assert_none_left(find: Callable[[], set[str]], before: set[str]) -> None:
    """Check that in the end nothing is found that was not there before."""
    deadline = time.monotonic() + LEFT_S
    while (left := find() - before) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == set()
