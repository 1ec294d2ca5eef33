"""Where calls are made from, on the live kernel: a program whose stacks are known, by every hook and level."""

import json
import re
from pathlib import Path
from typing import Final

import pytest

from tests.kernel.live import args_of, hide_addresses, trace
from traceleft import ProbeOptions, StackOptions
from traceleft.battery import Battery
from traceleft.battery.builder.build import build
from traceleft.cli import main as cli
from traceleft.errors import UnsupportedError
from traceleft.generator import generate
from traceleft.tracer import Tracer
from traceleft.tracer.decode.event import Event
from traceleft.tracer.stacks import live_stacks

pytestmark = pytest.mark.kernel
# A record of each kind: without slots, short, with a path, begun at entry, put out at entry; and of a tracepoint.
CALLS: Final = ("getppid", "write", "openat", "execve", "exit_group")
CHAIN: Final = ["make_call", "inner", "outer", "main"]
FORCED: Final = [("5.8", "raw_tracepoint"), ("5.8", "tracepoint"), ("4.18", "raw_tracepoint"), ("4.11", "tracepoint")]


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Battery:
    """A battery of these calls for all levels."""
    place = tmp_path_factory.mktemp("stacks")
    generate(None, expressions=[",".join(CALLS), "sched:sched_process_exit"], output=place / "generated")
    build(place / "generated", place / "battery", levels=["5.8", "4.18", "4.11", "4.4"])
    return Battery.open(place / "battery")


@pytest.fixture(scope="module")
def program(programs: Path) -> Path:
    """What makes the calls; each of its functions keeps its frame."""
    return programs / "stacks"


def functions(event: Event) -> list[str | None]:
    """Return the names of the innermost frames, which are the program's own."""
    stack = event.stack
    assert stack is not None
    assert stack.user is not None
    return [frame.name for frame in stack.user][: len(CHAIN)]


def own_calls(events: list[Event]) -> list[Event]:
    """Return the calls that the program makes itself, the first execve being how it begins."""
    return [event for event in events if event.event in CALLS][1:]


def told(events: list[Event]) -> list[tuple[object, ...]]:
    """What calls were, apart from their stacks."""
    return [(each.event, hide_addresses(args_of(each)), each.ret, each.error) for each in events]


@pytest.mark.parametrize(("level", "hook"), FORCED)
def test_frames_come_in_order(held: Battery, program: Path, level: str, hook: str) -> None:
    traced = trace(held, [program], ",".join(CALLS), level=level, hook=hook, stacks=StackOptions())
    plain = trace(held, [program], ",".join(CALLS), level=level, hook=hook)

    assert (traced.tracer.level, traced.tracer.hook) == (level, hook)
    assert [event.event for event in own_calls(traced.events)] == [*CALLS]
    assert [functions(event) for event in own_calls(traced.events)] == [CHAIN] * len(CALLS)
    assert told(traced.events) == told(plain.events)
    assert all(event.stack is None for event in plain.events)
    assert traced.tracer.ledger.stacks_lost == 0


def test_kernel_s_stack_is_that_of_the_call(held: Battery, program: Path) -> None:
    traced = trace(held, [program], "getppid", stacks=StackOptions())

    (event,) = traced.events
    assert event.stack is not None
    assert event.stack.kernel
    named = [frame.name for frame in event.stack.kernel]
    assert not named[0] or not named[0].startswith("bpf_")
    assert any(name and "syscall_64" in name for name in named)


def test_tracepoint_tells_where_it_was_met(held: Battery, program: Path) -> None:
    traced = trace(held, [program], "sched:sched_process_exit", stacks=StackOptions())

    (event,) = traced.events
    assert event.stack is not None
    assert event.stack.kernel
    assert any(frame.name == "do_exit" for frame in event.stack.kernel)


def test_process_is_named_by_the_program_that_it_was_then(held: Battery, program: Path) -> None:
    command = [program, program, program]
    traced = trace(held, command, "execve,getppid", stacks=StackOptions())

    calls = [event for event in traced.events if event.event == "getppid"]
    assert [functions(event) for event in calls] == [CHAIN]
    assert [event.ret for event in traced.named("execve")][:3] == [0, 0, 0]


def test_processes_that_end_at_once_are_named(held: Battery, program: Path) -> None:
    script = f"for i in 1 2 3 4 5; do {program} & done; wait"
    traced = trace(held, ["sh", "-c", script], "getppid", follow=True, stacks=StackOptions())

    own = [event for event in traced.events if event.comm == "stacks"]
    assert [functions(event) for event in own] == [CHAIN] * 5
    assert len({event.pid for event in own}) == 5


