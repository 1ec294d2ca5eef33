"""Calls of 32-bit code, by 64-bit code (`int 0x80`) and by a 32-bit program: counted, and decoded as nothing else."""

import json
from pathlib import Path
from typing import Final

import pytest

from tests.kernel.live import HOOKS, trace, without_btf
from tests.support import compat
from tests.support.levels import BUILT, runs_on
from traceleft.battery import Battery
from traceleft.battery.builder.build import build
from traceleft.generator import generate
from traceleft.tracer import _native
from traceleft.tracer.kernel.formats import select_running
from traceleft.tracer.kernel.kernel_btf import task_offsets
from traceleft.tracer.output.jsonl import to_json_line
from traceleft.tracer.session.compat import FIND_STATUS, find_status_offset
from traceleft.tracer.session.maps import NAMES, Maps

pytestmark = pytest.mark.kernel

HAVE_STATUS: Final = tuple(level for level in BUILT if level != "4.4")


@pytest.fixture(scope="module")
def levels(tmp_path_factory: pytest.TempPathFactory) -> Battery:
    """A battery of what the programs call, and of what their numbers are by the other table, for all levels."""
    place = tmp_path_factory.mktemp("levels")
    generate(None, expressions=[compat.MANY], output=place / "generated")
    build(place / "generated", place / "battery", levels=BUILT)
    return Battery.open(place / "battery")


@pytest.mark.parametrize("events", [compat.FEW, compat.MANY], ids=["few", "many"])
@pytest.mark.parametrize("name", compat.COMMANDS)
@pytest.mark.parametrize(("level", "hook"), runs_on(HOOKS))
def test_calls_of_32_bit_code_are_counted_and_not_decoded(
    levels: Battery, programs: Path, level: str, hook: str, name: str, events: str
) -> None:
    command = [programs / word if (programs / word).exists() else word for word in compat.COMMANDS[name]]
    traced = trace(levels, command, events, level=level, hook=hook)

    lines = [json.loads(to_json_line(event)) for event in traced.events]
    compat.check_compat(name, level, lines, traced.tracer.ledger.total.compat)


@pytest.mark.parametrize("level", HAVE_STATUS)
def test_status_is_found_without_btf_where_btf_has_it(levels: Battery, level: str) -> None:
    core = levels.object_bytes(select_running(levels).release.core[level])
    loaded = _native.Object(
        core, role="core", sizes={"events": 4096, "counters": 1, "counts": 1}, programs=[FIND_STATUS]
    )
    try:
        maps = Maps({name: loaded.map_fd(name) for name in NAMES})
        found = find_status_offset(loaded, FIND_STATUS, maps)
    finally:
        loaded.close()

    assert found == task_offsets().status is not None
    assert maps is not None


def test_calls_are_counted_without_btf(levels: Battery, programs: Path) -> None:
    with without_btf():
        traced = trace(levels, [programs / "live_compat", "calls"], compat.FEW)

    assert traced.tracer.ledger.total.compat == compat.COUNTS["calls"]
