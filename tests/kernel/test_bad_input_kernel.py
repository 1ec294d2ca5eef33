"""What bad input gets on the live kernel: one line, its status, an account that adds up, and nothing left attached."""

import base64
import hashlib
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz.mutants import BTF_HEAD
from tests.support.pipes import await_full
from tests.support.refusals import COMMAND, Place, assert_kernel_is_clean, assert_one_line, kernel_objects
from traceleft import Battery, Tracer
from traceleft.tracer.decode.batch import Batch
from traceleft.tracer.decode.decoder import Decoder, UndecodableError, make_decoders
from traceleft.tracer.output.jsonl import to_json_line
from traceleft.tracer.output.text import Line, TextOptions
from traceleft.tracer.schema.load import load_schema
from traceleft.tracer.schema.spec import EventSpec

pytestmark = pytest.mark.kernel

NO_CAPABILITY = ("setpriv", "--bounding-set=-sys_admin,-bpf,-perfmon")
NO_MOUNT = ("setpriv", "--bounding-set=-sys_admin")
# Long enough for a trace to end first.
LOOP = "for i in $(seq 100); do cat /etc/hostname; done >/dev/null"
# Imports all, then becomes nobody: the source tree itself may be out of nobody's reach.
BECOME_NOBODY = "os.setgroups([]); os.setgid(65534); os.setuid(65534)"
AS_NOBODY = f"""
import os, pkgutil, sys
import traceleft
from traceleft.cli import main as cli
for module in pkgutil.walk_packages(traceleft.__path__, "traceleft."):
    if not module.name.endswith("__main__"):
        __import__(module.name)
{BECOME_NOBODY}
sys.exit(cli.main(sys.argv[1:]))
"""
# PR_SET_KEEPCAPS; then capset with CAP_BPF and CAP_PERFMON alone, in the second word of each set.
KEEP_BPF = """
import ctypes, struct
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(8, 1, 0, 0, 0) == 0
{}
held = 1 << 38 - 32 | 1 << 39 - 32
assert libc.capset(struct.pack("=Ii", 0x20080522, 0), struct.pack("=6I", 0, 0, 0, held, held, 0)) == 0
"""
AS_NOBODY_WITH_BPF = AS_NOBODY.replace(BECOME_NOBODY, KEEP_BPF.format(BECOME_NOBODY))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    directory = tmp_path / "place"
    directory.mkdir()
    return Place(directory)


