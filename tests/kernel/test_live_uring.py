"""Operations of io_uring, which are not syscalls, are counted by opcode."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import NotOffered
from tests.kernel.live import HOOKS, trace
from traceleft.battery import Battery
from traceleft.tracer.session import uring

pytestmark = pytest.mark.kernel

HEADER = Path("/usr/include/linux/io_uring.h")


@pytest.fixture(autouse=True)
def has_tracepoint() -> None:
    """Pass the tests over where the kernel has no such tracepoint, or io_uring is off."""
    if uring._field_offset() is None:
        raise NotOffered("this kernel has no tracepoint io_uring:io_uring_submit_req")
    if Path("/proc/sys/kernel/io_uring_disabled").read_text().strip() == "2":
        raise NotOffered("io_uring is disabled here")


@pytest.mark.parametrize("follow", [False, True], ids=["one", "followed"])
@pytest.mark.parametrize("kind", [[], ["polled"]], ids=["entered", "polled"])
@pytest.mark.parametrize("hook", HOOKS)
def test_operations_are_counted_by_opcode(
    battery: Battery, programs: Path, hook: str, kind: list[str], follow: bool
) -> None:
    traced = trace(battery, [programs / "live_uring", 7, *kind], "openat", hook=hook, follow=follow)
    ledger = traced.tracer.ledger

    assert ledger.bypassed == {"IORING_OP_NOP": 7, "IORING_OP_OPENAT": 1}
    assert traced.named("openat") == []
    assert str(ledger).endswith(", 8 operations bypassed syscalls")


def test_those_of_others_are_not_counted(battery: Battery, programs: Path) -> None:
    command = f"{programs}/live_uring 3 & wait"

    assert trace(battery, ["sh", "-c", command], "openat").tracer.ledger.bypassed == {}
    assert trace(battery, ["sh", "-c", command], "openat", follow=True).tracer.ledger.bypassed == {
        "IORING_OP_NOP": 3,
        "IORING_OP_OPENAT": 1,
    }


def test_account_is_in_the_ledger_and_in_the_recording(kernel_battery: Path, programs: Path, tmp_path: Path) -> None:
    recording, ledger = tmp_path / "rec", tmp_path / "ledger"
    command = [sys.executable, "-m", "traceleft"]
    made = subprocess.run(
        [*command, "record", "--battery", kernel_battery, "-o", recording, "--", programs / "live_uring", "0"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    again = subprocess.run(
        [*command, "replay", "--ledger", ledger, "-o", "/dev/null", recording],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip

    for done in (made, again):
        assert done.stderr.splitlines()[-1].endswith(", 1 operation bypassed syscalls"), done.stderr
    assert json.loads(ledger.read_text())["bypassed"] == {"IORING_OP_OPENAT": 1}


def test_names_are_those_of_the_header() -> None:
    found = re.findall(r"^\tIORING_OP_([A-Z0-9_]+)(?: = \d+)?,", HEADER.read_text(), re.MULTILINE)
    names = [name for name in found if name != "LAST"]

    assert len(names) > 40
    assert list(uring.OPCODES[: len(names)]) == names
    assert uring.name_opcode(200) == "IORING_OP_200"
