"""Recordings that are cut, damaged, hostile or none: each one line, and everything before the damage first."""

import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.recordings import EPOCH, calls, head, write_recording
from traceleft.errors import RecordingError, TraceleftError
from traceleft.tracer.recording import Recording
from traceleft.tracer.recording import file_format as recording_format
from traceleft.tracer.recording.file_format import (
    END,
    HEAD,
    HEADER_BYTES,
    RECORDS,
    encode,
    make_end,
    pack_block,
    pack_preamble,
    read_header,
)

BLOCKS = 6
IN_BLOCK = 20


def written(path: Path) -> tuple[bytes, list[int], list[bytes]]:
    """Write a recording; return its bytes, where its blocks begin, and the records by block."""
    batches = [calls(IN_BLOCK, first=IN_BLOCK * number) for number in range(BLOCKS)]
    data = write_recording(path, *batches).read_bytes()
    places, at = [], 16
    while at < len(data):
        places.append(at)
        at += HEADER_BYTES + read_header(data[at : at + HEADER_BYTES]).stored
    return data, places, [b"".join(batch) for batch in batches]


def read_all(path: Path) -> tuple[bytes, RecordingError | None]:
    """Return all records that can be read, and what ended it."""
    found = b""
    try:
        with Recording.open(path) as recording:
            for records in recording.records():
                found += records.data
    except RecordingError as error:
        assert "\n" not in str(error)
        assert str(error).startswith(str(path))
        return found, error
    return found, None


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, list[int], list[bytes]]:
    path = tmp_path_factory.mktemp("sound") / "r"
    return path, *written(path)


def test_cut_at_any_byte_gives_all_blocks_before(sound: tuple[Path, bytes, list[int], list[bytes]]) -> None:
    path, data, places, blocks = sound
    cut = path.with_name("cut")
    ends = [*places[1:], len(data)]

    for size in range(len(data)):
        cut.write_bytes(data[:size])
        found, error = read_all(cut)
        whole = sum(size >= ends[1 + number] for number in range(BLOCKS))
        assert found == b"".join(blocks[:whole])
        assert error is not None
        assert error.events_read in (None, whole * IN_BLOCK)


def test_any_flipped_bit_is_found(sound: tuple[Path, bytes, list[int], list[bytes]]) -> None:
    path, data, places, blocks = sound
    flipped = path.with_name("flipped")
    # A bit of each byte of the preamble, the headers and the borders of blocks; of what is between some.
    near = {place + step for place in (*places, len(data)) for step in range(-2, HEADER_BYTES + 2)}
    chosen = sorted({*range(16), *near, *range(0, len(data), 37)} & {*range(len(data))})

    for at in chosen:
        broken = bytearray(data)
        broken[at] ^= 1 << at % 8
        flipped.write_bytes(broken)
        found, error = read_all(flipped)
        whole = sum(at >= place for place in [*places[2:], len(data)][:BLOCKS])
        assert error is not None, at
        assert found == b"".join(blocks[:whole]), at


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_mangled_bytes_never_do_more_than_refuse(
    sound: tuple[Path, bytes, list[int], list[bytes]], data: st.DataObject
) -> None:
    path, sound_bytes, _, _ = sound
    mangled = bytearray(sound_bytes)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(mangled)))
        stop = data.draw(st.integers(start, min(start + 300, len(mangled))))
        mangled[start:stop] = data.draw(st.binary(max_size=120))
    file = path.with_name("mangled")
    file.write_bytes(mangled)

    found, error = read_all(file)

    assert error is not None or found


@settings(max_examples=100, deadline=None)
@given(rest=st.binary(max_size=400), version=st.integers(0, 3))
def test_any_bytes_after_the_preamble_are_refused(tmp_path_factory: Any, rest: bytes, version: int) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(struct.pack("<12sHH", recording_format.MAGIC, version, 0) + rest)

    assert read_all(path)[1] is not None


def make_file(path: Path, *blocks: tuple[int, bytes, int], head_block: bytes | None = None) -> Path:
    """Write blocks of a kind, content and number of records after a head, with sound checksums."""
    data = pack_preamble() + pack_block(HEAD, 0, encode(head()) if head_block is None else head_block)
    for number, (kind, content, records) in enumerate(blocks, 1):
        data += pack_block(kind, number, content, records=records)
    path.write_bytes(data)
    return path


def head_with(**keys: Any) -> bytes:
    return msgspec.json.encode(msgspec.to_builtins(head()) | keys)


def head_of(change: Callable[[dict[str, Any]], object]) -> bytes:
    """Return a head whose schema was changed."""
    document = msgspec.json.decode(msgspec.json.encode(head()))
    change(document["schema"]["events"]["openat"])
    return msgspec.json.encode(document)