@pytest.fixture
def trace(kernel_battery: Path) -> tuple[str, ...]:
    """The begin of a command line."""
    return ("trace", "--battery", str(kernel_battery))


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Check that no program and no link stays in the kernel, whatever a test did."""
    before = kernel_objects()
    yield
    assert_kernel_is_clean(before)


def adds_up(file: Path) -> dict[str, Any]:
    """Return the account in a file after checking that it adds up."""
    ledger: dict[str, Any] = json.loads(file.read_text())
    accounted = ("delivered", "lost", "dropped", "undecodable")
    assert ledger["emitted"] == sum(ledger[key] for key in accounted)
    assert ledger["unaccounted"] == 0
    return ledger


# -- privileges and tracefs --


PRIVILEGES = "run as root, or as a user with both: setpriv"
TRACEFS = "tracefs: cannot be read; as root: mount -t tracefs"


def test_without_capabilities_a_trace_names_the_remedy(place: Place, trace: tuple[str, ...]) -> None:
    place.refuse(*trace, "--", "true", words=PRIVILEGES, before=NO_CAPABILITY)
    place.refuse("trace", "--", "true", words=PRIVILEGES, before=NO_CAPABILITY)
    place.refuse(*trace, "-p", "1", "-o", "/dev/null", words=PRIVILEGES, before=NO_CAPABILITY)


def test_without_capabilities_doctor_tells_what_is_lacking(place: Place) -> None:
    done = place.run("doctor", before=NO_CAPABILITY)

    assert done.returncode == 0
    assert PRIVILEGES in done.stdout
    assert done.stderr == ""


def test_doctor_tells_what_a_user_with_both_capabilities_may_not_look_at(place: Place) -> None:
    done = as_nobody(place, "doctor", script=AS_NOBODY_WITH_BPF)

    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"✓ privileges +CAP_BPF, CAP_PERFMON", done.stdout)
    assert re.search(r"✓ raw tracepoint +yes", done.stdout)
    assert re.search(r"✗ kprobe +programs load, but tracefs cannot be looked at", done.stdout)


def as_nobody(place: Place, *arguments: str | Path, script: str = AS_NOBODY) -> subprocess.CompletedProcess[str]:
    """Run the command as nobody, in a place where nobody can write."""
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd="/",
        env=place.environment() | {"TMPDIR": "/nosuch", "HOME": "/nosuch", "XDG_CACHE_HOME": "/nosuch"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trace", "--", "true"], PRIVILEGES),
        (["trace", "-p", "1"], PRIVILEGES),
        (["snapshot", "-o", "/tmp/nosuch-traceleft"], TRACEFS),
        (["list"], TRACEFS),
        (["generate", "-o", "/tmp/nosuch-traceleft"], TRACEFS),
        (["generate", "--formats", "/sys/kernel/tracing/events", "-o", "/tmp/nosuch-traceleft"], "permission denied"),
    ],
    ids=lambda each: "-".join(each[:2]) if isinstance(each, list) else "",
)
def test_nobody_is_told_what_root_could_do(place: Place, arguments: list[str], words: str) -> None:
    assert_one_line(as_nobody(place, *arguments), status=1, words=words)
    assert not Path("/tmp/nosuch-traceleft").exists()


def without_tracefs(*then: str) -> tuple[str, ...]:
    """Return what runs a command where tracefs is not mounted, then through what is given."""
    script = 'umount -l -a -t tracefs && { umount -l -a -t debugfs || :; } 2>/dev/null; exec "$@"'
    return ("unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *then)


@pytest.mark.parametrize(
    "arguments", [["list"], ["snapshot", "-o", "out"], ["generate", "-o", "out"]], ids=lambda each: each[0]
)
def test_absent_tracefs_that_cannot_be_mounted_is_told(place: Place, arguments: list[str]) -> None:
    place.refuse(*arguments, words=TRACEFS, before=without_tracefs(*NO_MOUNT))


def test_trace_on_tracepoints_without_tracefs_names_the_remedy(place: Place, trace: tuple[str, ...]) -> None:
    keep_bpf = ("setpriv", "--bounding-set=-sys_admin")
    arguments = (*trace, "--attach", "tracepoint", "-e", "openat", "--", "true")

    place.refuse(*arguments, words="mount tracefs", before=without_tracefs(*keep_bpf))


def test_trace_on_raw_tracepoints_needs_no_tracefs(place: Place, trace: tuple[str, ...]) -> None:
    keep_bpf = ("setpriv", "--bounding-set=-sys_admin")

    done = place.run(*trace, "-e", "openat", "--", "true", before=without_tracefs(*keep_bpf))

    assert done.returncode == 0
    assert "openat(" in done.stdout


def test_absent_tracefs_is_mounted_where_it_can_be(place: Place) -> None:
    done = place.run("list", "-e", "openat", before=without_tracefs())

    assert done.stdout.startswith("openat(dfd: int")
    assert done.stderr == ""


def test_format_of_a_kernel_without_read_permission_needs_no_root_from_a_copy(place: Place) -> None:
    place.run("snapshot", "-o", "snapshot")

    generated = place.run("generate", "--formats", "snapshot", "-e", "close", "-o", "out", before=NO_CAPABILITY)
    built = place.run("build", "out", "-o", "battery", before=NO_CAPABILITY)

    assert (generated.returncode, built.returncode) == (0, 0)


# -- what to trace --


@pytest.mark.parametrize("pid", ["4194305", "2147483648", "9999999999"])
def test_pid_that_is_none_is_told(place: Place, trace: tuple[str, ...], pid: str) -> None:
    place.refuse(*trace, "-p", pid, words=f"process {pid}: there is no such process")


def test_process_that_ends_while_we_load_ends_the_trace(place: Place, trace: tuple[str, ...]) -> None:
    with subprocess.Popen(["sleep", "0.2"]) as sleeper:
        done = place.run(*trace, "-p", str(sleeper.pid), "-o", "/dev/null")

    assert_one_line(done, status=1 if "no such process" in done.stderr else 0, words="")


@pytest.mark.parametrize("expression", ["!/./", "none", "?nosuch"])
def test_expression_that_leaves_no_event_is_a_usage_error(
    place: Place, trace: tuple[str, ...], expression: str
) -> None:
    place.refuse(*trace, "-e", expression, "--", "true", words="the event expressions choose no event", status=2)


def write(data: bytes, mode: int) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        path.write_bytes(data)
        path.chmod(mode)

    return make


COMMANDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda path: None, "cannot be executed: no such file or directory"),
    "directory": (Path.mkdir, "it is not an executable file"),
    "not executable": (write(b"#!/bin/sh\n", 0o644), "it is not an executable file"),
    "fifo": (os.mkfifo, "it is not an executable file"),
    "link to itself": (lambda path: path.symlink_to(path), "cannot be executed: too many levels of symbolic links"),
}


@pytest.mark.parametrize(("make", "words"), COMMANDS.values(), ids=COMMANDS.keys())
def test_command_that_cannot_be_executed_is_told(
    place: Place, trace: tuple[str, ...], make: Callable[[Path], object], words: str
) -> None:
    make(place.directory / "command")

    place.refuse(*trace, "--", "./command", words=f"./command: {words}" if "it is" not in words else words)


@pytest.mark.parametrize("name", ["", ".", "nosuchcommand", "a\nb", os.fsdecode(b"\xff"), "x" * 5000])
def test_command_that_cannot_be_found_is_told(place: Place, trace: tuple[str, ...], name: str) -> None:
    place.refuse(*trace, "--", name, words="traceleft: ")


@pytest.mark.parametrize("data", [b"", b"\x7fELF and no more", b"#!/nosuch\n"], ids=["empty", "elf", "interpreter"])
def test_command_that_the_kernel_refuses_is_told_after_the_account(
    place: Place, trace: tuple[str, ...], data: bytes
) -> None:
    write(data, 0o755)(place.directory / "command")

    done = place.run(*trace, "--", "./command")

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("traceleft: ./command: cannot be executed: ")
    assert done.stderr.count("\n") == 2


def test_odd_bytes_in_arguments_reach_the_command_and_the_output(place: Place, trace: tuple[str, ...]) -> None:
    odd = os.fsdecode(b"\xff\xfe\x01\x1b[31m")
    plain = Place(place.directory, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})
    for form in ("text", "json"):
        done = plain.run(*trace, "-e", "execve,openat", "--format", form, "-o", form, "--", "cat", odd)
        assert done.returncode == 1

    text = (place.directory / "text").read_text()
    events = [json.loads(line) for line in (place.directory / "json").read_text().splitlines()]

    assert r'argv: ["cat", "\xff\xfe\x01\x1b[31m"]' in text
    assert "\x1b" not in text
    exact = base64.b64encode(os.fsencode(odd)).decode()
    assert events[0]["args"]["argv"] == ["cat", "\ufffd\ufffd\x01\x1b[31m"]
    assert events[0]["bytes"] == {"argv[1]": exact}
    assert events[-1]["args"]["filename"] == "\ufffd\ufffd\x01\x1b[31m"
    assert events[-1]["bytes"] == {"filename": exact}


# -- where to write --


@contextmanager
def small_disk(path: Path) -> Iterator[Path]:
    """Mount a file system with hardly any room."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


