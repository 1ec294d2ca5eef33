"""``make -j2`` of a C project under ``strace -c -f`` and under ``traceleft stat -f``: the same calls and errors.

``TRACELEFT_WRITE_DOCS=1`` writes both tables to docs/project/stat.md.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.differential.session import SAME_ADDRESSES
from tests.support.c_project import clean_project, write_project
from tests.support.paths import ROOT

pytestmark = pytest.mark.kernel

MAKE = ["make", "-s", "-j2"]
STRACE_RUNS = 3
TRIES = 6
BEGIN, END = "<!-- written by tests/cli/test_stat_strace.py -->", "<!-- end -->"

Figures = tuple[int, int]
"""Calls and errors."""
Table = dict[str, Figures]

# strace's names of calls that the kernel names otherwise.
ALIASES = {
    "stat": "newstat",
    "fstat": "newfstat",
    "lstat": "newlstat",
    "uname": "newuname",
    "sendfile": "sendfile64",
    "umount2": "umount",
    "_sysctl": "sysctl",
}
NEVER_RETURNS = "strace -c counts calls as they return, and this one does not"
# A call that depends on which job ends first, on which other it depends, and how often it comes for each of those.
WOKEN = "make sleeps in pselect6 until SIGCHLD interrupts it (an error, and an rt_sigreturn), or finds a job ended"
STDIN = "make gives its stdin to one job at a time; another that begins meanwhile gets a pipe's end by dup2"
LIMITS = "posix_spawn asks for RLIMIT_NOFILE twice for each of those dup2"
BIASED = "mkstemp takes getrandom where the clock gave bits that would be biased, about one time in 22"
RACES: Mapping[str, str] = {
    "pselect6": WOKEN,
    "rt_sigreturn": WOKEN,
    "wait4": WOKEN,
    "read": WOKEN,
    "write": WOKEN,
    "dup2": STDIN,
    "prlimit64": LIMITS,
    "getrandom": BIASED,
}
WAKES: Mapping[str, Figures] = {
    "pselect6": (2, 1),
    "rt_sigreturn": (1, 1),
    "wait4": (2, 0),
    "read": (1, 0),
    "write": (1, 0),
}


# A sleep in pselect6 that a job's token ends, without an error, comes with one more of each of these.
ROUND = ("pselect6", "wait4", "read", "write")


def strace(project: Path, output: Path) -> Table:
    """Build the project under strace, and return its table by the kernel's names."""
    clean_project(project)
    # Where a heap begins, which is random otherwise, decides how often it grows.
    command = [*SAME_ADDRESSES, "strace", "-f", "-c", "-U", "calls,errors,syscall", "-o", str(output), *MAKE]
    subprocess.run(command, cwd=project, check=True, capture_output=True, timeout=120)
    table: Table = {}
    for line in output.read_text().splitlines():
        words = line.split()
        if words and words[0].isdigit() and words[-1] != "total":
            table[ALIASES.get(words[-1], words[-1])] = int(words[0]), int(words[1]) if len(words) == 3 else 0
    return table


def stat(project: Path, battery: Path, *arguments: str) -> str:
    """Build the project under ``traceleft stat``, and return what it prints; nothing may be lost."""
    clean_project(project)
    ledger = project / "ledger.json"
    begin = [
        *SAME_ADDRESSES,
        sys.executable,
        "-m",
        "traceleft",
        "stat",
        "--battery",
        str(battery),
        "--ledger",
        str(ledger),
        "-f",
    ]
    done = subprocess.run(
        [*begin, *arguments, "--", *MAKE], cwd=project, check=True, capture_output=True, text=True, timeout=120
    )
    account = json.loads(ledger.read_text())
    assert [account[name] for name in ("lost", "dropped", "undecodable", "unaccounted", "missed")] == [0] * 5
    return done.stdout


def table_of(lines: str) -> Table:
    """Return the table of lines of JSON."""
    return {row["event"]: (row["count"], row["errors"]) for row in map(json.loads, lines.splitlines())}