def test_without_bcc_functions_have_names_as_well(
    held: Battery, program: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(live_stacks, "import_bcc", lambda: None)
    lines = run(capfd, "trace", "--battery", held.path, "-k", "-e", "write", "--", program).splitlines()

    own = [found[1] for line in lines if (found := re.match(rf" > {program}\((\w+)\+0x[0-9a-f]+\) \[0x", line))]
    assert own[: len(CHAIN)] == CHAIN
    assert any(re.match(r" > do_syscall_64\+0x", line) for line in lines)


def test_stack_without_a_place_is_counted_and_never_another_s(held: Battery, program: Path) -> None:
    traced = trace(held, [program], ",".join(CALLS), stacks=StackOptions(entries=1))

    stacks = [event.stack for event in traced.events]
    lost = [stack for stack in stacks if stack is not None and (stack.kernel is None or stack.user is None)]
    kept = {frames for stack in stacks if stack is not None for frames in (stack.kernel, stack.user) if frames}
    assert len(lost) == traced.tracer.ledger.stacks_lost == len(traced.events)
    assert len(kept) == 1
    assert traced.tracer.ledger.to_json()["stacks_lost"] == len(lost)
    assert any("events without a stack" in line for line in traced.tracer.ledger.warnings(buffer_pages=1))


def test_level_without_maps_of_stacks_is_refused(held: Battery) -> None:
    with pytest.raises(UnsupportedError, match=r"level 4\.4 has no maps of stacks"):
        Tracer(held, events=["write"], stacks=StackOptions(), probes=ProbeOptions(level="4.4", hook="kprobe"))


def run(capfd: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command line to its good end and return what it printed."""
    assert cli.main([str(each) for each in arguments]) == 0
    return capfd.readouterr().out


def test_text_has_a_line_a_frame_below_the_call(
    held: Battery, program: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = run(capfd, "trace", "--battery", held.path, "-k", "-e", "write", "--", program).splitlines()

    assert re.search(r"write\(fd: -1, .*EBADF", lines[0])
    assert all(line.startswith(" > ") for line in lines[1:])
    shown = [line for line in lines if str(program) in line]
    assert [re.sub(r"\+0x[0-9a-f]+\) \[0x[0-9a-f]+\]$", "", line) for line in shown[:4]] == [
        f" > {program}({name}" for name in CHAIN
    ]


def test_json_has_the_frames(held: Battery, program: Path, capfd: pytest.CaptureFixture[str]) -> None:
    line = run(capfd, "trace", "--battery", held.path, "-k", "-e", "write", "--format", "json", "--", program)

    user = json.loads(line)["stack"]["user"]
    assert [re.sub(r"\+0x[0-9a-f]+ .*", "", frame) for frame in user[:4]] == CHAIN
    assert all(frame.endswith(f"({program})") for frame in user[:4])


def test_recording_keeps_the_stacks(
    held: Battery, program: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(capfd, "record", "-k", "-f", "-o", tmp_path / "r", "--battery", held.path, "--", program, program)
    shown = run(capfd, "replay", "--format", "json", tmp_path / "r")

    calls = [line for line in map(json.loads, shown.splitlines()) if line["event"] in CALLS][2:]
    assert [line["event"] for line in calls] == [*CALLS]
    for line in calls:
        assert [frame.split("+")[0] for frame in line["stack"]["user"][:4]] == CHAIN
        assert any("syscall_64" in frame for frame in line["stack"]["kernel"])
    assert "\n > " in run(capfd, "replay", tmp_path / "r")


def test_folded_stacks_are_counted(held: Battery, program: Path, capfd: pytest.CaptureFixture[str]) -> None:
    script = f"{program}; {program}"
    options = ("--battery", held.path, "-f", "-e", "write", "--format", "folded")
    (line,) = run(capfd, "trace", *options, "--", "sh", "-c", script).splitlines()

    text, count = line.rsplit(" ", 1)
    frames = text.split(";")
    assert count == "2"
    assert frames[0] == "stacks"
    place = frames.index("main")
    assert frames[place : place + len(CHAIN)] == CHAIN[::-1]
    assert frames[-1].endswith("_[k]")


def test_flame_graph_is_written_beside_the_events(
    held: Battery, program: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = ("--battery", held.path, "-e", "write", "--format", "json", "--flame", tmp_path / "page.html")
    lines = run(capfd, "trace", *options, "--", program).splitlines()

    assert [json.loads(line)["event"] for line in lines] == ["write"]
    page = (tmp_path / "page.html").read_text()
    assert "1 events, 1 different stacks" in page
    assert '"stacks"' in page


def test_recording_without_stacks_has_none_to_fold(
    held: Battery, program: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(capfd, "record", "-o", tmp_path / "r", "-e", "write", "--battery", held.path, "--", program)
    assert cli.main(["replay", "--format", "folded", str(tmp_path / "r")]) == 0

    captured = capfd.readouterr()
    assert captured.out == ""
    assert "the events carry no stacks: take them with -k" in captured.err


def test_calls_are_added_up_by_stack(held: Battery, program: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options = ("-k", "--battery", held.path, "-e", "write,openat", "--by", "stack", "--format", "json")
    rows = [json.loads(line) for line in run(capfd, "stat", *options, "--", program).splitlines()]

    assert [row["count"] for row in rows] == [2]
    assert ";main;outer;inner;make_call;" in rows[0]["stack"]


def test_counting_has_no_stacks(held: Battery, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["trace", "--battery", str(held.path), "-k", "-c", "--", "true"]) == 2
    assert "-k and -c exclude each other" in capfd.readouterr().err
    assert cli.main(["trace", "--battery", str(held.path), "--format", "folded", "-c", "--", "true"]) == 2
    assert "--format folded and -c exclude each other" in capfd.readouterr().err