def test_disk_that_fills_while_events_are_written_ends_the_trace(place: Place, trace: tuple[str, ...]) -> None:
    with small_disk(place.directory / "disk") as disk:
        done = place.run(*trace, "--ledger", "ledger", "-f", "-o", disk / "out", "--", "sh", "-c", LOOP)

    lines = done.stderr.splitlines()
    assert done.returncode == 1
    assert [line.startswith("traceleft: ") for line in lines] == [True, True]
    assert lines[1].endswith("disk/out: No space left on device")
    assert adds_up(place.directory / "ledger")["delivered"] > 0


def test_disk_that_is_full_leaves_no_snapshot_and_no_battery(place: Place, kernel_battery: Path) -> None:
    with small_disk(place.directory / "disk") as disk:
        place.refuse("snapshot", "-o", disk / "out", words="cannot be written: no space left on device")
        place.refuse("generate", "-o", disk / "out", words="No space left on device")
        sources = kernel_battery.parent / "generated"
        place.refuse("build", sources, "-o", disk / "out", words="no space left on the device; free some")


@pytest.mark.parametrize("option", ["-o", "--ledger"])
@pytest.mark.parametrize(("file", "reason"), [("/nosuch/out", "No such file"), ("/", "Is a directory")])
def test_output_that_cannot_be_opened_is_told_before_anything_is_loaded(
    place: Place, trace: tuple[str, ...], option: str, file: str, reason: str
) -> None:
    place.refuse(*trace, option, file, "--", "true", words=f"{file}: {reason}")


