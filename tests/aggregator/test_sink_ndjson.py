"""The sink of files: lines that are never lost, split or doubled, whatever rotates, moves or fills up."""

import errno
import json
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from traceleft.aggregator.sinks.ndjson import NdjsonTarget
from traceleft.aggregator.sinks.sink import Item, SinkError
from traceleft.aggregator.sinks.urls import open_sinks


def lines(first: int, count: int) -> bytes:
    """Return lines of growing length, each with its number."""
    return b"".join(
        json.dumps({"n": number, "pad": "x" * (number % 50)}).encode() + b"\n" for number in range(first, first + count)
    )


def events(first: int, count: int) -> Item:
    return Item("events", lines(first, count), count)


def written(target: NdjsonTarget) -> list[bytes]:
    """Return the contents of all files of a sink, the oldest first."""
    rotated = sorted(target.path.parent.glob(f"{target.path.name}.*"), key=lambda path: -int(path.suffix[1:]))
    return [path.read_bytes() for path in (*rotated, target.path)]


def test_rotation_splits_no_line_and_loses_none(tmp_path: Path) -> None:
    target = NdjsonTarget(path=tmp_path / "log", rotate_bytes=1000, keep=1000, sync="never")
    target.open()

    for first in range(0, 1000, 37):
        target.write(events(first, 37))
    target.close()

    files = written(target)
    assert b"".join(files) == lines(0, 27 * 37 + 37)
    assert len(files) > 30
    assert all(len(file) <= 1000 and file.endswith(b"\n") for file in files)


def test_only_so_many_rotated_files_are_kept(tmp_path: Path) -> None:
    target = NdjsonTarget(path=tmp_path / "log", rotate_bytes=100, keep=3, sync="never")
    target.open()

    for number in range(100):
        target.write(events(number, 1))
    target.close()

    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "log.1", "log.2", "log.3"]
    assert lines(0, 100).endswith(b"".join(written(target)))


def test_line_longer_than_a_file_has_one_of_its_own(tmp_path: Path) -> None:
    target = NdjsonTarget(path=tmp_path / "log", rotate_bytes=10, keep=10)
    target.open()

    target.write(events(0, 3))
    target.close()

    assert written(target) == [lines(number, 1) for number in range(3)]


def test_file_is_rotated_when_its_time_is_over(tmp_path: Path) -> None:
    now = [10_000.0]
    target = NdjsonTarget(path=tmp_path / "log", every_s=3600, clock=lambda: now[0])
    target.open()

    target.write(events(0, 1))
    now[0] += 3600
    target.write(events(1, 1))
    target.write(events(2, 1))
    now[0] += 3600
    target.idle()
    target.close()

    assert written(target) == [lines(0, 1), lines(1, 2), b""]


def test_what_was_there_is_kept_and_a_torn_line_stays_alone(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b'{"n":0}\n{"torn":')
    target = NdjsonTarget(path=tmp_path / "log")
    target.open()

    target.write(events(1, 2))
    target.close()

    assert (tmp_path / "log").read_bytes() == b'{"n":0}\n{"torn":\n' + lines(1, 2)


def test_file_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    target = NdjsonTarget(path=tmp_path / "log")
    target.open()

    target.write(events(0, 1))
    (tmp_path / "log").rename(tmp_path / "moved")
    target.write(events(1, 1))
    target.close()

    assert (tmp_path / "moved").read_bytes() == lines(0, 1)
    assert (tmp_path / "log").read_bytes() == lines(1, 1)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a directory on a disk of 64 KiB; needs root, as the tests of a kernel do."""
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(tmp_path)], check=False)
    if done.returncode:
        pytest.skip("needs to mount a tmpfs")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.kernel
def test_full_disk_takes_whole_lines_and_the_rest_once_there_is_room(small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(40_000))
    target = NdjsonTarget(path=small_disk / "log")
    target.open()
    item = events(0, 1000)

    with pytest.raises(OSError, match="No space left") as caught:
        target.write(item)
    assert caught.value.errno == errno.ENOSPC
    so_far = (small_disk / "log").read_bytes()
    left = item.records
    (small_disk / "ballast").unlink()
    target.write(item)
    target.close()

    assert so_far
    assert lines(0, 1000).startswith(so_far)
    assert so_far.count(b"\n") == 1000 - left
    assert (small_disk / "log").read_bytes() == lines(0, 1000)


def test_short_write_leaves_whole_lines_only(tmp_path: Path) -> None:
    target = NdjsonTarget(path=tmp_path / "log")
    target.open()
    item = events(0, 100)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            target.write(item)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    so_far = (tmp_path / "log").read_bytes()

    target.write(item)
    target.close()

    assert so_far.endswith(b"\n")
    assert so_far == lines(0, 100)[: len(so_far)]
    assert (tmp_path / "log").read_bytes() == lines(0, 100)


def test_device_that_is_full_counts_all_as_dropped() -> None:
    sinks = open_sinks(["ndjson:/dev/full"])
    sinks.start()
    sinks.events(lines(0, 10))
    sinks.close(patience_s=0.2)

    assert sinks.account()["ndjson:/dev/full"]["dropped"] == 10
    assert sinks.account()["ndjson:/dev/full"]["last_error"] == "no space left on device"


def test_what_cannot_be_rotated_is_refused() -> None:
    with pytest.raises(SinkError, match="only a regular file can be rotated"):
        open_sinks(["ndjson:/dev/null?rotate=1M"])


def test_fifo_without_a_reader_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    with pytest.raises(SinkError, match="no such device or address"):
        open_sinks([f"ndjson:{tmp_path}/fifo"])


def test_reader_of_a_fifo_that_never_reads_delays_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    try:
        sinks = open_sinks([f"ndjson:{tmp_path}/fifo?queue=64KiB"])
        sinks.start()
        for first in range(0, 10_000, 100):
            sinks.events(lines(first, 100))
        sinks.close(patience_s=0.2)
    finally:
        os.close(reader)

    (account,) = sinks.accounts().values()
    assert account.accepted == 10_000 == account.written + account.dropped
    assert account.dropped > 0


def test_every_write_is_synced_where_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # By inode: the thread of a sink that was given up may end while this runs.
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino))
    for sync, expected in (("never", 0), ("rotate", 1), ("always", 3)):
        with open_sinks([f"ndjson:{tmp_path}/{sync}?sync={sync}"]) as sinks:
            sinks.start()
            sinks.events(lines(0, 1))
            sinks.events(lines(1, 1))
        assert synced.count((tmp_path / sync).stat().st_ino) == expected
