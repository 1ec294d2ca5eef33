"""Processes that want to stop, fill or mislead their tracer, for real."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.dead_disk import dead_disk
from tests.support.elf_files import make_elf, make_link
from traceleft.tracer.kernel.cgroups import find_cgroup_mount

pytestmark = pytest.mark.kernel

COMMAND = (sys.executable, "-m", "traceleft")
LIMIT_S = 120
PLACE = 0x1008
# Mapped beyond its end, a file ends the process that touches it; these are not touched.
FUNCTIONS = [("named", 0x1000, 0x100)]


def run(*words: object) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run([*COMMAND, *map(str, words)], capture_output=True, timeout=LIMIT_S)


def stacks(lines: bytes) -> list[list[str]]:
    """Return the frames in user space of each call that the program makes by itself."""
    events: list[dict[str, Any]] = [json.loads(line) for line in lines.splitlines()]
    return [event["stack"]["user"] for event in events if event["event"] == "getppid"]


@pytest.fixture
def trace(kernel_battery: Path) -> Sequence[object]:
    return ("trace", "--battery", kernel_battery, "-k", "-e", "getppid", "--format", "json")


@pytest.fixture
def program(programs: Path) -> Path:
    return programs / "live_hostile_stack"


def test_link_to_a_fifo_hangs_nobody(trace: Sequence[object], program: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.debug")
    (tmp_path / "a").write_bytes(make_elf([], kind=11, link=make_link(b"a.debug", b"")))

    done = run(*trace, "--", program, tmp_path / "a")

    assert done.returncode == 0, done.stderr
    assert stacks(done.stdout)[0][1].endswith(f"({tmp_path}/a+{PLACE:#x})")


def test_files_are_named_that_are_what_was_mapped(trace: Sequence[object], program: Path, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(make_elf(FUNCTIONS))

    done = run(*trace, "--", program, tmp_path / "a")

    assert stacks(done.stdout)[0][1] == f"named+0x8 ({tmp_path}/a)"


def test_one_long_name_of_many_functions_takes_no_memory(
    trace: Sequence[object], program: Path, tmp_path: Path
) -> None:
    functions = [("", 0x1000 + 16 * rank, 16) for rank in range(400)]
    (tmp_path / "a").write_bytes(make_elf(functions, shared_name=b"n" * (4 << 20)))
    code = (
        "import resource, subprocess, sys\n"
        "status = subprocess.call(sys.argv[1:])\n"
        "print(status, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    )
    words = [*COMMAND, *map(str, trace), "-o", tmp_path / "events", "--", program, tmp_path / "a"]

    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, timeout=LIMIT_S)
    status, kilobytes = map(int, done.stdout.split())

    assert status == 0, done.stderr
    assert "n" * 4000 in stacks((tmp_path / "events").read_bytes())[0][1]
    assert kilobytes < 400 << 10


@pytest.mark.parametrize(
    "name", ["a\x1b[2Jb", "n" * 9000, "\u202egnp.exe", "\udcff" * 500], ids=["escape", "long", "bidi", "bytes"]
)
def test_recording_of_hostile_names_is_read_back_whole(
    name: str, kernel_battery: Path, program: Path, tmp_path: Path
) -> None:
    directory = tmp_path / name[:120]
    directory.mkdir()
    (directory / "a").write_bytes(make_elf([(os.fsencode(name), 0x1000, 0x100)]))
    words = ("record", "--battery", kernel_battery, "-k", "-e", "getppid", "-o", tmp_path / "r")

    done = run(*words, "--", program, *[directory / "a"] * 3)
    replayed = run("replay", "--format", "json", tmp_path / "r")

    assert (done.returncode, done.stderr.count(b"\n")) == (0, 1), done.stderr
    assert b" 0 lost" in done.stderr
    assert (replayed.returncode, len(stacks(replayed.stdout))) == (0, 3), replayed.stderr
    for _, frame in stacks(replayed.stdout):
        assert frame.isprintable()


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A cgroup whose path is as long as a name may be, six times, and shows as four times that."""
    mount = find_cgroup_mount()
    if mount is None:
        pytest.skip("cgroup v2 is not mounted")
    made = []
    path = mount
    try:
        for _ in range(6):
            path = path / os.fsdecode(b"\x1b\xff\x07\x01\\\xe2\x80\xae" * 30)
            path.mkdir()
            made.append(path)
        yield path
    finally:
        for path in reversed(made):
            path.rmdir()


def test_recording_of_a_hostile_cgroup_is_read_back_whole(
    kernel_battery: Path, program: Path, tmp_path: Path, cgroup: Path
) -> None:
    (tmp_path / "a").write_bytes(make_elf(FUNCTIONS))
    words = ("record", "--battery", kernel_battery, "-e", "getppid", "--cgroup", cgroup, "-o", tmp_path / "r")
    inside = 'echo $$ > "$0/cgroup.procs"; exec "$@"'

    done = run(*words, "--", "sh", "-c", inside, cgroup, program, *[tmp_path / "a"] * 3)
    replayed = run("replay", "--format", "json", tmp_path / "r")
    stat = run("stat", "-i", tmp_path / "r", "--by", "cgroup", "--format", "json")

    assert (done.returncode, done.stderr.count(b"\n")) == (0, 1), done.stderr
    assert b" 0 lost" in done.stderr
    events = [json.loads(line) for line in replayed.stdout.splitlines()]
    assert (replayed.returncode, sum(event["event"] == "getppid" for event in events)) == (0, 3), replayed.stderr
    (row,) = [json.loads(line) for line in stat.stdout.splitlines()]
    names = cgroup.relative_to(find_cgroup_mount() or "/")
    assert row["cgroup"].startswith("/\x1b\ufffd\x07") and row["cgroup"].count("/") == len(names.parts)
    assert (row["count"], b"\x1b" in stat.stdout) == (3, False), row


def test_files_that_end_the_reader_cost_names_and_no_events(
    kernel_battery: Path, program: Path, tmp_path: Path
) -> None:
    """Each takes longer than its reader has."""
    slow = make_elf([("", 16 * rank, 16) for rank in range(1, 1_000_000)], shared_name=b"n")
    for name in "abc":
        (tmp_path / name).write_bytes(slow)
    (tmp_path / "d").write_bytes(make_elf(FUNCTIONS))
    code = (
        "import sys\n"
        "from traceleft.tracer.stacks import symbol_worker\n"
        "symbol_worker.SECONDS = 0.1\n"
        "from traceleft.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    words = ["trace", "--battery", kernel_battery, "-k", "-e", "getppid", "--format", "json", "--", program]
    files = [tmp_path / name for name in "abcd"]

    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, (*words, *files))], capture_output=True, timeout=LIMIT_S
    )

    found = [frames[1] for frames in stacks(done.stdout)]
    assert (done.returncode, len(found)) == (0, 4), done.stderr
    assert found[3] == f"named+0x8 ({tmp_path}/d)"
    assert b" 0 lost" in done.stderr


def test_file_system_that_never_answers_costs_names_only(kernel_battery: Path, programs: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    shutil.copy(programs / "live_storm", tmp_path / "disk" / "storm")
    words = ("-e", "openat", "--format", "json", "--max-events", "3")

    with subprocess.Popen([tmp_path / "disk" / "storm", str(1 << 40)]) as process:
        try:
            with dead_disk(tmp_path / "disk"):
                done = run("trace", "--battery", kernel_battery, "-k", "-p", process.pid, *words)
        finally:
            process.kill()

    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3
    assert b"a file system does not answer" in done.stderr
    assert b" 0 unaccounted" in done.stderr