@pytest.mark.parametrize("options", [["--ledger", "/dev/full", "-o", "/dev/null"], ["-c", "-o", "/dev/full"]])
def test_full_device_is_told_after_the_account(place: Place, trace: tuple[str, ...], options: list[str]) -> None:
    done = place.run(*trace, *options, "--", "true")

    assert done.returncode == 1
    assert [line.startswith("traceleft: ") for line in done.stderr.splitlines()] == [True, True]
    assert done.stderr.endswith("/dev/full: No space left on device\n")


def test_fifo_whose_reader_goes_ends_the_trace(place: Place, trace: tuple[str, ...]) -> None:
    os.mkfifo(place.directory / "fifo")
    with place.start(*trace, "-f", "--ledger", "ledger", "-o", "fifo", "--", "sh", "-c", LOOP) as process:
        with (place.directory / "fifo").open("rb") as reader:
            assert reader.read(100)
        process.wait(timeout=120)
        errors = process.stderr.read() if process.stderr else ""

    assert process.returncode == 0
    # On a busy machine the command, which gets no signal, takes its time.
    (account,) = [line for line in errors.splitlines() if "waiting for the command" not in line]
    assert " 0 lost" in account
    assert adds_up(place.directory / "ledger")["dropped"] > 0


def test_reader_that_takes_one_line_is_no_error(place: Place, trace: tuple[str, ...]) -> None:
    line = 'set -o pipefail; "$@" | head -n 1'

    done = place.run(*trace, "--ledger", "ledger", "-f", "--", "sh", "-c", LOOP, before=["bash", "-c", line, "bash"])

    assert (done.returncode, done.stdout.count("\n")) == (0, 1)
    (_,) = [line for line in done.stderr.splitlines() if "waiting for the command" not in line]
    assert adds_up(place.directory / "ledger")["delivered"] >= 1


@pytest.mark.parametrize("command", ["list", "doctor"])
def test_reader_that_takes_nothing_is_no_error(place: Place, command: str) -> None:
    done = place.run(command, before=["bash", "-c", 'set -o pipefail; "$@" | :', "bash"])

    assert (done.returncode, done.stderr) == (0, "")


# -- signals --


SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("delay_s", [0.0, 0.1, 0.2, 0.3, 0.5])
def test_signal_at_any_time_ends_us_with_its_status_and_leaves_nothing(
    place: Place, trace: tuple[str, ...], number: signal.Signals, delay_s: float
) -> None:
    process = place.start(*trace, "-f", "-o", "/dev/null", "--ledger", "ledger", "--", "sleep", "100")
    # Before that the interpreter itself begins, and answers for itself.
    while "msgspec" not in Path(f"/proc/{process.pid}/maps").read_text():
        assert process.poll() is None
    time.sleep(delay_s)

    process.send_signal(number)
    _, errors = process.communicate(timeout=120)

    assert process.returncode in (128 + number, -number)
    assert "Traceback" not in errors
    assert errors.count("\n") <= 1
    if (place.directory / "ledger").exists() and (place.directory / "ledger").stat().st_size:
        adds_up(place.directory / "ledger")


def begin(place: Place, trace: tuple[str, ...], *arguments: str) -> subprocess.Popen[str]:
    """Start a trace, and return when the first event was written to ``out``."""
    process = place.start(*trace, "-o", "out", "--ledger", "ledger", *arguments)
    out = place.directory / "out"
    while not out.exists() or not out.stat().st_size:
        assert process.poll() is None
        time.sleep(0.01)
    return process


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_signal_while_events_flow_drains_and_accounts(
    place: Place, trace: tuple[str, ...], number: signal.Signals
) -> None:
    process = begin(place, trace, "-f", "--", "sh", "-c", LOOP)

    process.send_signal(number)
    _, errors = process.communicate(timeout=120)

    assert process.returncode == 128 + number
    assert errors.count("\n") == 1
    ledger = adds_up(place.directory / "ledger")
    assert ledger["delivered"] == ledger["emitted"] - ledger["lost"] > 0
    assert ledger["delivered"] == (place.directory / "out").read_bytes().count(b"\n")


