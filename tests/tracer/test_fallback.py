"""Falling back: what a trace does where the kernel refuses objects of its level, on the live kernel."""

import gc
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.refusals import assert_none_left
from tests.support.refusing import REASON, refuse
from tests.tracer.test_tracer import attached
from traceleft import ProbeOptions
from traceleft.battery import Battery
from traceleft.battery.builder.build import build
from traceleft.cli import main as cli
from traceleft.errors import ProbeError, RefusedError
from traceleft.generator import generate
from traceleft.tracer import Tracer
from traceleft.tracer.recording import Recorder, Recording

pytestmark = pytest.mark.kernel
LEVELS = ("5.8", "4.18", "4.11")
Refuse = Callable[..., Battery]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A battery of three syscalls for three levels; this kernel takes all."""
    place = tmp_path_factory.mktemp("sound")
    generate(None, expressions=["openat,close,exit_group"], output=place / "generated")
    build(place / "generated", place / "battery", levels=LEVELS)
    return place / "battery"


@pytest.fixture
def refusing(sound: Path, tmp_path: Path) -> Refuse:
    """Return what makes a battery with an event's object that this kernel refuses at some levels."""

    def make(event: str, *levels: str) -> Battery:
        path = tmp_path / "battery"
        shutil.copytree(sound, path)
        for level in levels:
            refuse(path, event, level)
        return Battery.open(path)

    return make


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    before = attached()
    yield
    # The command line's callbacks refer to each other.
    gc.collect()
    # The kernel frees programs a little after their last user is gone.
    assert_none_left(attached, before)


def names_of(tracer: Tracer) -> set[str]:
    with tracer:
        names = {event.event for event in tracer}
    assert tracer.ledger.total.unaccounted == tracer.ledger.total.lost == 0
    return names


def test_sound_battery_is_taken_at_its_highest_level(sound: Path) -> None:
    tracer = Tracer(Battery.open(sound), command=["true"])

    assert names_of(tracer) == {"openat", "close", "exit_group"}
    assert (tracer.level, tracer.notices) == ("5.8", ())


def test_trace_goes_to_the_next_lower_level_that_has_all(refusing: Refuse) -> None:
    tracer = Tracer(refusing("openat", "5.8"), command=["true"], events=["openat,close,exit_group"])
    told: list[str] = []
    tracer.on_warning(told.append)

    assert names_of(tracer) == {"openat", "close", "exit_group"}
    assert (tracer.level, tracer.hook) == ("4.18", "raw_tracepoint")
    assert tracer.notices == tuple(told)
    assert told == [
        f"openat: cannot load: {REASON}: level 4.18 is used in place of 5.8 (hook: raw_tracepoint)",
    ]


def test_hook_is_chosen_again_for_the_lower_level(refusing: Refuse) -> None:
    tracer = Tracer(refusing("openat", "5.8", "4.18"), command=["true"])

    assert names_of(tracer) == {"openat", "close", "exit_group"}
    assert (tracer.level, tracer.hook) == ("4.11", "tracepoint")


def test_refused_core_is_left_for_that_of_a_lower_level(refusing: Refuse) -> None:
    tracer = Tracer(refusing("core", "5.8"), command=["true"])

    assert names_of(tracer) == {"openat", "close", "exit_group"}
    assert tracer.level == "4.18"
    assert tracer.notices[0].startswith("core: cannot load: ")


def test_event_that_no_level_can_have_is_left_out_of_the_highest(refusing: Refuse) -> None:
    tracer = Tracer(refusing("openat", *LEVELS), command=["true"])

    assert names_of(tracer) == {"close", "exit_group"}
    assert (tracer.level, sorted(tracer.specs)) == ("5.8", ["close", "exit_group"])
    assert tracer.notices == (f"this kernel refuses openat: left out (openat: cannot load: {REASON})",)


def test_named_event_that_no_level_can_have_ends_the_trace(refusing: Refuse) -> None:
    tracer = Tracer(refusing("openat", *LEVELS), command=["true"], events=["openat,close"])

    with pytest.raises(RefusedError, match=f"openat: cannot load: {REASON}"):
        tracer.start()


def test_forced_level_is_kept_without_the_refused_event(refusing: Refuse) -> None:
    tracer = Tracer(refusing("openat", "4.18"), command=["true"], probes=ProbeOptions(level="4.18"))

    assert names_of(tracer) == {"close", "exit_group"}
    assert tracer.level == "4.18"


def test_forced_hook_stays_on_levels_that_have_it(refusing: Refuse) -> None:
    battery = refusing("openat", "5.8", "4.18")

    tracer = Tracer(battery, command=["true"], probes=ProbeOptions(hook="raw_tracepoint"))

    assert names_of(tracer) == {"close", "exit_group"}
    assert (tracer.level, tracer.hook) == ("5.8", "raw_tracepoint")


def test_nothing_that_remains_is_an_error(refusing: Refuse) -> None:
    tracer = Tracer(refusing("openat", *LEVELS), command=["true"], events=["/^openat$/"])

    with pytest.raises(ProbeError, match=REASON):
        tracer.start()


def test_recording_names_the_level_that_was_used(refusing: Refuse, tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    tracer = Tracer(refusing("openat", "5.8", "4.18"), command=["true"])
    recorder = Recorder(path)
    tracer.record(recorder)

    with tracer:
        tracer.run()
    recorder.close(tracer.ledger)

    with Recording.open(path) as recording:
        head = recording.head
    assert (head.level, head.hook) == ("4.11", "tracepoint")


def test_command_line_tells_it_in_one_line_and_goes_on(refusing: Refuse, capfd: pytest.CaptureFixture[str]) -> None:
    battery = refusing("openat", "5.8")

    status = cli.main(["trace", "--battery", str(battery.path), "--", "true"])

    captured = capfd.readouterr()
    assert status == 0
    assert captured.err.splitlines()[0].startswith(f"traceleft: openat: cannot load: {REASON}: level 4.18 is used")
    assert "openat(" in captured.out


def doctor(battery: Battery, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    assert cli.main(["doctor", "--json", "--battery", str(battery.path)]) == 0
    chosen: dict[str, dict[str, object]] = json.loads(capsys.readouterr().out)["chosen"]
    return chosen


def test_doctor_shows_the_level_that_a_trace_comes_to(refusing: Refuse, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = doctor(refusing("openat", "5.8", "4.18"), capsys)

    assert str(chosen["level"]["value"]).startswith("4.11: has ")
    assert chosen["hook"]["value"] == "tracepoint"
    assert not chosen["objects"]["present"]
    assert REASON in str(chosen["objects"]["value"])


def test_doctor_shows_what_is_refused_everywhere(refusing: Refuse, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = doctor(refusing("openat", *LEVELS), capsys)

    assert "the core and 2 handlers load at level 5.8; this kernel refuses openat" in str(chosen["objects"]["value"])


def test_doctor_finds_nothing_to_say_of_a_sound_battery(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = doctor(Battery.open(sound), capsys)

    assert chosen["objects"] == {"present": True, "value": "the core and 3 handlers load at level 5.8"}
