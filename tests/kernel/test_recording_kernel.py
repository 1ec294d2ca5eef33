"""``traceleft record`` on the live kernel: what is replayed is what was traced, however the recording ended."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.recordings import Kept
from traceleft import DetailOptions
from traceleft.battery import Battery
from traceleft.errors import RecordingError, TraceleftError
from traceleft.tracer import Tracer
from traceleft.tracer.account.ledger import Ledger
from traceleft.tracer.recording import Recorder, Recording
from traceleft.tracer.replay import Replay

pytestmark = pytest.mark.kernel

COMMAND = [sys.executable, "-m", "traceleft"]
WORK = "ls -l /usr/lib >/dev/null; cat /etc/hostname /nowhere; echo | sort; exit 7"
STORM = "import os\nwhile True: os.close(os.open('/etc/hostname', os.O_RDONLY))"


def record(battery: Path, *arguments: str, **how: Any) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "record", "--battery", str(battery), *arguments]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120, **how)


def start(battery: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [*COMMAND, "record", "--battery", str(battery), *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def await_size(path: Path, size: int) -> None:
    deadline = time.monotonic() + 30
    while not path.exists() or path.stat().st_size < size:
        assert time.monotonic() < deadline, f"{path} does not grow"
        time.sleep(0.01)


def read_events(path: Path) -> int:
    with Recording.open(path) as recording:
        return sum(len(records) for records in recording.records())


def read_to_its_end(path: Path) -> tuple[int, Ledger | None]:
    """Return how many events can be read, and the account, without which reading ends with an error."""
    read = 0
    with Recording.open(path) as recording:
        try:
            for records in recording.records():
                read += len(records)
        except RecordingError:
            assert recording.ledger is None
        return read, recording.ledger


@pytest.fixture
def storm() -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that opens and closes for as long as it is let."""
    with subprocess.Popen([sys.executable, "-c", STORM]) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("raw", [False, True])
def test_replay_gives_the_bytes_that_were_written_live(kernel_battery: Path, tmp_path: Path, raw: bool) -> None:
    live, replayed = Kept(), Kept()
    tracer = Tracer(
        Battery.open(kernel_battery),
        events=["all", "sched:sched_process_fork", "sched:sched_switch"],
        command=["sh", "-c", WORK],
        follow=True,
        details=DetailOptions(durations=True),
    )
    with Recorder(tmp_path / "r") as recorder, tracer:
        tracer.write_json(live, raw=raw)
        tracer.record(recorder)
        tracer.run()
        recorder.close(tracer.ledger)

    with Recording.open(tmp_path / "r") as recording:
        replay = Replay(recording)
        replay.write_json(replayed, raw=raw)
        replay.run()
        assert recording.ledger == tracer.ledger
    assert len(live.data.splitlines()) > 500
    assert replayed.data == live.data
    assert replay.shown == tracer.ledger.total.delivered
    assert tracer.ledger.total.unaccounted == 0


