"""What a recording gives back is what was written to it."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.recordings import EPOCH, LEDGER, SCHEMA, calls, head, write_recording
from traceleft.errors import RecordingError
from traceleft.tracer.account.ledger import Figures, Ledger
from traceleft.tracer.recording import Recorder, Recording
from traceleft.tracer.recording.file_format import End, read_ledger
from traceleft.tracer.recording.writer import BLOCK_BYTES


def read_records(path: Path) -> bytes:
    with Recording.open(path) as recording:
        return b"".join(records.data for records in recording.records())


def test_records_come_back_as_they_were_in_their_order(tmp_path: Path) -> None:
    written = calls(10_000)

    path = write_recording(tmp_path / "r", written[:1], written[1:400], written[400:])

    assert path.stat().st_size < 200_000
    assert read_records(path) == b"".join(written)


def test_recording_tells_of_itself(tmp_path: Path) -> None:
    with Recording.open(write_recording(tmp_path / "r", calls(3))) as recording:
        assert (recording.host, recording.kernel, recording.machine) == ("box", "6.18.44", "x86_64")
        assert recording.offset_ns == EPOCH
        assert recording.schema.tables.sets.keys() == {"open_flags"}
        assert recording.schema.tables.structs == {}
        assert recording.specs == SCHEMA.events
        assert recording.ledger == LEDGER
        assert recording.files == (str(tmp_path / "r"),)


def test_events_are_those_that_were_recorded(tmp_path: Path) -> None:
    with Recording.open(write_recording(tmp_path / "r", calls(4))) as recording:
        events = list(recording.events())

    assert [event.event for event in events] == ["openat", "close", "openat", "close"]
    assert [event.ts for event in events] == [EPOCH + 1000 * number for number in range(4)]
    assert events[2].args.filename == "/etc/2"
    assert recording.undecodable == 0


@pytest.mark.parametrize(("events", "wanted"), [(None, {"openat", "close"}), (["close"], {"close"}), ([], set())])
def test_batches_are_of_one_event_each(tmp_path: Path, events: list[str] | None, wanted: set[str]) -> None:
    with Recording.open(write_recording(tmp_path / "r", calls(1000), calls(1000, 1000))) as recording:
        batches = list(recording.batches(events))

    assert {batch.spec.name for batch in batches} == wanted
    for name in wanted:
        times = [ts for batch in batches if batch.spec.name == name for ts in batch.timestamps().tolist()]
        assert times == [EPOCH + 1000 * number for number in range(name == "close", 2000, 2)]


def test_same_records_make_the_same_bytes_however_they_come(tmp_path: Path) -> None:
    written = calls(20_000)
    paths = [tmp_path / "one", tmp_path / "many"]
    for path, step in zip(paths, (20_000, 333), strict=True):
        with Recorder(path) as recorder:
            recorder.begin(head())
            for first in range(0, len(written), step):
                recorder.write(b"".join(written[first : first + step]))
            recorder.close(LEDGER)

    assert len(b"".join(written)) > 3 * BLOCK_BYTES
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_what_was_there_stays_until_a_recording_begins(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "r", calls(100))
    before = path.read_bytes()

    with Recorder(path):
        pass
    assert path.read_bytes() == before
    with Recorder(tmp_path / "new"):
        pass
    assert not (tmp_path / "new").exists()
    assert len(read_records(write_recording(path, calls(1)))) < len(before)


def test_without_its_end_all_is_read_and_then_refused(tmp_path: Path) -> None:
    path = tmp_path / "r"
    with Recorder(path) as recorder:
        recorder.begin(head())
        recorder.write(b"".join(calls(100)))
        recorder.flush()
        recorder.write(b"".join(calls(10)))

    with Recording.open(path) as recording:
        assert recording.ledger is None
        seen = 0
        with pytest.raises(RecordingError, match=r"writer was killed.*the 100 events before were read") as caught:
            for records in recording.records():
                seen += len(records)
    assert (seen, caught.value.events_read, caught.value.offset) == (100, 100, path.stat().st_size)


def test_records_wait_for_a_second_at_most(tmp_path: Path) -> None:
    now = [0.0]
    with Recorder(tmp_path / "r", clock=lambda: now[0]) as recorder:
        recorder.begin(head())
        recorder.write(b"".join(calls(5)))
        assert (recorder.flush_if_due(), recorder.stored) == (False, 0)
        now[0] = 1.0
        assert (recorder.flush_if_due(), recorder.stored) == (True, 5)
        assert (recorder.flush_if_due(), recorder.stored) == (False, 5)


@pytest.mark.parametrize("part", [0, 1], ids=["the first", "a later one"])
@pytest.mark.parametrize("room", [0, 10, 16, 40, 200])
def test_file_without_room_for_its_head_is_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int, room: int
) -> None:
    path = tmp_path / "r"
    before = os.write

    def write(fd: int, data: bytes) -> int:
        if os.readlink(f"/proc/self/fd/{fd}").endswith("r.1" if part else "/r"):
            free = room - os.fstat(fd).st_size
            if free <= 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return before(fd, data[:free])
        return before(fd, data)

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OSError, match="No space left"), Recorder(path, rotate_bytes=1) as recorder:
        try:
            recorder.begin(head())
            for first in (0, 3):
                recorder.write(b"".join(calls(3, first=first)))
                recorder.flush()
        finally:
            recorder.close(LEDGER)

    assert sorted(each.name for each in tmp_path.iterdir()) == ["r"] * part
    if part:
        with pytest.raises(RecordingError), Recording.open(path) as recording:
            found = 0
            for records in recording.records():
                found += len(records)
                assert found == 3


def test_cgroups_are_named_as_they_appear(tmp_path: Path) -> None:
    asked: list[list[int]] = []

    def find(ids: object) -> dict[int, str]:
        asked.append(sorted(ids))  # type: ignore[call-overload]
        return {25: "/a.slice"}

    path = write_recording(tmp_path / "r", calls(3), calls(3), find_cgroups=find)

    with Recording.open(path) as recording:
        assert recording.cgroups == {25: "/a.slice"}
    assert asked == [[25]]


def test_figure_that_a_writer_did_not_know_is_none(tmp_path: Path) -> None:
    ledger = {"emitted": 3, "delivered": 3, "by_event": {}, "by_cpu": {}}

    found = read_ledger(End(records=3, ledger=ledger, more={"gaps": 2}))

    assert found == Ledger(Figures(emitted=3, delivered=3), {}, {}, gaps=2)


def test_reading_needs_neither_numpy_nor_click(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "r", calls(3))
    code = (
        "import sys; from traceleft.tracer.recording import Recording\n"
        f"assert len(list(Recording.open({str(path)!r}).events())) == 3\n"
        "assert not {'numpy', 'click', 'pyarrow'} & set(sys.modules), sorted(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_account_goes_where_a_broken_block_was(tmp_path: Path) -> None:
    """Bytes of a kind that cannot be compressed fill a limit of the file's size; the account still has room."""
    code = (
        "import random, resource, sys\n"
        "from pathlib import Path\n"
        "from tests.support.recordings import LEDGER, head, opened\n"
        "from traceleft.tracer.recording import Recorder\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "path, noise = Path(sys.argv[1]), random.Random(5)\n"
        "with Recorder(path) as recorder:\n"
        "    recorder.begin(head())\n"
        "    try:\n"
        "        while True:\n"
        "            recorder.write(b''.join(opened(n, comm=noise.randbytes(16)) for n in range(700)))\n"
        "            recorder.flush()\n"
        "    except OSError as error:\n"
        "        print(recorder.stored, error.strerror, error.filename == str(path))\n"
        "    recorder.close(LEDGER)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "r")], capture_output=True, text=True, timeout=120
    )

    stored, rest = done.stdout.split(" ", 1)
    assert rest == "File too large True\n", done.stderr
    with Recording.open(tmp_path / "r") as recording:
        assert sum(map(len, recording.records())) == int(stored) > 0
        assert recording.ledger == LEDGER
