"""The battery of the running kernel, opened once, and the C programs that the tests trace."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from traceleft.battery import Battery

PROGRAMS: Final = Path(__file__).resolve().parents[1] / "programs"


@pytest.fixture(scope="session")
def battery(kernel_battery: Path) -> Battery:
    """Every syscall and some tracepoints of the running kernel."""
    return Battery.open(kernel_battery)


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile ``tests/programs/live_*.c``, static: their start calls little; the directory that holds them."""
    place = tmp_path_factory.mktemp("programs")
    commands = [
        ["gcc", "-w", "-O1", "-static", "-pthread", "-o", place / source.stem, source]
        for source in sorted(PROGRAMS.glob("live_*.c"))
    ]
    bare = ["-m32", "-nostdlib", "-static", "-fno-pie", "-no-pie", "-fno-stack-protector"]
    commands.append(["gcc", "-w", *bare, "-o", place / "compat", PROGRAMS / "compat.c"])
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda command: subprocess.run(command, check=True, timeout=120), commands))
    return place
