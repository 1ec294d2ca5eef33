"""What the reader of a trace holds while it reads, and what it can still do."""

import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from traceleft.tracer.sandbox.privileges import CAP_BPF, CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE, mask_of

pytestmark = pytest.mark.kernel

COMMAND = (sys.executable, "-m", "traceleft")
LIMIT_S = 120
NOBODY = 65534
FILTERED = 2
MAPS = mask_of([CAP_BPF])
PROCESSES = MAPS | mask_of([CAP_SYS_PTRACE])
FILES = PROCESSES | mask_of([CAP_DAC_READ_SEARCH])
LOOP = ("sh", "-c", "while :; do read x < /etc/hostname; sleep 0.05; done")

Held = tuple[int, int, int]
"""Of a thread: permitted capabilities, no_new_privs, mode of seccomp."""


def read_held(status: str) -> Held:
    values = dict(re.findall(r"^(CapPrm|NoNewPrivs|Seccomp):\t(\w+)$", status, re.M))
    return int(values["CapPrm"], 16), int(values["NoNewPrivs"]), int(values["Seccomp"])


def held_by(pid: int) -> dict[str, Held]:
    """Return what each thread of a process holds."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found[task.name] = read_held((task / "status").read_text())
        except OSError:
            continue
    return found


OWN = read_held(Path("/proc/self/status").read_text())


@contextmanager
def running(words: Sequence[str]) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command that traces, in a session of its own, and end it by Ctrl-C."""
    process = subprocess.Popen(
        [*COMMAND, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        yield process
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
        process.communicate()


def await_sandbox(process: "subprocess.Popen[bytes]") -> dict[str, Held]:
    """Return what the threads of a process hold, once its first one has a filter."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stderr and process.stderr.read()
        held = held_by(process.pid)
        if held.get(str(process.pid), (0, 0, 0))[2] == FILTERED:
            # Sinks start their threads a moment later.
            time.sleep(0.3)
            return held_by(process.pid)
        time.sleep(0.02)
    raise AssertionError("it was never confined")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path


MODES = {
    "trace": (("trace", "-e", "openat"), MAPS),
    "trace, a command": (("trace", "-e", "openat", "--", *LOOP), PROCESSES),
    "trace, followed": (("trace", "-f", "-e", "openat", "--", *LOOP), PROCESSES),
    "-p": (("trace", "-p", str(os.getppid())), PROCESSES),
    "-y": (("trace", "-y", "-e", "read"), FILES),
    # Files of processes are opened by another process.
    "-k": (("trace", "-k", "-e", "openat", "--", *LOOP), PROCESSES),
    "-c": (("trace", "-c"), MAPS),
    "stat": (("stat", "-e", "%file"), MAPS),
    "stat by path": (("stat", "--by", "path", "-e", "openat"), FILES),
    "top": (("top", "-e", "openat"), MAPS),
    "record": (("record", "-e", "openat", "-o", "OUT/events.rec"), MAPS),
    "rotated record": (("record", "--rotate-time", "1", "-e", "openat", "-o", "OUT/events.rec"), MAPS),
    "--max-overhead": (("trace", "--max-overhead", "50", "-e", "openat"), MAPS),
    "ndjson": (("trace", "-e", "openat", "--sink", "ndjson:OUT/events"), MAPS),
    "parquet": (("trace", "-e", "openat", "--sink", "parquet:OUT/days"), FILES),
    "prometheus": (("trace", "-e", "openat", "--sink", "prometheus:127.0.0.1:0"), MAPS),
    "otlp": (("trace", "-e", "openat", "--sink", "otlp:http://127.0.0.1:9"), MAPS),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_thread_holds_only_what_it_uses(mode: str, kernel_battery: Path, out: Path) -> None:
    (verb, *rest), allowed = MODES[mode]
    words = [verb, "--battery", str(kernel_battery), *(each.replace("OUT", str(out)) for each in rest)]

    with running(words) as process:
        held = await_sandbox(process)

    assert len(held) >= 2
    assert {tid: one for tid, one in held.items() if one[0] & ~allowed or one[1:] != (1, FILTERED)} == {}


def test_no_sandbox_keeps_all(kernel_battery: Path, out: Path) -> None:
    output = out / "events"
    words = ["trace", "--no-sandbox", "--battery", str(kernel_battery), "-o", str(output), "-e", "openat", "--", *LOOP]
    with running(words) as process:
        deadline = time.monotonic() + LIMIT_S
        while not (output.exists() and output.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.05)
        held = held_by(process.pid)

    assert set(held.values()) == {OWN}


def test_command_keeps_what_it_had(kernel_battery: Path, out: Path) -> None:
    words = ["trace", "--battery", str(kernel_battery), "-o", str(out / "events"), "-e", "openat", "--"]
    done = subprocess.run(
        [*COMMAND, *words, "cat", "/proc/self/status"], capture_output=True, text=True, timeout=LIMIT_S, check=True
    )

    assert read_held(done.stdout) == OWN


def test_command_of_another_user_is_ended(kernel_battery: Path, out: Path) -> None:
    as_nobody = textwrap.dedent(
        f"""
        import os, time
        with open({str(out / "pid")!r}, "w") as file:
            os.setgroups([]), os.setgid({NOBODY}), os.setuid({NOBODY})
            file.write(str(os.getpid()))
        time.sleep({LIMIT_S})
        """
    )
    words = ["trace", "--kill", "--battery", str(kernel_battery), "-o", str(out / "events"), "-e", "openat", "--"]
    process = subprocess.Popen([*COMMAND, *words, sys.executable, "-c", as_nobody], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + LIMIT_S
    while not ((out / "pid").exists() and (out / "pid").read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)

    assert process.wait(LIMIT_S) == 128 + signal.SIGTERM
    pid = int((out / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("sink", [False, True], ids=["recording", "ndjson"])
def test_files_go_on_in_a_directory_of_another_user(sink: bool, kernel_battery: Path, out: Path) -> None:
    home = out / "home"
    home.mkdir(0o700)
    shutil.chown(home, NOBODY, NOBODY)
    verb = ["trace", "--sink", f"ndjson:{home}/events?rotate=64K"] if sink else ["record", "--rotate-size", "64K"]
    target = [] if sink else ["-o", str(home / "events")]
    loop = ("sh", "-c", "i=0; while [ $i -lt 9000 ]; do read x < /etc/hostname; i=$((i+1)); done")
    done = subprocess.run(
        [*COMMAND, *verb, "--battery", str(kernel_battery), "-e", "openat", *target, "--", *loop],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )

    assert (done.returncode, done.stderr.count("\n")) == (0, 1), done.stderr
    assert len(list(home.iterdir())) > 1
    assert {each.stat().st_mode & 0o777 for each in home.iterdir()} == {0o600}


def test_recording_goes_on_over_a_file_of_another_user(kernel_battery: Path, out: Path) -> None:
    (out / "events.1").touch(0o600)
    shutil.chown(out / "events.1", NOBODY, NOBODY)
    loop = ("sh", "-c", "i=0; while [ $i -lt 9000 ]; do read x < /etc/hostname; i=$((i+1)); done")
    words = ["record", "--rotate-size", "64K", "--battery", str(kernel_battery), "-e", "openat"]
    done = subprocess.run(
        [*COMMAND, *words, "-o", str(out / "events"), "--", *loop],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )

    assert (done.returncode, done.stderr.count("\n")) == (0, 1), done.stderr
    assert (out / "events.1").stat().st_size > 0
