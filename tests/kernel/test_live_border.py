"""Text that ends on the last byte before a page that is not there, at every level and hook of this kernel."""

import json
from pathlib import Path

import pytest

from tests.kernel.live import HOOKS, trace
from tests.support import border
from tests.support.levels import BUILT, runs_on
from traceleft.battery import Battery
from traceleft.battery.builder.build import build
from traceleft.generator import generate
from traceleft.tracer.output.jsonl import to_json_line
from traceleft.tracer.output.text import Line, TextOptions

pytestmark = pytest.mark.kernel

# How far the kernel counts an environment.
COUNTED_MOST = {"5.8": 512, "4.18": 64, "4.11": 64}


@pytest.fixture(scope="module")
def levels(tmp_path_factory: pytest.TempPathFactory) -> Battery:
    """A battery of the program's calls, for all levels."""
    place = tmp_path_factory.mktemp("levels")
    generate(None, expressions=[border.EVENTS], output=place / "generated")
    build(place / "generated", place / "battery", levels=BUILT)
    return Battery.open(place / "battery")


@pytest.mark.parametrize(("level", "hook"), runs_on(HOOKS))
def test_what_ends_at_the_border_is_whole(levels: Battery, programs: Path, level: str, hook: str) -> None:
    traced = trace(
        levels, [programs / "live_border"], border.EVENTS, level=level, hook=hook, text_limit=64, environment=True
    )

    assert (traced.tracer.status, traced.tracer.hook) == (0, hook)
    border.check_border([json.loads(to_json_line(event)) for event in traced.events], level)


@pytest.mark.parametrize("count", [0, 1, 63, 64, 600])
@pytest.mark.parametrize(("level", "hook"), runs_on(HOOKS))
def test_environment_is_a_number_unless_it_is_asked_for(levels: Battery, level: str, hook: str, count: int) -> None:
    words = ["env", "-i", *(f"SECRET{number}=word" for number in range(count)), "true"]
    event = trace(levels, words, "execve", level=level, hook=hook, follow=True).events[-1]
    most = COUNTED_MOST[level]
    shown = "1 var" if count == 1 else f"{count} vars" if count < most else f"{most}+ vars"

    assert event.args.envp == {"address": hex(event.raw[2]), "count": min(count, most)}
    assert event.truncated == ({"envp": None} if count >= most else {})
    assert f"envp: {hex(event.raw[2])} /* {shown} */) = 0" in Line(TextOptions()).show(event)
    assert b"SECRET" not in to_json_line(event)
