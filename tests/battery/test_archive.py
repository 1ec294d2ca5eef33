"""Batteries verified, packed and unpacked: reproducible, and safe from what a stranger packed."""

import io
import json
import lzma
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.batteries import OBJECTS, write_battery
from tests.support.full_disk import full_disk
from traceleft.battery.archive import pack_battery, unpack_battery
from traceleft.battery.manifest import canonical, digest_of
from traceleft.battery.store import Battery, object_path
from traceleft.battery.verify import verify_battery
from traceleft.errors import BatteryError


@pytest.fixture
def battery(tmp_path: Path) -> Path:
    return write_battery(tmp_path / "battery")


def files_of(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def refusal_of(call: Callable[[], object]) -> str:
    """Return the one line with which something is refused."""
    with pytest.raises(BatteryError) as caught:
        call()
    line = str(caught.value)
    assert line.isprintable()
    return line


def test_sound_battery_verifies(battery: Path) -> None:
    assert len(verify_battery(battery).manifest.objects) == 3


@pytest.fixture(name="full_disk")
def _full_disk(tmp_path: Path) -> Iterator[Path]:
    with full_disk(tmp_path / "full") as place:
        yield place


@pytest.mark.kernel
@pytest.mark.parametrize("name", ["out", "a/b/out"])
def test_full_disk_is_called_that_by_unpack_and_left_as_it_was(battery: Path, full_disk: Path, name: str) -> None:
    pack_battery(battery, battery.parent / "packed")

    line = refusal_of(lambda: unpack_battery(battery.parent / "packed", full_disk / name))

    assert line == f"{full_disk / name}: no space left on the device; free some and try again"
    assert [path.name for path in full_disk.rglob("*")] == ["filler"]


@pytest.mark.kernel
def test_full_disk_is_called_that_by_pack_and_left_as_it_was(battery: Path, full_disk: Path) -> None:
    line = refusal_of(lambda: pack_battery(battery, full_disk / "out"))

    assert line == f"{full_disk / 'out'}: no space left on the device; free some and try again"
    assert [path.name for path in full_disk.rglob("*")] == ["filler"]


def test_flipped_bit_in_any_byte_of_any_file_is_refused(battery: Path) -> None:
    for name, data in files_of(battery).items():
        for at in range(0, len(data), 1 + len(data) // 60):
            changed = bytearray(data)
            changed[at] ^= 1 << at % 8
            (battery / name).write_bytes(changed)

            assert refusal_of(lambda: verify_battery(battery)), (name, at)
        (battery / name).write_bytes(data)
    verify_battery(battery)


@pytest.mark.parametrize("name", ["extra", "objects/ab/extra.o", "schemas/extra.json", ".building/0.o", "new\x1b/file"])
def test_file_that_the_manifest_does_not_name_is_refused(battery: Path, name: str) -> None:
    (battery / name).parent.mkdir(exist_ok=True)
    (battery / name).write_text("")

    assert "the manifest names no such file; remove it" in refusal_of(lambda: verify_battery(battery))


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("manifest.json"), os.mkfifo], ids=["link", "fifo"])
def test_what_is_no_file_is_refused(battery: Path, make: Callable[[Path], None]) -> None:
    make(battery / "thing")

    assert "thing: not a file or a directory" in refusal_of(lambda: verify_battery(battery))


def test_missing_file_is_refused(battery: Path) -> None:
    shutil.rmtree(battery / "schemas")

    assert "the schema of 6.1.0 is missing" in refusal_of(lambda: verify_battery(battery))


def test_manifest_that_lies_about_a_digest_is_refused(battery: Path) -> None:
    true, lie = digest_of(OBJECTS["close"]), digest_of(b"other")
    text = (battery / "manifest.json").read_text().replace(true, lie)
    document = json.loads(text)
    del document["digest"]
    (battery / "manifest.json").write_bytes(canonical(document | {"digest": digest_of(canonical(document))}))
    object_path(battery, lie).parent.mkdir(exist_ok=True)
    object_path(battery, true).rename(object_path(battery, lie))

    line = refusal_of(lambda: verify_battery(battery))

    assert line == f"{object_path(battery, lie)}: wrong digest: damaged or changed; build the battery again"