SOME = b"".join(calls(4))
THE_END = (END, encode(make_end(4, None)), 0)
HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "foreign schema of 2^32 slots": (
        lambda path: make_file(path, head_block=head_of(lambda event: event["layout"].update(fixed_size=1 << 32))),
        "fixed_size: must be an integer",
    ),
    "schema of another layout": (
        lambda path: make_file(path, head_block=head_of(lambda event: event.update(id=258))),
        "its schema is not the one",
    ),
    "schema of nothing": (lambda path: make_file(path, head_block=head_with(schema={})), "schema"),
    "head that is a list": (lambda path: make_file(path, head_block=b"[]"), "its head cannot be read"),
    "head nested deeply": (lambda path: make_file(path, head_block=b"[" * 100_000), "its head cannot be read"),
    "host that moves the cursor": (lambda path: make_file(path, head_block=head_with(host="\x1b[2J")), "its host"),
    "clock out of range": (lambda path: make_file(path, head_block=head_with(offset_ns=1 << 63)), "out of range"),
    "more records than said": (lambda path: make_file(path, (RECORDS, SOME, 3), THE_END), "more or fewer records"),
    "no record in a block": (lambda path: make_file(path, (RECORDS, b"", 0), THE_END), "more or fewer records"),
    "no records": (lambda path: make_file(path, (RECORDS, b"x" * 99, 1), THE_END), "something else than records"),
    "record longer than its block": (
        lambda path: make_file(path, (RECORDS, b"\xff\xff\xff\x7f" + bytes(92), 1), THE_END),
        "something else than records",
    ),
    "record of an unknown event": (
        lambda path: make_file(path, (RECORDS, struct.pack("<IHH", 96, 999, 0) + bytes(88), 1), THE_END),
        "event (id 999) that its schema lacks",
    ),
    "two heads": (lambda path: make_file(path, (HEAD, encode(head()), 0), (RECORDS, SOME, 4)), "a second head"),
    "two ends": (lambda path: make_file(path, THE_END, THE_END), "something follows its end"),
    "end that is none": (lambda path: make_file(path, (RECORDS, SOME, 4), (END, b"{}", 0)), "end cannot be read"),
    "ledger that is none": (
        lambda path: make_file(path, (RECORDS, SOME, 4), (END, b'{"records":4,"ledger":{"emitted":"x"}}', 0)),
        "ledger cannot be read",
    ),
    "records that its end denies": (
        lambda path: make_file(path, (RECORDS, SOME, 4), (END, encode(make_end(5, None)), 0)),
        "more or fewer records than its end says",
    ),
    "cgroups that are none": (
        lambda path: make_file(path, (recording_format.CGROUPS, b'{"x":1}', 0), (RECORDS, SOME, 4), THE_END),
        "cgroups cannot be read",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_recording_is_one_line(tmp_path: Path, name: str) -> None:
    make, reason = HOSTILE[name]
    make(tmp_path / "r")

    found, error = read_all(tmp_path / "r")

    assert error is not None
    assert reason in str(error)
    assert found in (b"", SOME)


def block_of(stored: bytes, *, raw: int, kind: int = RECORDS, size: int | None = None) -> bytes:
    """Return a block with any sizes in its header, and sound checksums."""
    stored_size = len(stored) if size is None else size
    start = struct.pack("<4sBxxxIIIIQQI", b"TLbk", kind, 1, stored_size, raw, 1, 0, 0, zlib.crc32(stored))
    return start + struct.pack("<I", zlib.crc32(start)) + stored


BOMB = zstandard.ZstdCompressor().compress(bytes(1 << 30))
LYING = {
    "bomb": block_of(BOMB, raw=96),
    "bomb that tells its size": block_of(BOMB, raw=1 << 30),
    "frame without its size": block_of(
        zstandard.ZstdCompressor(write_content_size=False).compress(SOME), raw=len(SOME)
    ),
    "frame of another size": block_of(zstandard.ZstdCompressor().compress(SOME), raw=len(SOME) - 8),
    "no frame": block_of(b"no zstd at all", raw=8),
    "empty frame": block_of(b"", raw=8),
    "stored size beyond the file": block_of(b"x", raw=8, size=100),
    "stored size of 4 GiB": block_of(b"x", raw=8, size=0xFFFFFFFF),
    "unknown kind": block_of(b"x", raw=8, kind=9),
}


@pytest.mark.parametrize("name", LYING)
def test_lying_sizes_take_no_memory(tmp_path: Path, name: str) -> None:
    (tmp_path / "r").write_bytes(pack_preamble() + pack_block(HEAD, 0, encode(head())) + LYING[name])
    code = (
        "import resource, sys; from traceleft.tracer.recording import Recording\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))\n"
        f"list(Recording.open({str(tmp_path / 'r')!r}).records())"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)

    assert "traceleft.errors.RecordingError" in done.stderr.splitlines()[-1]


def replay(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "traceleft", "replay", "--format", "json", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def directory(path: Path) -> None:
    path.mkdir()


def two_recordings(path: Path) -> None:
    path.mkdir()
    write_recording(path / "a", calls(3))
    write_recording(path / "b", calls(3))


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def newer(path: Path) -> None:
    path.write_bytes(struct.pack("<12sHH", recording_format.MAGIC, 2, 0) + b"anything")


NO_RECORDINGS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "no such file or directory"),
    "empty": (lambda path: path.write_bytes(b""), "is empty, no recording"),
    "text": (lambda path: path.write_text('{"ts": 1}\n' * 10), "is not a recording: make one with: traceleft record"),
    "zeros": (lambda path: path.write_bytes(bytes(1000)), "is not a recording"),
    "newer": (newer, "is a recording of version 2, this traceleft knows 1: replay it with a newer traceleft"),
    "FIFO": (lambda path: os.mkfifo(path), "is not a regular file: pipe it into: traceleft replay -"),
    "device": (device, "is not a regular file"),
    "directory": (directory, "holds no recording"),
    "two recordings": (two_recordings, "is a directory with 2 recordings: name one of a, b"),
}


