"""A battery and the wheel are all that a target needs: a Debian 12 user land with Python and no more, made by
scripts/clean_target.sh, traces in a VM at every level and hook, and in a chroot on the kernel underneath."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.conftest import CACHE
from tests.support.levels import BUILT, RUNS
from tests.support.paths import ROOT
from tests.support.vm import run_in
from traceleft.battery import Battery
from traceleft.battery.archive import pack_battery
from traceleft.battery.builder.build import build
from traceleft.errors import TraceleftError
from traceleft.generator import generate

KERNEL: Final = "6.1"
FORMATS: Final = ROOT / "tests/data/formats/6.1.0-50-cloud-amd64.json.xz"
GUEST: Final = ROOT / "tests/vm/clean_guest.py"
RUN_IDS: Final = [f"{level}-{hook}" for level, hook in RUNS]
EVENTS: Final = "openat,execve"
PATH: Final = "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HIDE_BTF: Final = "mount -t tmpfs none /sys/kernel/btf"
# What README.md shows: nothing stays mounted when the shell ends.
ENTER: Final = """
mount --rbind /proc {target}/proc && mount --rbind /sys {target}/sys && mount --rbind /dev {target}/dev &&
mount --bind {battery} {target}/mnt && exec env -i {path} HOME=/root chroot {target} sh -c "$0"
"""
TOTAL_MB_MAX: Final = 250
PACKED_MB_MAX: Final = 4


@dataclass(frozen=True, slots=True)
class Target:
    """A user land, and the size that its script printed."""

    path: Path
    told: str


@dataclass(frozen=True, slots=True)
class Guest:
    """What came out of a guest: its files, and what it found."""

    path: Path
    found: Mapping[str, Any]

    def events(self, run: str) -> list[dict[str, Any]]:
        """Return the events of one run."""
        return [json.loads(line) for line in (self.path / f"{run}.json").read_text().splitlines()]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Target:
    """Make the user land."""
    path = tmp_path_factory.mktemp("target") / "root"
    command = [ROOT / "scripts/clean_target.sh", path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    return Target(path, done.stdout)


@pytest.fixture(scope="module")
def battery() -> Path:
    """Make a battery of all syscalls for all levels. It stays in build/tests: the next run compiles what changed."""
    place = CACHE / "target-battery"
    CACHE.mkdir(parents=True, exist_ok=True)
    try:
        Battery.open(place)
    except TraceleftError:
        shutil.rmtree(place, ignore_errors=True)
    generate(FORMATS, expressions=["all"], output=CACHE / "target-generated")
    build(CACHE / "target-generated", place, levels=BUILT)
    return place


@pytest.fixture(scope="module")
def guest(target: Target, battery: Path, tmp_path_factory: pytest.TempPathFactory) -> Guest:
    """Run all there is to run on the user land, inside a kernel that shows no BTF."""
    out = tmp_path_factory.mktemp("guest")
    pack_battery(battery, out / "battery.tar.xz")
    shutil.copy(GUEST, out)
    command = f"{HIDE_BTF} && {PATH} python3 /mnt/{GUEST.name} /mnt {' '.join(RUN_IDS)}"
    run_in(KERNEL, out, command, root=target.path)
    return Guest(out, json.loads((out / "found.json").read_text()))


def enter(target: Target, battery: Path, command: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run a shell command in a chroot, as README.md shows, with the battery as /mnt."""
    script = ENTER.format(target=target.path, battery=battery, path=PATH)
    return subprocess.run(
        ["unshare", "--mount", *flags, "sh", "-c", script, command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def assert_adds_up(ledger: Mapping[str, Any], events: int) -> None:
    assert ledger["emitted"] == ledger["delivered"] == events > 0
    assert [ledger[key] for key in ("lost", "dropped", "undecodable", "unaccounted", "missed")] == [0] * 5


@pytest.mark.vm
def test_target_has_python_and_the_wheel_and_no_compiler_headers_or_btf(guest: Guest) -> None:
    found = guest.found

    assert found["python"].startswith("3.11.")
    assert found["programs"] == ["traceleft", "sh"]
    assert found["modules"] == ["click", "msgspec", "rich", "traceleft.tracer"]
    assert found["paths"] == ["/sys/kernel/tracing/events"]


@pytest.mark.vm
def test_packed_battery_is_unpacked_verified_and_explained(guest: Guest) -> None:
    unpack, verify, doctor = (guest.found[name] for name in ("unpack", "verify", "doctor"))
    explained = json.loads(doctor["out"])

    assert [each["status"] for each in (unpack, verify, doctor)] == [0, 0, 0], (unpack, verify, doctor)
    assert "whole" in verify["out"]
    assert not explained["features"]["btf"]["present"]
    assert not explained["chosen"]["compiler"]["present"]
    assert [name for name, each in explained["battery"].items() if not each["present"]] == []


@pytest.mark.vm
@pytest.mark.parametrize("run", RUN_IDS)
def test_every_level_and_hook_traces_without_btf(guest: Guest, run: str) -> None:
    done, events = guest.found["traces"][run], guest.events(run)
    called = [(event["event"], event["args"]["filename"], event["error"]) for event in events]

    assert (done["status"], done["out"]) == (0, "target\n"), done["err"]
    assert [name for event, name, _ in called if event == "execve"] == ["/bin/sh", "/bin/cat"]
    assert called[-1] == ("openat", "/etc/hostname", None)
    assert ("openat", "/lib/x86_64-linux-gnu/libc.so.6", None) in called
    assert_adds_up(json.loads((guest.path / f"{run}.ledger").read_text()), len(events))


@pytest.mark.vm
def test_nothing_is_written_but_the_battery(guest: Guest) -> None:
    changed = guest.found["changed"]

    assert "/root/battery/manifest.json" in changed
    assert [path for path in changed if path != "/root" and not path.startswith("/root/battery")] == []
    assert guest.found["kprobes"] == ""


@pytest.mark.vm
def test_sizes_on_disk(target: Target, battery: Path, guest: Guest, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = dict(line.removesuffix(" MB").rsplit(": ", 1) for line in target.told.splitlines())
    objects = len(Battery.open(battery).manifest.objects)
    unpacked = sum(path.lstat().st_blocks * 512 for path in battery.rglob("*")) / 1e6
    packed = (guest.path / "battery.tar.xz").stat().st_size / 1e6

    with capsys.disabled():
        print(f"\n{target.told}battery of {objects} objects: {unpacked:.1f} MB, packed {packed:.1f} MB")

    assert int(sizes["user land"]) < TOTAL_MB_MAX
    assert 0 < packed < PACKED_MB_MAX


@pytest.mark.kernel
def test_chroot_on_the_running_kernel_traces(target: Target, kernel_battery: Path) -> None:
    words = f"traceleft trace --battery /mnt -e {EVENTS} -f --format json --attach raw_tracepoint"
    command = f"{HIDE_BTF} && {words} -o /tmp/events --ledger /tmp/ledger -- sh -c 'cat /etc/hostname'"

    done = enter(target, kernel_battery, command)

    assert (done.returncode, done.stdout) == (0, "target\n"), done.stderr
    events = [json.loads(line) for line in (target.path / "tmp/events").read_text().splitlines()]
    called = [(event["event"], event["args"]["filename"]) for event in events]
    assert ("execve", "/bin/sh") in called
    assert called[-1] == ("openat", "/etc/hostname")
    assert_adds_up(json.loads((target.path / "tmp/ledger").read_text()), len(events))


@pytest.mark.kernel
def test_namespace_of_pids_is_refused_with_the_remedy(target: Target, kernel_battery: Path) -> None:
    mount = "mount -t proc proc /proc"

    done = enter(target, kernel_battery, f"{mount} && traceleft trace --battery /mnt -- true", "--pid", "--fork")

    assert done.returncode == 1
    assert done.stderr.startswith("traceleft: pid namespace: ")
    assert done.stderr.endswith("start the container with --pid=host\n")