def test_command_records_what_a_trace_would_show(kernel_battery: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    path, account = tmp_path / "out" / "r", tmp_path / "ledger"

    done = record(kernel_battery, "-o", str(path), "--ledger", str(account), "-f", "--", "sh", "-c", WORK)

    assert done.returncode == 7, done.stderr
    assert [each.name for each in path.parent.iterdir()] == ["r"]
    with Recording.open(path) as recording:
        events = list(recording.events())
        assert recording.host == os.uname().nodename
        assert recording.kernel == os.uname().release
        assert recording.ledger is not None
        assert recording.ledger.to_json() == json.loads(account.read_text())
        assert recording.ledger.total.delivered == len(events)
        assert {event.cgroup_id for event in events} == recording.cgroups.keys()
    assert events[0].event == "execve"
    assert f"{len(events):,} delivered" in done.stderr.splitlines()[-1]


def test_iteration_would_record_nothing_and_is_refused(kernel_battery: Path, tmp_path: Path) -> None:
    tracer = Tracer(Battery.open(kernel_battery), events=["openat"], command=["true"])
    with Recorder(tmp_path / "r") as recorder, tracer:
        tracer.record(recorder)
        with pytest.raises(TraceleftError, match=r"read by run\(\)"):
            next(iter(tracer))


def test_recording_of_no_event_is_one(kernel_battery: Path, tmp_path: Path) -> None:
    done = record(kernel_battery, "-o", str(tmp_path / "r"), "-e", "getppid", "--", "true")

    assert done.returncode == 0, done.stderr
    assert read_events(tmp_path / "r") == 0


def test_so_many_events_are_recorded_and_no_more(
    kernel_battery: Path, tmp_path: Path, storm: subprocess.Popen[bytes]
) -> None:
    chosen = ("-p", str(storm.pid), "--max-events", "1234", "--fail-on-loss", "--buffer-pages", "16384")
    done = record(kernel_battery, "-o", str(tmp_path / "r"), *chosen)

    assert done.returncode == 0, done.stderr
    assert read_events(tmp_path / "r") == 1234
    # What came after them was dropped on purpose: no loss when it is shown, as when it was recorded.
    command = [sys.executable, "-m", "traceleft", "replay", str(tmp_path / "r"), "--fail-on-loss", "-o", "/dev/null"]
    assert subprocess.run(command, capture_output=True, timeout=120).returncode == 0


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_ends_the_recording_with_its_account(
    kernel_battery: Path, tmp_path: Path, storm: subprocess.Popen[bytes], number: int, status: int
) -> None:
    path = tmp_path / "r"
    process = start(kernel_battery, "-o", str(path), "-e", "openat", "-p", str(storm.pid))
    await_size(path, 40_000)
    process.send_signal(number)
    stderr = process.communicate(timeout=120)[1]

    assert process.returncode == status, stderr
    with Recording.open(path) as recording:
        assert recording.ledger is not None
        assert recording.ledger.total.delivered == sum(map(len, recording.records()))
        assert recording.ledger.total.unaccounted == 0


def test_killed_writer_leaves_all_but_its_last_block(
    kernel_battery: Path, tmp_path: Path, storm: subprocess.Popen[bytes]
) -> None:
    path = tmp_path / "r"
    process = start(kernel_battery, "-o", str(path), "-e", "openat,close", "-p", str(storm.pid))
    await_size(path, 200_000)
    process.kill()
    process.communicate(timeout=120)

    done = subprocess.run(
        [*COMMAND, "replay", str(path), "--format", "json", "-o", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        timeout=120,
    )

    lines = (tmp_path / "out").read_bytes().splitlines()
    assert len(lines) > 1000
    assert all(json.loads(line)["pid"] == storm.pid for line in lines[-100:])
    sequence = [json.loads(line)["seq"] for line in lines if json.loads(line)["cpu"] == json.loads(lines[0])["cpu"]]
    assert sequence == list(range(sequence[0], sequence[0] + len(sequence)))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert f"the {len(lines):,} events before were read" in done.stderr


def test_full_disk_is_one_line_and_what_was_written_stays(
    kernel_battery: Path, tmp_path: Path, storm: subprocess.Popen[bytes]
) -> None:
    disk, account = tmp_path / "disk", tmp_path / "ledger"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)], check=True, timeout=10)
    try:
        done = record(
            kernel_battery, "-o", str(disk / "r"), "--ledger", str(account), "-e", "openat,close", "-p", str(storm.pid)
        )
        ledger = json.loads(account.read_text())
        read, kept = read_to_its_end(disk / "r")
    finally:
        subprocess.run(["umount", str(disk)], check=True, timeout=10)

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"traceleft: {disk}/r: No space left on device"
    assert "Traceback" not in done.stderr
    assert read == ledger["delivered"] > 1000
    assert ledger["unaccounted"] == 0
    # The account has no room where the last block just fitted.
    assert kept is None or kept.to_json() == ledger


def test_split_recording_is_read_as_one(kernel_battery: Path, tmp_path: Path, storm: subprocess.Popen[bytes]) -> None:
    path = tmp_path / "r"
    done = record(
        *(kernel_battery, "-o", str(path), "--rotate-size", "64K", "-e", "openat,close", "-p", str(storm.pid)),
        *("--max-events", "30000"),
    )

    assert done.returncode == 0, done.stderr
    parts = sorted(tmp_path.iterdir())
    assert len(parts) > 2
    assert all(part.stat().st_size <= 64 << 10 for part in parts)
    assert read_events(path) == read_events(tmp_path) == 30_000


def test_recording_that_cannot_be_made_is_refused_before_anything_is_loaded(
    kernel_battery: Path, tmp_path: Path
) -> None:
    done = record(kernel_battery, "-o", str(tmp_path / "nowhere" / "r"), "--", "true")

    assert done.returncode == 1
    assert done.stderr == f"traceleft: {tmp_path}/nowhere/r: No such file or directory\n"


def test_damage_does_not_show_before_it_is_reached(
    kernel_battery: Path, tmp_path: Path, storm: subprocess.Popen[bytes]
) -> None:
    path = tmp_path / "r"
    record(kernel_battery, "-o", str(path), "-e", "openat,close", "-p", str(storm.pid), "--max-events", "20000")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)

    with Recording.open(path) as recording, pytest.raises(RecordingError, match="checksum"):
        assert [len(records) for records in recording.records()]
