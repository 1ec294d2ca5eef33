"""User space without what the kernel tells from 4.12 and 4.13 on: the live kernel answers as 4.4 does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import TESTS
from traceleft.battery.builder.build import build
from traceleft.generator import generate

pytestmark = pytest.mark.kernel
SOURCE = TESTS / "programs/before_4_12.c"
# Hashes of u32 keys, a per-CPU array, and what was never a map.
MAPS = """
import json, os
from traceleft.tracer import _native
key = lambda number: number.to_bytes(4, "little")
full, empty, edge, percpu = (_native.map_create(kind, 4, 8, 16) for kind in (1, 1, 1, 6))
for number in range(5):
    _native.map_update(full, key(number), bytes(8))
for number in (0xFFFFFFFF, 0xFFFFFFFE, 7):
    _native.map_update(edge, key(number), bytes(8))
def refusal(use):
    try:
        return use()
    except _native.Error as exc:
        return exc.args[0]
print(json.dumps({
    "full": sorted(_native.map_keys(full, 4, 16))[-1].hex(),
    "limit": len(_native.map_keys(full, 4, 2)),
    "empty": _native.map_keys(empty, 4, 16),
    "edge": len(_native.map_keys(edge, 4, 16)),
    "sizes": [_native.map_value_size(fd) for fd in (full, percpu)],
    "deleted": _native.map_delete(full, key(1)),
    "absent": _native.map_lookup(full, key(1), 8),
    "percpu": len(_native.map_lookup(percpu, key(1), 8 * _native.possible_cpus())),
    "small": refusal(lambda: _native.map_lookup(full, key(2), 4)),
    "no map": refusal(lambda: _native.map_lookup(0, key(2), 8)),
}))
"""
TOLD = {
    "full": "04000000",
    "limit": 2,
    "empty": [],
    "edge": 3,
    "sizes": [8, 8],
    "deleted": True,
    "absent": None,
    "percpu": 8 * len(os.sched_getaffinity(0)),
    "small": 90,
    "no map": 9,
}


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which the kernel answers as an old one."""
    library = tmp_path_factory.mktemp("old") / "before.so"
    subprocess.run(["gcc", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True)
    return {**os.environ, "LD_PRELOAD": str(library), "ASAN_OPTIONS": "verify_asan_link_order=0"}


@pytest.fixture(scope="module")
def battery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("battery")
    generate(None, expressions=["openat,close,exit_group"], output=place / "generated")
    build(place / "generated", place / "battery", levels=["4.18"])
    return place / "battery"


def run(old: dict[str, str], *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "traceleft", *map(str, words)]
    return subprocess.run(command, env=old, capture_output=True, text=True, timeout=120, check=False)


def test_maps_are_used_as_ever(old: dict[str, str]) -> None:
    done = subprocess.run([sys.executable, "-c", MAPS], env=old, capture_output=True, text=True, check=True)

    assert json.loads(done.stdout) == TOLD


def test_kernel_answers_as_an_old_one(old: dict[str, str]) -> None:
    code = "from traceleft.tracer import _native; _native.program_fd_by_id(1)"
    done = subprocess.run([sys.executable, "-c", code], env=old, capture_output=True, text=True, check=False)

    assert "(22, 'open program'" in done.stderr


@pytest.mark.parametrize("hook", ["raw_tracepoint", "tracepoint"])
def test_trace_follows_a_command_to_its_end(old: dict[str, str], battery: Path, hook: str) -> None:
    done = run(old, "trace", "--battery", battery, "--attach", hook, "-f", "--", "sh", "-c", "true; /bin/true")

    account = done.stderr.splitlines()[-1]
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("exit_group(") == 2
    assert "0 lost, 0 dropped, 0 undecodable, 0 unaccounted" in account


def test_calls_are_counted(old: dict[str, str], battery: Path) -> None:
    done = run(old, "trace", "--battery", battery, "-c", "--", "true")

    assert (done.returncode, "openat" in done.stdout) == (0, True), done.stderr


def test_overhead_is_watched_as_far_as_it_can_be(old: dict[str, str], battery: Path) -> None:
    done = run(old, "trace", "--battery", battery, "--max-overhead", "50", "--", "true")

    assert done.returncode == 0, done.stderr
    assert "exit_group(" in done.stdout