def test_packing_twice_gives_the_same_bytes(battery: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(battery, tmp_path / "elsewhere" / "copy")
    for path in copy.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)

    pack_battery(battery, tmp_path / "a.tar.xz")
    pack_battery(copy, tmp_path / "b.tar.xz")

    assert (tmp_path / "a.tar.xz").read_bytes() == (tmp_path / "b.tar.xz").read_bytes()


def test_packed_battery_is_a_tar_archive_without_times_and_owners(battery: Path, tmp_path: Path) -> None:
    pack_battery(battery, tmp_path / "a.tar.xz")

    with tarfile.open(tmp_path / "a.tar.xz") as archive:
        members = archive.getmembers()
    assert [member.name for member in members] == sorted(files_of(battery))
    assert {(each.mtime, each.uid, each.gid, each.uname, each.mode) for each in members} == {(0, 0, 0, "", 0o644)}


def test_unpacked_battery_equals_the_one_that_was_packed(battery: Path, tmp_path: Path) -> None:
    pack_battery(battery, tmp_path / "a.tar.xz")

    unpacked = unpack_battery(tmp_path / "a.tar.xz", tmp_path / "far" / "unpacked")

    assert files_of(unpacked.path) == files_of(battery)
    assert os.listdir(unpacked.path.parent) == ["unpacked"]
    assert unpacked.path.stat().st_mode & 0o777 == 0o755


def test_damaged_battery_is_not_packed(battery: Path, tmp_path: Path) -> None:
    next(battery.rglob("*.o")).write_bytes(b"damaged")

    refusal_of(lambda: pack_battery(battery, tmp_path / "a.tar.xz"))

    assert not (tmp_path / "a.tar.xz").exists()


def test_directory_that_is_not_empty_is_left_alone(battery: Path, tmp_path: Path) -> None:
    pack_battery(battery, tmp_path / "a.tar.xz")

    assert "not empty; name another" in refusal_of(lambda: unpack_battery(tmp_path / "a.tar.xz", battery))


def test_battery_that_fails_a_check_does_not_appear(battery: Path, tmp_path: Path) -> None:
    pack_battery(battery, tmp_path / "a.tar.xz")

    def check(found: Battery) -> None:
        raise BatteryError("is not signed", path=str(found.path))

    line = refusal_of(lambda: unpack_battery(tmp_path / "a.tar.xz", tmp_path / "out", check=check))

    assert line == f"{tmp_path}/a.tar.xz: is not signed"
    assert sorted(os.listdir(tmp_path)) == ["a.tar.xz", "battery"]


def member(name: str, data: bytes = b"", **keys: object) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in keys.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)


