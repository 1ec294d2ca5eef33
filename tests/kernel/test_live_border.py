"""Text that ends on the last byte before a page that is not there, at every level and hook of this kernel."""

import json
from pathlib import Path

import pytest

from tests import border
from tests.kernel.live import HOOKS, trace
from tests.levels import BUILT, runs_on
from traceleft.battery import Battery
from traceleft.battery.builder import build
from traceleft.generator import generate
from traceleft.tracer.jsonl import to_json_line

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def levels(tmp_path_factory: pytest.TempPathFactory) -> Battery:
    """A battery of the program's calls, for all levels."""
    place = tmp_path_factory.mktemp("levels")
    generate(None, expressions=[border.EVENTS], output=place / "generated")
    build(place / "generated", place / "battery", levels=BUILT)
    return Battery.open(place / "battery")


@pytest.mark.parametrize(("level", "hook"), runs_on(HOOKS))
def test_what_ends_at_the_border_is_whole(levels: Battery, programs: Path, level: str, hook: str) -> None:
    traced = trace(levels, [programs / "live_border"], border.EVENTS, level=level, hook=hook, text_limit=64)

    assert (traced.tracer.status, traced.tracer.hook) == (0, hook)
    border.check_border([json.loads(to_json_line(event)) for event in traced.events], level)
