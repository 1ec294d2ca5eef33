"""What a process gives up, and what it finds out before it does."""

import errno
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from traceleft.tracer import _native
from traceleft.tracer.sandbox import privileges as sandbox
from traceleft.tracer.sandbox.privileges import (
    CAP_BPF,
    CAP_SYS_ADMIN,
    CAP_SYS_PTRACE,
    find_map_capability,
    mask_of,
    may_write,
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, whose privileges are changed")
NOBODY = 65534


def reading_takes(*capabilities: int) -> None:
    """Do as a kernel that reads a map for who has one of these capabilities."""
    effective, _ = _native.capabilities()
    if not effective & mask_of(capabilities):
        raise _native.Error(errno.EPERM, "look up", "")


def run(code: str) -> str:
    """Run code in a process of its own, which may give up what it likes, and return what it prints."""
    words = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=120).stdout


@needs_root
@pytest.mark.parametrize(
    ("kernel", "kept"),
    [((CAP_SYS_PTRACE,), ()), ((CAP_BPF, CAP_SYS_ADMIN), (CAP_BPF,)), ((CAP_SYS_ADMIN,), (CAP_SYS_ADMIN,))],
    ids=["nothing", "CAP_BPF", "CAP_SYS_ADMIN"],
)
def test_what_reading_a_map_takes_is_tried(kernel: tuple[int, ...], kept: tuple[int, ...]) -> None:
    before = _native.capabilities()

    assert find_map_capability(lambda: reading_takes(*kernel), [CAP_SYS_PTRACE]) == kept
    assert _native.capabilities() == before


@needs_root
def test_what_else_a_map_refuses_is_an_error() -> None:
    before = _native.capabilities()

    def read() -> None:
        raise _native.Error(errno.EBADF, "look up", "")

    with pytest.raises(_native.Error):
        find_map_capability(read, [])
    assert _native.capabilities() == before


@needs_root
def test_own_directory_can_be_written_without_privileges(tmp_path: Path) -> None:
    others, closed = tmp_path / "others", tmp_path / "closed"
    (others / "mine").mkdir(parents=True)
    closed.mkdir(0o500)
    others.chmod(0o700)
    shutil.chown(others, NOBODY, NOBODY)

    assert may_write([tmp_path])
    assert may_write([])
    assert [may_write([each]) for each in (others, others / "mine", closed, tmp_path / "absent")] == [False] * 4


@needs_root
def test_file_of_another_user_takes_a_privilege(tmp_path: Path) -> None:
    mine, others, fixed = (tmp_path / name for name in ("mine", "others", "fixed"))
    for each in (mine, others, fixed):
        each.touch()
    shutil.chown(others, NOBODY, NOBODY)
    fixed.chmod(0o400)

    assert [may_write([tmp_path, each]) for each in (mine, others, fixed)] == [True, False, False]


@needs_root
def test_threads_give_up_what_they_had_and_new_ones_begin_without() -> None:
    printed = run(
        f"""
        import os, re, threading
        from traceleft.tracer.sandbox import privileges as sandbox
        from traceleft.tracer.sandbox.call_filter import of_reader

        stop = threading.Event()
        def wait():
            sandbox.block_signals()
            stop.wait()

        def start(count):
            for _ in range(count):
                threading.Thread(target=wait).start()

        start(20)
        print(sandbox.confine([{CAP_SYS_PTRACE}], calls=of_reader(network=False)))
        start(20)
        found = set()
        for tid in os.listdir("/proc/self/task"):
            status = open(f"/proc/self/task/{{tid}}/status").read()
            found.add(tuple(re.findall(r"^(?:CapPrm|CapEff|CapInh|NoNewPrivs|Seccomp):\\t(\\w+)$", status, re.M)))
        print(sorted(found), len(os.listdir("/proc/self/task")))
        stop.set()
        """
    )

    kept = f"{mask_of([CAP_SYS_PTRACE]):016x}"
    assert printed == f"[]\n[('{'0' * 16}', '{kept}', '{kept}', '1', '2')] 41\n"


@needs_root
def test_thread_that_holds_back_all_signals_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = run(
        """
        import signal, threading
        from traceleft.tracer.sandbox import privileges as sandbox

        sandbox.PATIENCE_S = 0.05
        ready, stop = threading.Event(), threading.Event()
        def wait():
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            ready.set()
            stop.wait()

        threading.Thread(target=wait).start()
        ready.wait()
        print(sandbox.confine([], calls=None))
        stop.set()
        """
    )

    assert printed == "['1 of our threads keep their capabilities: they hold back all signals']\n"


def test_filter_that_the_kernel_refuses_is_a_line() -> None:
    printed = run(
        """
        import os
        from traceleft.tracer.sandbox import privileges as sandbox

        keep = range(41)
        print(sandbox.confine(keep, calls=bytes(8)))
        """
    )

    assert printed == "['no system call is refused to us: seccomp fails with EINVAL']\n"


def test_refused_calls_fail_and_the_others_do_not() -> None:
    printed = run(
        """
        import os, signal, socket, threading
        from traceleft.tracer.sandbox import privileges as sandbox
        from traceleft.tracer.sandbox.call_filter import of_reader

        sandbox.confine([], calls=of_reader(network=False))
        def tries(name, call):
            try:
                call()
            except OSError as exc:
                print(name, exc.strerror)
            else:
                print(name, "done")

        tries("fork", os.fork)
        tries("execve", lambda: os.execv("/bin/true", ["true"]))
        tries("kill", lambda: os.kill(os.getppid(), 0))
        tries("kill of its own", lambda: os.kill(os.getpid(), 0))
        tries("socket", socket.socket)
        tries("open", lambda: os.close(os.open("/etc/hostname", os.O_RDONLY)))
        thread = threading.Thread(target=tries, args=("thread", lambda: None))
        thread.start()
        thread.join()
        """
    )

    refused = "Operation not permitted"
    expected = ["fork", "execve", "kill", "kill of its own", "socket", "open", "thread"]
    done = {"kill of its own", "open", "thread"}
    assert printed.splitlines() == [f"{name} {'done' if name in done else refused}" for name in expected]


def test_masks_hold_each_capability_once() -> None:
    assert mask_of([0, 39, 0]) == 1 | 1 << 39
    assert sandbox.mask_of([]) == 0
