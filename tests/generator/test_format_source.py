"""Directories and snapshots as sources of formats."""

import gzip
import json
import lzma
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.paths import TESTS
from traceleft.errors import FormatError
from traceleft.generator.format_source import parse_snapshot, read_source, write_snapshot

SNAPSHOTS = sorted((TESTS / "data" / "formats").glob("*.json.xz"))
TEXT = 'name: x\nID: 1\nformat:\n\tfield:int a;\toffset:8;\tsize:4;\tsigned:1;\n\nprint fmt: ""\n'


def make_directory(root: Path, name: str = "events") -> Path:
    for key in ("syscalls/sys_enter_close", "sched/sched_switch"):
        event = root / name / key
        event.mkdir(parents=True)
        (event / "format").write_text(TEXT)
    return root / name


def make_snapshot(**changes: object) -> bytes:
    document = {"snapshot": 1, "release": "6.1", "machine": "x86_64", "formats": {"sched/x": TEXT}} | changes
    return json.dumps(document).encode()


def test_directory_gives_its_formats(tmp_path: Path) -> None:
    source = read_source(make_directory(tmp_path))

    assert sorted(source.formats) == ["sched/sched_switch", "syscalls/sys_enter_close"]
    assert source.formats["sched/sched_switch"] == TEXT


def test_root_of_tracefs_stands_for_its_events(tmp_path: Path) -> None:
    make_directory(tmp_path)

    assert len(read_source(tmp_path).formats) == 2


def test_capture_is_named_by_its_directory(tmp_path: Path) -> None:
    source = read_source(make_directory(tmp_path, "6.12.107+deb13-cloud-amd64-x86_64"))

    assert (source.release, source.machine) == ("6.12.107+deb13-cloud-amd64", "x86_64")


def test_other_directory_is_unnamed(tmp_path: Path) -> None:
    source = read_source(make_directory(tmp_path))

    assert (source.release, source.machine) == ("unnamed", "x86_64")


def test_stray_files_and_odd_directories_are_no_events(tmp_path: Path) -> None:
    events = make_directory(tmp_path)
    (events / "symbols.txt").write_text("x")
    (events / "syscalls" / "enable").write_text("0")
    (events / "syscalls" / "no_format").mkdir()
    (events / "od d").mkdir()
    (events / "loop").symlink_to("loop")

    assert len(read_source(events).formats) == 2


def test_format_that_is_a_fifo_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    events = make_directory(tmp_path)
    fifo = events / "sched" / "sched_switch" / "format"
    fifo.unlink()
    os.mkfifo(fifo)

    with pytest.raises(FormatError, match="is not a regular file"):
        read_source(events).formats["sched/sched_switch"]


def test_format_that_links_to_itself_is_refused(tmp_path: Path) -> None:
    events = make_directory(tmp_path)
    link = events / "sched" / "sched_switch" / "format"
    link.unlink()
    link.symlink_to("format")

    with pytest.raises(FormatError, match="symbolic link"):
        read_source(events).formats["sched/sched_switch"]


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"a" * ((1 << 20) + 1), "is longer than"), (b"name: x\n\xff\xfe", r":2: is not text")],
    ids=["enormous", "binary"],
)
def test_format_file_is_bounded_text(tmp_path: Path, data: bytes, message: str) -> None:
    events = make_directory(tmp_path)
    (events / "sched" / "sched_switch" / "format").write_bytes(data)

    with pytest.raises(FormatError, match=message):
        read_source(events).formats["sched/sched_switch"]


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: None], ids=["empty", "missing"])
def test_input_without_formats_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "input"
    make(path)

    with pytest.raises(FormatError, match="input: "):
        read_source(path)


@pytest.mark.parametrize("suffix", [".xz", ".gz", ""], ids=["xz", "gzip", "default"])
def test_snapshot_keeps_everything_and_is_the_same_twice(tmp_path: Path, suffix: str) -> None:
    source = read_source(make_directory(tmp_path, "6.1-x86_64"))
    first, second = tmp_path / f"first{suffix}", tmp_path / f"second{suffix}"

    write_snapshot(source, first)
    write_snapshot(source, second)

    read = read_source(first)
    assert (read.release, read.machine, dict(read.formats)) == ("6.1", "x86_64", dict(source.formats))
    assert first.read_bytes() == second.read_bytes()


def test_snapshot_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    source = read_source(make_directory(tmp_path))

    with pytest.raises(FormatError, match="cannot be written"):
        write_snapshot(source, tmp_path / "absent" / "file")
    with pytest.raises(FormatError, match="cannot be written"):
        write_snapshot(source, tmp_path / "events")

    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["events"]


def test_snapshot_to_a_device_does_not_replace_it(tmp_path: Path) -> None:
    write_snapshot(read_source(make_directory(tmp_path)), Path("/dev/null"))

    assert Path("/dev/null").is_char_device()


BAD = {
    "empty": b"",
    "text": b"hello",
    "deep": b"[" * 100_000,
    "list": b"[]",
    "newer": make_snapshot(snapshot=2),
    "odd-version": make_snapshot(snapshot="1"),
    "odd-release": make_snapshot(release="../../etc"),
    "odd-machine": make_snapshot(machine=""),
    "no-formats": make_snapshot(formats={}),
    "odd-key": make_snapshot(formats={"sched/../x": TEXT}),
    "odd-text": make_snapshot(formats={"sched/x": 1}),
    "cut-gzip": gzip.compress(make_snapshot(), mtime=0)[:-9],
    "cut-xz": lzma.compress(make_snapshot())[:-9],
    "odd-gzip": gzip.compress(make_snapshot(), mtime=0)[:12] + b"\xff" * 40,
    "bomb-gzip": gzip.compress(bytes(65 << 20), mtime=0),
    "bomb-xz": lzma.compress(bytes(65 << 20), preset=0),
    "huge-number": b"1" * 10_000,
}


@pytest.mark.parametrize("name", sorted(BAD), ids=str)
def test_bad_snapshot_is_refused(name: str) -> None:
    with pytest.raises(FormatError, match=rf"^{name}: "):
        parse_snapshot(BAD[name], file=name)


@given(st.binary(max_size=300), st.sampled_from([b"", b"\x1f\x8b\x08", b"\xfd7zXZ\x00", b'{"snapshot": 1,']))
def test_arbitrary_bytes_raise_nothing_but_format_error(data: bytes, prefix: bytes) -> None:
    with pytest.raises(FormatError):
        parse_snapshot(prefix + data, file="fuzz")


def test_damaged_snapshot_raises_nothing_but_format_error() -> None:
    data = SNAPSHOTS[0].read_bytes()
    generator = random.Random(1)
    for _ in range(50):
        place = generator.randrange(len(data))
        damaged = data[:place] + bytes([data[place] ^ 1 << generator.randrange(8)]) + data[place + 1 :]
        try:
            parse_snapshot(damaged, file="damaged")
        except FormatError:
            continue


@pytest.mark.parametrize("path", SNAPSHOTS, ids=lambda path: path.name)
def test_captures_are_small_and_whole(path: Path) -> None:
    source = read_source(path)

    assert path.stat().st_size < 32 << 10
    assert path.name == f"{source.release}.json.xz"
    assert sum(key.startswith("syscalls/sys_enter_") for key in source.formats) > 280


@pytest.mark.kernel
def test_running_kernel_has_formats() -> None:
    source = read_source(None)

    assert source.release == os.uname().release
    assert "name: sys_enter_close" in source.formats["syscalls/sys_enter_close"]