def test_ignored_hangup_stays_ignored(place: Place, trace: tuple[str, ...]) -> None:
    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = place.start(*trace, "-o", "/dev/null", "--", "sleep", "1.5", limit=ignore)
    for _ in range(10):
        time.sleep(0.1)
        process.send_signal(signal.SIGHUP)
    process.communicate(timeout=120)

    assert process.returncode == 0


def test_killed_tracer_leaves_the_command_running_and_nothing_attached(place: Place, trace: tuple[str, ...]) -> None:
    process = begin(place, trace, "--", "sleep", "100")
    children = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    (sleeper,) = (pid for pid in children if Path(f"/proc/{pid}/comm").read_text() == "sleep\n")

    process.kill()
    process.wait()

    assert Path(f"/proc/{sleeper}").exists()
    deadline = time.monotonic() + 120
    while (left := [pid for pid in children if Path(f"/proc/{pid}").exists()]) != [sleeper]:
        assert time.monotonic() < deadline, left
        time.sleep(0.02)
    os.kill(sleeper, signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_second_signal_ends_a_trace_whose_reader_does_not_read(
    place: Place, trace: tuple[str, ...], number: signal.Signals
) -> None:
    process = place.start(*trace, "-f", "--ledger", "ledger", "--", "sh", "-c", LOOP)
    assert process.stdout is not None
    await_full(process.stdout)

    for _ in range(2):
        process.send_signal(number)
        time.sleep(0.3)
    process.wait(timeout=120)
    process.communicate()

    assert process.returncode == 128 + number
    assert adds_up(place.directory / "ledger")["dropped"] > 0


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_signal_while_a_battery_is_made_leaves_no_battery(place: Place, number: signal.Signals) -> None:
    clang = place.directory / "clang"
    clang.write_text('#!/bin/sh\n[ "$1" = --version ] && { echo "clang version 14.0.6"; exit; }\nsleep 100\n')
    clang.chmod(0o755)
    slow = Place(place.directory, {"TRACELEFT_CLANG": str(clang)})
    process = slow.start("trace", "--", "true")
    while not list(place.directory.glob("cache/traceleft/battery/.building/*")) and process.poll() is None:
        if list(place.directory.glob("cache/traceleft/battery/.building")):
            time.sleep(0.3)
            break
        time.sleep(0.01)

    process.send_signal(number)
    _, errors = process.communicate(timeout=120)

    assert process.returncode == 128 + number
    assert errors.count("\n") == 1
    assert "making" in errors
    assert sorted(each.name for each in (place.directory / "cache/traceleft").iterdir()) == ["lock"]


# -- limits, company, numbers used again --


@pytest.mark.parametrize("files", [16, 20, 24, 28])
def test_too_few_open_files_name_the_remedy(place: Place, trace: tuple[str, ...], files: int) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    place.refuse(*trace, "-o", "/dev/null", "--", "true", words="too many open files", limit=limit)


@pytest.mark.parametrize("hook", ["raw_tracepoint", "tracepoint"])
def test_some_open_files_are_enough_for_every_syscall(place: Place, trace: tuple[str, ...], hook: str) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))

    done = place.run(*trace, "--attach", hook, "-o", "/dev/null", "--", "true", limit=limit)

    assert_one_line(done, status=0, words="0 lost")


def test_low_soft_limit_is_raised_for_us_and_not_for_the_command(place: Place, trace: tuple[str, ...]) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    done = place.run(*trace, "-o", "/dev/null", "--", "sh", "-c", "ulimit -n", limit=limit)

    assert (done.returncode, done.stdout) == (0, "40\n")


@pytest.mark.parametrize("megabytes", [60, 90, 120, 160])
def test_too_little_memory_is_one_line_or_a_trace(place: Place, trace: tuple[str, ...], megabytes: int) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))

    done = place.run(*trace, "-e", "openat", "-o", "/dev/null", "--", "true", limit=limit)

    assert done.returncode in (0, 1)
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("traceleft: ")
    assert "internal" not in done.stderr


