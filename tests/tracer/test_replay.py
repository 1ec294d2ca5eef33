"""What a replay shows is what a trace would have shown."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.recordings import EPOCH, SCHEMA, Kept, calls, closed, opened, write_document, write_recording
from tests.support.records import Capture, Record, document, event_document
from traceleft.errors import ExpressionError
from traceleft.record_layout import NO_RETURN, UNFINISHED
from traceleft.tracer.account.ledger import Figures, Ledger
from traceleft.tracer.decode.decoder import Decoder
from traceleft.tracer.decode.event import Event
from traceleft.tracer.output.jsonl import to_json_line
from traceleft.tracer.output.text import Line
from traceleft.tracer.recording import Recording
from traceleft.tracer.replay import Replay, ReplayFilters

OTHER = {"ids": (77, 78, 1000, 100), "comm": b"other\0rest"}
MIXED = [
    *calls(50),
    *(opened(number, **OTHER) for number in range(50, 60)),
    closed(60, ret=-errno.EBADF),
    closed(61, flags=NO_RETURN),
    closed(62, flags=UNFINISHED, ret=0),
    opened(63, flags=UNFINISHED),
]


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Recording]:
    with Recording.open(write_recording(tmp_path / "r", MIXED[:30], MIXED[30:])) as recording:
        yield recording


def decoded(records: list[bytes]) -> list[Event]:
    """Return the events of records, each decoded by itself."""
    decoders = {spec.id: Decoder(spec, SCHEMA.tables) for spec in SCHEMA.events.values()}
    return [decoders[int.from_bytes(record[4:6], "little")].decode(record, offset_ns=EPOCH) for record in records]


def shown(recording: Recording, **keys: Any) -> list[tuple[str, int]]:
    """Return event and time of what a replay hands over."""
    events, how = keys.pop("events", ()), keys.pop("run", {})
    found: list[tuple[str, int]] = []
    replay = Replay(recording, events=events, filters=ReplayFilters(**keys))
    replay.on(",".join(replay.specs), lambda event: found.append((event.event, event.ts)))
    replay.run(**how)
    assert replay.shown == len(found)
    return found


def test_json_is_that_of_each_event(recording: Recording) -> None:
    kept, replay = Kept(), Replay(recording)
    replay.write_json(kept, raw=True)

    replay.run()

    assert kept.data == b"".join(to_json_line(event, raw=True) for event in decoded(MIXED))
    assert (replay.shown, replay.undecodable) == (len(MIXED), 0)


def test_text_is_that_of_each_event(recording: Recording) -> None:
    line, lines = Line(), list[str]()
    replay = Replay(recording)
    replay.on("openat,close", lambda event: lines.append(line.show(event)))

    replay.run()

    assert lines == [Line().show(event) for event in decoded(MIXED)]


FILTERS: dict[str, tuple[dict[str, Any], Any]] = {
    "all": ({}, lambda event: True),
    "events": ({"events": ["close"]}, lambda event: event.event == "close"),
    "class": ({"events": ["%file"]}, lambda event: event.event == "openat"),
    "all but": ({"events": ["!close"]}, lambda event: event.event == "openat"),
    "pid": ({"pids": (77, 5)}, lambda event: event.pid == 77),
    "uid": ({"uid": 1000}, lambda event: event.uid == 1000),
    "nobody": ({"uid": 12}, lambda event: False),
    "comm": ({"comm": "other"}, lambda event: event.comm == "other"),
    "part of a comm": ({"comm": "oth"}, lambda event: False),
    "succeeded": ({"success_only": True}, lambda event: event.ret is not None and event.error is None),
    "failed": ({"failed_only": True}, lambda event: event.error is not None),
    "errno": ({"errno": errno.EPERM}, lambda event: event.ret == -errno.EPERM),
    "together": (
        {"pids": (77,), "failed_only": True, "events": ["openat"]},
        lambda event: event.pid == 77 and event.error is not None,
    ),
}


@pytest.mark.parametrize("name", FILTERS)
def test_filter_passes_what_a_trace_would(recording: Recording, name: str) -> None:
    keys, passes = FILTERS[name]

    found = shown(recording, **keys)

    assert found == [(event.event, event.ts) for event in decoded(MIXED) if passes(event)]


def test_tracepoints_have_no_result_to_be_filtered_by(tmp_path: Path) -> None:
    tracepoint = event_document([{"name": "x", "kind": "int"}], id=2000, kind="tracepoint", number=None)
    schema = document({"sched:x": tracepoint})
    path = write_document(tmp_path / "r", schema, "sched:x", [Record(args=(1,), flags=NO_RETURN | 4)] * 3)

    with Recording.open(path) as recording:
        assert len(shown(recording, failed_only=True)) == 3


@pytest.mark.parametrize("limit", [1, 29, 30, 31, 63, 1000])
def test_so_many_events_are_shown_and_no_more(recording: Recording, limit: int) -> None:
    assert len(shown(recording, run={"max_events": limit})) == min(limit, len(MIXED))


def test_unknown_event_is_refused(recording: Recording) -> None:
    with pytest.raises(ExpressionError, match="no event is named 'read'"):
        Replay(recording, events=["read"])


def test_calls_are_counted_as_by_the_kernel(recording: Recording) -> None:
    replay = Replay(recording)
    counts = replay.count()

    replay.run()

    found = {count.event: (count.calls, count.errors, count.total_ns) for count in counts()}
    over = [event for event in decoded(MIXED) if not event.unfinished]
    for name in ("openat", "close"):
        events = [event for event in over if event.event == name]
        assert found[name] == (len(events), sum(event.error is not None for event in events), 0)


def test_texts_are_cut_as_if_less_had_been_captured(tmp_path: Path) -> None:
    text = {"kind": "text", "direction": "in", "slot": True}
    args = [{"name": "a", **text}, {"name": "b", **text}, {"name": "path", **text, "kind": "path"}]
    captures = {0: Capture(b"0123456789"), 1: Capture(b"abc"), 2: Capture(b"/a/long/path")}
    records = [Record(args=(1, 2, 3), captures=captures)] * 2
    path = write_document(tmp_path / "r", document({"probe": event_document(args)}), "probe", records)
    found: list[Event] = []

    with Recording.open(path) as recording:
        replay = Replay(recording, filters=ReplayFilters(text_limit=4))
        replay.on("probe", found.append)
        replay.run()

    assert [dict(event.args) for event in found] == [{"a": "0123", "b": "abc", "path": "/a/long/path"}] * 2
    assert found[0].truncated == {"a": 10}


def run(*arguments: str, **how: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "traceleft", "replay", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **how)


def test_command_writes_lines_and_the_account(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "r", MIXED)

    done = run(str(path), "--format", "json", "-o", str(tmp_path / "out"), "--ledger", str(tmp_path / "ledger"))

    assert (done.returncode, done.stdout) == (0, "")
    assert (
        done.stderr
        == "traceleft: recorded on box: 9 emitted, 8 delivered, 1 lost, 0 dropped, 0 undecodable, 0 unaccounted\n"
    )
    assert (tmp_path / "out").read_bytes() == b"".join(map(to_json_line, decoded(MIXED)))
    assert json.loads((tmp_path / "ledger").read_text())["lost"] == 1


def test_loss_of_the_trace_is_told_by_the_status_where_asked_for(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "r", MIXED)

    assert run(str(path)).returncode == 0
    assert run(str(path), "--fail-on-loss").returncode == 3
    assert run(str(write_recording(path, MIXED, ledger=None)), "--fail-on-loss").returncode == 0


def test_what_was_left_over_when_the_trace_was_ended_is_no_loss(tmp_path: Path) -> None:
    figures = Figures(emitted=9, delivered=7, dropped=2)
    path = tmp_path / "r"

    write_recording(path, MIXED, ledger=Ledger(figures, {"openat": figures}, {0: figures}, surplus=2))
    assert run(str(path), "--fail-on-loss").returncode == 0
    write_recording(path, MIXED, ledger=Ledger(figures, {"openat": figures}, {0: figures}, surplus=1))
    assert run(str(path), "--fail-on-loss").returncode == 3


def test_what_a_sink_dropped_of_a_recording_is_loss(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "r", MIXED, ledger=None)

    done = run(str(path), "--sink", "ndjson:/dev/full", "--fail-on-loss")

    assert (done.returncode, "records dropped" in done.stderr) == (3, True)


def test_stdin_that_is_no_recording_is_not_read_to_its_end() -> None:
    with subprocess.Popen(["yes"], stdout=subprocess.PIPE) as endless:
        assert endless.stdout is not None
        done = run("-", stdin=endless.stdout.fileno())
        endless.stdout.close()
        endless.kill()

    assert done.returncode == 1
    assert done.stderr == "traceleft: stdin: is not a recording: make one with: traceleft record -o FILE\n"


@pytest.mark.parametrize("is_pipe", [False, True], ids=["file", "pipe"])
def test_command_reads_stdin(tmp_path: Path, is_pipe: bool) -> None:
    path = write_recording(tmp_path / "r", MIXED)
    if is_pipe:
        read_end, write_end = os.pipe()
        os.write(write_end, path.read_bytes())
        os.close(write_end)
    else:
        read_end = os.open(path, os.O_RDONLY)

    done = run("-", "--format", "json", "-e", "close", stdin=read_end)
    os.close(read_end)

    assert done.returncode == 0, done.stderr
    assert done.stdout.encode() == b"".join(to_json_line(each) for each in decoded(MIXED) if each.event == "close")


def test_command_counts(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "r", MIXED)

    done = run(str(path), "-c", "--format", "json")

    assert {each["event"]: each["calls"] for each in json.loads(done.stdout)["counts"]} == {"openat": 35, "close": 27}


def test_recording_is_not_overwritten_by_its_own_replay(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "r", MIXED)
    before = path.read_bytes()
    (tmp_path / "link").symlink_to(path)

    done = run(str(path), "-o", str(tmp_path / "link"))

    assert done.returncode == 2
    assert "is the recording itself" in done.stderr
    assert path.read_bytes() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become nobody")
def test_command_needs_no_privileges(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "r", MIXED)
    path.chmod(0o644)
    for directory in (tmp_path, *tmp_path.parents):
        if directory.owner() == "root" and not directory.stat().st_mode & 1:
            directory.chmod(directory.stat().st_mode | 0o11)

    done = run(
        str(path),
        "--format",
        "json",
        user=65534,
        group=65534,
        extra_groups=[],
        cwd="/",
        env={**os.environ, "HOME": "/"},
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == len(MIXED)