@pytest.mark.parametrize("name", NO_RECORDINGS)
def test_what_is_no_recording_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    make, reason = NO_RECORDINGS[name]
    make(tmp_path / "r")

    done = replay(tmp_path / "r")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"traceleft: {tmp_path}/r: {done.stderr.removeprefix(f'traceleft: {tmp_path}/r: ')}"
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("how", ["cut", "flipped"])
def test_replay_prints_what_lies_before_the_damage(
    sound: tuple[Path, bytes, list[int], list[bytes]], tmp_path: Path, how: str
) -> None:
    _, data, places, _ = sound
    at = places[4] + HEADER_BYTES + 5
    broken = data[:at] if how == "cut" else data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    (tmp_path / "r").write_bytes(broken)

    done = replay(tmp_path / "r")

    assert done.returncode == 1
    assert [line.split(",")[0] for line in done.stdout.splitlines()] == [
        f'{{"ts":{EPOCH + 1000 * number}' for number in range(3 * IN_BLOCK)
    ]
    # Where only the middle is damaged, the account at the end is there.
    assert done.stderr.count("\n") == (1 if how == "cut" else 2)
    assert f"(byte {places[4]:,}); the 60 events before were read" in done.stderr


def test_replay_of_a_recording_that_shrinks_is_one_line(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "r", *[calls(2000)] * 40)

    with Recording.open(path) as recording:
        os.truncate(path, path.stat().st_size // 2)
        with pytest.raises(TraceleftError):
            list(recording.records())


def test_parts_are_read_in_their_order(tmp_path: Path) -> None:
    batches = [calls(3000, first=3000 * number) for number in range(30)]
    path = write_recording(tmp_path / "r", *batches, rotate_bytes=64 << 10)

    names = [f"{path}{suffix}" for suffix in ("", *(f".{n}" for n in range(1, len(list(tmp_path.iterdir())))))]
    assert len(names) > 3
    assert all(Path(name).stat().st_size <= 64 << 10 for name in names)
    for name in (path, tmp_path):
        with Recording.open(name) as recording:
            assert recording.files == tuple(names)
            assert b"".join(each.data for each in recording.records()) == b"".join(b"".join(each) for each in batches)
            assert recording.ledger is not None


def test_part_is_read_by_itself(tmp_path: Path) -> None:
    batches = [calls(3000, first=3000 * number) for number in range(30)]
    path = write_recording(tmp_path / "r", *batches, rotate_bytes=64 << 10)
    (tmp_path / "r.1").rename(tmp_path / "copy")

    found, error = read_all(tmp_path / "copy")
    assert error is None
    assert 0 < len(found) < len(b"".join(b"".join(each) for each in batches))

    found, error = read_all(path)
    assert found == b"".join(b"".join(each) for each in batches)[: len(found)]
    assert error is None or f"{path}.1: is missing: the recording goes on there" in str(error)
    assert error is not None


def test_part_of_another_recording_is_not_taken_for_ours(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "r", *[calls(3000)] * 30, rotate_bytes=64 << 10)
    other = make_file(tmp_path / "r.1", (RECORDS, SOME, 4), THE_END, head_block=head_with(part=1, host="another"))

    error = read_all(path)[1]

    assert error is not None
    assert f"{other}: is missing" in str(error)


def test_recording_is_split_by_the_time_of_events(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "r", *[calls(100, first=100 * number) for number in range(50)], rotate_s=0.001)

    with Recording.open(path) as recording:
        assert len(recording.files) == 5
        assert [event.ts - EPOCH for event in recording.events()] == [1000 * number for number in range(5000)]
    for part in recording.files:
        with Recording.open(part) as recording:
            times = [ts for batch in recording.batches() for ts in batch.timestamps().tolist()]
        if part != str(path):
            assert max(times) - min(times) < 1_000_000