def test_tracers_do_not_disturb_each_other(place: Place, trace: tuple[str, ...]) -> None:
    script = "for i in 1 2 3 4 5; do cat /etc/hostname; done >/dev/null"
    processes = [
        place.start(*trace, "-f", "-e", "execve,openat", "-o", f"out{number}", "--", "sh", "-c", script)
        for number in range(4)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert (process.returncode, errors.count("\n")) == (0, 1)

    counts = {(place.directory / f"out{number}").read_bytes().count(b"\n") for number in range(4)}
    assert len(counts) == 1


def test_tracer_can_be_traced(place: Place, trace: tuple[str, ...]) -> None:
    inner = [*COMMAND, *trace, "-e", "openat", "-o", "inner", "--", "true"]

    done = place.run(*trace, "-f", "-e", "bpf,execve", "-o", "outer", "--", *inner)

    assert (done.returncode, done.stderr.count("\n")) == (0, 2)
    assert " bpf(cmd: BPF_PROG_LOAD" in (place.directory / "outer").read_text()
    assert "openat(" in (place.directory / "inner").read_text()


def test_pid_that_is_used_again_is_another_process(place: Place, trace: tuple[str, ...]) -> None:
    last_pid = Path("/proc/sys/kernel/ns_last_pid")
    with subprocess.Popen(["sleep", "100"]) as stays, subprocess.Popen(["sleep", "100"]) as goes:
        process = place.start(*trace, "-p", f"{stays.pid},{goes.pid}", "-e", "execve,openat", "-o", "out")
        # A trace that has given up its privileges is attached.
        while "Seccomp:\t2" not in Path(f"/proc/{process.pid}/status").read_text():
            assert process.poll() is None
            time.sleep(0.05)
        goes.kill()
        goes.wait()
        for _ in range(100):
            last_pid.write_text(str(goes.pid - 1))
            with subprocess.Popen(["cat", "/etc/hostname"], stdout=subprocess.DEVNULL) as again:
                again.wait()
            if again.pid == goes.pid:
                break
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)
        stays.kill()

    assert again.pid == goes.pid
    assert (place.directory / "out").read_text() == ""


# -- batteries and records --


def resign(battery: Path, change: Callable[[bytes], bytes]) -> None:
    """Change the object of openat and sign the battery again, as a forger would."""
    document = json.loads((battery / "manifest.json").read_bytes())
    text = json.dumps(document)
    (old,) = (digest for digest, entry in document["objects"].items() if entry["event"] == "openat")
    data = change(object_file(battery, old).read_bytes())
    new = f"sha256:{hashlib.sha256(data).hexdigest()}"
    object_file(battery, new).parent.mkdir(exist_ok=True)
    object_file(battery, new).write_bytes(data)
    document = json.loads(text.replace(old, new))
    document["objects"][new]["size"] = len(data)
    document.pop("digest")
    digest = hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    document["digest"] = f"sha256:{digest}"
    (battery / "manifest.json").write_bytes(json.dumps(document, sort_keys=True, separators=(",", ":")).encode())


def object_file(battery: Path, digest: str) -> Path:
    name = digest.removeprefix("sha256:")
    return battery / "objects" / name[:2] / f"{name[2:]}.o"


@pytest.fixture
def small_battery(place: Place) -> Path:
    place.run("generate", "-e", "openat", "-o", "sources")
    place.run("build", "sources", "-o", "battery", "--level", "5.8")
    return place.directory / "battery"


def test_missing_object_is_told(place: Place, small_battery: Path) -> None:
    shutil.rmtree(small_battery / "objects")

    place.refuse("trace", "--battery", "battery", "--", "true", words="is missing; build the battery again")


def test_forged_object_is_refused_in_one_line_or_runs(place: Place, small_battery: Path) -> None:
    generator = random.Random(2)
    shutil.copytree(small_battery, place.directory / "sound")
    for turn in range(12):
        shutil.rmtree(small_battery)
        shutil.copytree(place.directory / "sound", small_battery)
        resign(small_battery, partial(damage, turn, generator))

        done = place.run("trace", "--battery", "battery", "-o", "/dev/null", "--", "true")

        assert done.returncode in (0, 1)
        assert done.stderr.count("\n") == 1, done.stderr
        assert "internal" not in done.stderr, done.stderr


def with_signal(data: bytes) -> bytes:
    """Return an object that sends a signal where it would write a record."""
    return data.replace(bytes((0x85, 0, 0, 0, 130, 0, 0, 0)), bytes((0x85, 0, 0, 0, 109, 0, 0, 0)))