def settled(table: Table) -> Table:
    """Return a table without what comes of races between jobs, as far as it differs from other rows."""
    wakes = table.get("pselect6", (0, 0))[1]
    found = dict(table)
    for name, (calls, errors) in WAKES.items():
        if name in found:
            found[name] = found[name][0] - calls * wakes, found[name][1] - errors * wakes
    rounds = found.get("pselect6", (0, 0))[0]
    for name in ROUND:
        if name in found:
            found[name] = found[name][0] - rounds, found[name][1]
    if "prlimit64" in found:
        limits, failed = found["prlimit64"]
        found["prlimit64"] = limits - 2 * found.pop("dup2", (0, 0))[0], failed
    found.pop("getrandom", None)
    assert found.pop("exit_group", None) in (None, table.get("set_robust_list")), NEVER_RETURNS
    return found


def differences(ours: Table, theirs: Sequence[Table]) -> dict[str, tuple[Figures | None, list[Figures | None]]]:
    """Return the rows that no run of strace has with the same figures."""
    names = sorted({*ours, *(name for table in theirs for name in table)})
    rows = {name: (ours.get(name), [table.get(name) for table in theirs]) for name in names}
    return {name: row for name, row in rows.items() if row[0] not in row[1]}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("stat") / "project")


@pytest.fixture(scope="module")
def straced(project: Path) -> list[Table]:
    """Return strace's tables of some runs."""
    return [strace(project, project / "strace.txt") for _ in range(STRACE_RUNS)]


@pytest.mark.parametrize("engine", ["kernel", "user"])
def test_stat_counts_the_calls_and_errors_of_strace(
    engine: str, project: Path, straced: list[Table], kernel_battery: Path
) -> None:
    theirs = [settled(table) for table in straced]
    found = {}

    for _ in range(TRIES):
        table = table_of(stat(project, kernel_battery, "--engine", engine, "--format", "json"))
        found = differences(settled(table), theirs)
        # What does not depend on which job ends first is the same each time.
        assert not found.keys() - RACES.keys(), found
        if not found:
            break

    assert found == {}, {name: RACES[name] for name in found}
    assert sum(calls for calls, _ in table.values()) > 10_000
    assert table["getrandom"][0] >= table["set_robust_list"][0], BIASED
    if engine == "kernel" and os.environ.get("TRACELEFT_WRITE_DOCS") == "1":
        write_docs(table, straced, stat(project, kernel_battery, "--top", "12"))


def test_two_runs_of_strace_differ_by_races_alone(straced: list[Table]) -> None:
    names = {name for table in straced for name in table}
    varying = {name for name in names if len({table.get(name) for table in straced}) > 1}

    assert varying <= RACES.keys()


def write_docs(ours: Table, straced: Sequence[Table], shown: str) -> None:
    """Put both tables into docs/project/stat.md."""
    path = ROOT / "docs" / "project" / "stat.md"
    before, _, rest = path.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    assert end, f"{path} has no place for the tables"
    lines = ["| call | strace: calls | errors | stat: calls | errors | |", "|---|--:|--:|--:|--:|---|"]
    for name in sorted({*ours, *(each for table in straced for each in table)}):
        theirs = [table[name] for table in straced if name in table]
        calls, errors = (spread([row[column] for row in theirs]) for column in (0, 1))
        mine = ours.get(name)
        remark = NEVER_RETURNS if name == "exit_group" else RACES.get(name, "")
        lines.append(
            f"| {name} | {calls} | {errors} | {mine[0] if mine else ''} | {mine[1] if mine else ''} | {remark} |"
        )
    table = "\n".join(lines)
    text = f"{BEGIN}\n`traceleft stat -f --top 12 -- {' '.join(MAKE)}`:\n\n```\n{shown}```\n\n{table}\n{END}"
    path.write_text(f"{before}{text}{after}")


def spread(numbers: Sequence[int]) -> str:
    """Return the numbers of some runs: one where they agree."""
    if not numbers:
        return ""
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"
