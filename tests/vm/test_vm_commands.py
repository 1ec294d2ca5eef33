"""The whole command line inside each kernel that is booted: at each level and hook that the kernel offers, with BPF's
JIT as ``--jit`` says.

What is seen goes to build/tests/commands; scripts/write_commands.py makes docs/project/commands.md from it.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from tests.conftest import CACHE, NotOffered
from tests.support.compiled import compile_programs
from tests.support.levels import ENDS
from tests.support.vm import GUESTS_MAX, PYTHON, run_in
from tests.vm.command_cases import CASES

pytestmark = pytest.mark.vm

SEEN: Final = CACHE / "commands"
# The battery is read from memory: over 9p each of some hundred commands would read it anew.
COMMAND: Final = """
cp -r {battery} /dev/shm/battery
({python} -m tests.vm.guest_commands /dev/shm/battery /mnt --jit {jit} {runs} >/mnt/rows) || exit 1
"""

Rows = list[dict[str, Any]]


@pytest.fixture(scope="session")
def command_rows(
    vm_battery: Path, kernels: list[str], pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Rows]]:
    """Run all commands inside each kernel, once; what waits for one and gives what was seen."""
    programs = compile_programs(tmp_path_factory.mktemp("command-programs"))
    runs = " ".join(f"--run {level}:{hook}" for level, hook in ENDS)
    command = COMMAND.format(
        python=PYTHON,
        battery=vm_battery,
        jit=pytestconfig.getoption("--jit"),
        runs=runs if pytestconfig.getoption("--commands") == "ends" else "",
    )

    def run(kernel: str) -> Rows:
        out = tmp_path_factory.mktemp(f"commands-{kernel}")
        shutil.copytree(programs, out, dirs_exist_ok=True)
        run_in(kernel, out, command)
        SEEN.mkdir(parents=True, exist_ok=True)
        shutil.copy(out / "rows", SEEN / f"{kernel}.jsonl")
        return [json.loads(line) for line in (out / "rows").read_text().splitlines()]

    with ThreadPoolExecutor(GUESTS_MAX) as pool:
        running = {kernel: pool.submit(run, kernel) for kernel in kernels}
        yield lambda kernel: running[kernel].result()


@pytest.mark.parametrize("case", CASES)
def test_command_line_does_what_it_says(
    command_rows: Callable[[str], Rows], kernel: str, command_run: tuple[str, str], case: str
) -> None:
    level, hook = command_run
    rows = [row for row in command_rows(kernel) if (row["level"], row["hook"]) == (level, hook)]
    if not rows:
        raise NotOffered(f"kernel {kernel} does not offer level {level}, {hook}")
    found = {row["jit"]: (row["status"], row["why"]) for row in rows if row["case"] == case}

    assert found and {status for status, _ in found.values()} == {"ok"}, found