def with_pin(data: bytes) -> bytes:
    """Return an object one of whose maps is to be pinned."""
    return data.replace(b"\0map_flags\0", b"\0pinning\0e\0")


def with_wrong_type(data: bytes) -> bytes:
    """Return an object whose first type, a pointer, leads to none."""
    at = data.index(BTF_HEAD) + 24
    return data[: at + 8] + b"\xff\xff\0\0" + data[at + 12 :]


HOSTILE = {
    "program raw_exit_openat calls bpf_send_signal (helper 109), which handlers may not": with_signal,
    "map saved is to be pinned, which no map may": with_pin,
    "damaged: type 1 of its BTF is not sound": with_wrong_type,
}


@pytest.mark.parametrize("offence", HOSTILE, ids=["signal", "pin", "type"])
def test_battery_that_does_more_than_trace_is_refused_by_check_and_load(
    place: Place, small_battery: Path, offence: str
) -> None:
    resign(small_battery, HOSTILE[offence])

    checked = place.run("battery", "check", "battery")
    traced = place.run("trace", "--battery", "battery", "-e", "openat", "--", "true")

    assert checked.returncode == 1
    assert f"battery: openat, levels 5.8: {offence}\n" in checked.stderr
    assert traced.returncode == 1
    assert traced.stderr.startswith("traceleft: openat: cannot trust the object: ")
    assert traced.stderr.count("\n") == 1


def damage(turn: int, generator: random.Random, data: bytes) -> bytes:
    """Return an object that is cut, replaced, or has some bits changed."""
    match turn:
        case 0:
            return b"\x7fELF" + bytes(60)
        case 1:
            return data[: len(data) // 2]
        case 2:
            return generator.randbytes(len(data))
    changed = bytearray(data)
    for _ in range(8):
        changed[generator.randrange(len(changed))] ^= 1 << generator.randrange(8)
    return bytes(changed)


def mutate(record: bytes, spec: EventSpec, ids: list[int], generator: random.Random) -> bytes:
    """Change a record: bits, words, a slot, its length, or the event that it claims."""
    data = bytearray(record)
    match generator.randrange(6):
        case 0:
            data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        case 1:
            at = generator.randrange(len(data) // 4) * 4
            data[at : at + 4] = generator.choice([0, 1, 8, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]).to_bytes(
                4, "little"
            )
        case 2 if spec.slots:
            at = generator.choice(spec.slots).offset
            data[at : at + 8] = generator.randbytes(8)
        case 3:
            del data[generator.randrange(len(data)) :]
        case 4:
            data += generator.randbytes(generator.randrange(40))
        case _:
            data[4:6] = generator.choice(ids).to_bytes(2, "little")
    return bytes(data)


def test_records_of_the_kernel_that_were_changed_show_or_are_undecodable(kernel_battery: Path) -> None:
    battery = Battery.open(kernel_battery)
    decoders = {each.spec.id: each for each in make_decoders(load_schema(battery.schema(os.uname().release))).values()}
    records: dict[int, list[bytes]] = {}
    line = Line(TextOptions(raw=True, durations=True))
    generator = random.Random(1)

    def keep(batch: Batch) -> None:
        records.setdefault(batch.spec.id, []).extend(batch.record(row) for row in range(len(batch)))

    script = "import subprocess, socket; socket.create_server(('127.0.0.1', 0)); subprocess.run(['ls', '-l', '/'])"
    with Tracer(battery, command=[sys.executable, "-c", script], follow=True) as tracer:
        for name in tracer.specs:
            tracer.on_batch(name, keep)
        tracer.run()
    # The core's own events stand in no schema.
    decoders |= {spec.id: Decoder(spec, tracer.tables) for spec in tracer.specs.values()}
    for _ in range(50_000):
        event = generator.choice(list(records))
        data = mutate(generator.choice(records[event]), decoders[event].spec, list(records), generator)
        decoder = decoders.get(int.from_bytes(data[4:6], "little"), decoders[event])
        with suppress(UndecodableError):
            decoded = decoder.decode(data)
            assert b"\n" not in to_json_line(decoded, raw=True)[:-1]
            assert "\n" not in line.show(decoded)

    assert len(records) > 20