OBJECT_NAME = f"objects/ab/{'c' * 62}.o"
HOSTILE: dict[str, tuple[Sequence[bytes], str]] = {
    "absolute": ([member("/etc/passwd", b"root")], "'/etc/passwd': not a file of a battery"),
    "above": ([member("objects/../../../etc/passwd")], "not a file of a battery"),
    "dots": ([member("..")], "'..': not a file of a battery"),
    "backslash": ([member("objects\\..\\x")], "not a file of a battery"),
    "control": ([member("a\nb\x1b[2J")], "not a file of a battery"),
    "newline after": ([member("manifest.json\n")], "not a file of a battery"),
    "link": ([member("manifest.json", type=tarfile.SYMTYPE, linkname="/etc/shadow")], "not a plain file"),
    "hard link": ([member("manifest.json", type=tarfile.LNKTYPE, linkname="/etc/shadow")], "not a plain file"),
    "device": ([member("manifest.json", type=tarfile.BLKTYPE, devmajor=8)], "not a plain file"),
    "directory": ([member("objects", type=tarfile.DIRTYPE)], "not a file of a battery"),
    "long name": ([member("n" * 300, b"")], "not a file of a battery"),
    "pax": ([member("manifest.json", b"20 path=/etc/passwd\n", type=tarfile.XHDTYPE)], "not a plain file"),
    "twice": ([member(OBJECT_NAME, b"1"), member(OBJECT_NAME, b"2")], "there twice"),
    "too large": ([member("manifest.json", size=1 << 40)], "larger than"),
    "size below nothing": ([member("manifest.json", size=-1)], "not packed by traceleft"),
    "cut": ([member(OBJECT_NAME, b"1")[:600]], "cut short"),
    "no end": ([member(OBJECT_NAME, b"1")], "cut short"),
    "no manifest": ([member(OBJECT_NAME, b"1"), bytes(1024)], "no manifest.json"),
    "not tar": ([b"x" * 2048], "no tar archive of traceleft"),
    "empty": ([], "cut short"),
    "after the end": ([bytes(512), b"y" * 512], "something follows"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_archive_is_refused_in_one_line_and_leaves_nothing(tmp_path: Path, kind: str) -> None:
    parts, complaint = HOSTILE[kind]
    place = tmp_path / "place"
    place.mkdir()
    (tmp_path / "a.tar.xz").write_bytes(lzma.compress(b"".join(parts)))

    line = refusal_of(lambda: unpack_battery(tmp_path / "a.tar.xz", place / "out"))

    assert complaint in line
    assert os.listdir(place) == []
    assert sorted(os.listdir(tmp_path)) == ["a.tar.xz", "place"]


def test_manifest_packed_with_a_wrong_object_is_refused(battery: Path, tmp_path: Path) -> None:
    members = [
        member(name, b"\0" * len(data) if name.endswith(".o") else data) for name, data in files_of(battery).items()
    ]
    (tmp_path / "a.tar.xz").write_bytes(lzma.compress(b"".join(members) + bytes(1024)))

    assert "wrong digest" in refusal_of(lambda: unpack_battery(tmp_path / "a.tar.xz", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_decompression_bomb_is_stopped_early(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with lzma.open(packed, "wb", preset=9) as bomb:
        for index in range(64):
            bomb.write(member(f"schemas/{index:064x}.json", bytes(8 << 20)))
    (tmp_path / "bomb").write_bytes(packed.getvalue())

    line = refusal_of(lambda: unpack_battery(tmp_path / "bomb", tmp_path / "out"))

    assert len(packed.getvalue()) < 1 << 20
    assert line == f"{tmp_path}/bomb: unpacks to far more than it was packed from; not packed by traceleft"
    assert sorted(os.listdir(tmp_path)) == ["bomb"]


def test_second_stream_after_the_first_is_refused(battery: Path, tmp_path: Path) -> None:
    pack_battery(battery, tmp_path / "a.tar.xz")
    with (tmp_path / "a.tar.xz").open("ab") as file:
        file.write(lzma.compress(b"more"))

    assert "something follows" in refusal_of(lambda: unpack_battery(tmp_path / "a.tar.xz", tmp_path / "out"))


def test_dictionary_of_more_memory_than_allowed_is_refused(tmp_path: Path) -> None:
    greedy = lzma.LZMACompressor(lzma.FORMAT_XZ, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 256 << 20}])
    (tmp_path / "a.tar.xz").write_bytes(greedy.compress(bytes(1024)) + greedy.flush())

    line = refusal_of(lambda: unpack_battery(tmp_path / "a.tar.xz", tmp_path / "out"))

    assert "no xz file that can be read" in line


@pytest.mark.parametrize("data", [b"", b"\xfd7zXZ\0", b"PK\3\4", bytes(4096)], ids=["empty", "head", "zip", "zeros"])
def test_what_is_no_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a").write_bytes(data)

    assert refusal_of(lambda: unpack_battery(tmp_path / "a", tmp_path / "out"))


def test_missing_archive_is_told(tmp_path: Path) -> None:
    assert "no such file" in refusal_of(lambda: unpack_battery(tmp_path / "nowhere", tmp_path / "out"))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_archive_is_refused_or_the_same(battery: Path, tmp_path: Path, data: st.DataObject) -> None:
    pack_battery(battery, tmp_path / "a.tar.xz")
    changed = bytearray((tmp_path / "a.tar.xz").read_bytes())
    at = data.draw(st.integers(0, len(changed) - 1))
    changed[at] ^= 1 << data.draw(st.integers(0, 7))
    (tmp_path / "b.tar.xz").write_bytes(changed)
    shutil.rmtree(tmp_path / "out", ignore_errors=True)

    try:
        unpack_battery(tmp_path / "b.tar.xz", tmp_path / "out")
    except BatteryError as error:
        assert str(error).isprintable()
        return
    assert files_of(tmp_path / "out") == files_of(battery)
