"""Batteries on disk: read with every digest checked, chosen by release, trusted only when nobody else writes."""

import os
from pathlib import Path

import msgspec
import pytest

from traceleft.battery import (
    Battery,
    Manifest,
    ObjectEntry,
    ProgramEntry,
    Release,
    dump_manifest,
    is_trusted,
    why_untrusted,
)
from traceleft.battery.manifest import CompilerEntry, digest_of
from traceleft.battery.store import natural_key, object_path, schema_path
from traceleft.errors import BatteryError

MACHINE = os.uname().machine
DATA = b"an object"
OBJECT = digest_of(DATA)
SCHEMA = b'{"schema":1,"events":{"openat":{"format":"sha256:aa"}}}'


def manifest(*releases: str) -> Manifest:
    program = ProgramEntry("dispatch_exit", "dispatch_exit", "raw_tp", "raw_tp", 60, (1, 12))
    release = Release(digest_of(SCHEMA), {"5.8": OBJECT}, {})
    return Manifest(
        schema=1,
        traceleft="0.1.0",
        machine=MACHINE,
        byte_order="little",
        compiler=CompilerEntry("clang version 14.0.6", ()),
        templates=digest_of(b""),
        objects={OBJECT: ObjectEntry("core", {"5.8": digest_of(b"")}, "5.8", len(DATA), None, (program,))},
        releases=dict.fromkeys(releases, release),
    )


@pytest.fixture
def battery(tmp_path: Path) -> Path:
    path = tmp_path / "battery"
    for file, data in (
        (path / "manifest.json", dump_manifest(manifest("6.1.0"))),
        (object_path(path, OBJECT), DATA),
        (schema_path(path, digest_of(SCHEMA)), SCHEMA),
    ):
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        file.write_bytes(data)
        file.chmod(0o644)
    return path


def test_object_and_schema_are_read(battery: Path) -> None:
    opened = Battery.open(battery)

    assert opened.object_bytes(OBJECT) == DATA
    assert opened.schema("6.1.0")["schema"] == 1
    assert opened.formats("6.1.0") == {"openat": "sha256:aa"}


@pytest.mark.parametrize(
    ("data", "complaint"),
    [(b"an abject", "wrong digest"), (b"an obj", "6 bytes, the manifest says 9"), (DATA * 2, "larger than 9 bytes")],
)
def test_damaged_object_is_refused(battery: Path, data: bytes, complaint: str) -> None:
    object_path(battery, OBJECT).write_bytes(data)

    with pytest.raises(BatteryError, match=complaint):
        Battery.open(battery).object_bytes(OBJECT)


def test_missing_object_is_told(battery: Path) -> None:
    object_path(battery, OBJECT).unlink()

    with pytest.raises(BatteryError, match="object of core is missing; build the battery again"):
        Battery.open(battery).object_bytes(OBJECT)


def test_fifo_in_place_of_an_object_does_not_hang(battery: Path) -> None:
    object_path(battery, OBJECT).unlink()
    os.mkfifo(object_path(battery, OBJECT))

    with pytest.raises(BatteryError, match="not a regular file"):
        Battery.open(battery).object_bytes(OBJECT)


def test_link_in_place_of_an_object_is_refused(battery: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(DATA)
    object_path(battery, OBJECT).unlink()
    object_path(battery, OBJECT).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(BatteryError, match="symbolic link"):
        Battery.open(battery).object_bytes(OBJECT)


def test_changed_schema_is_refused(battery: Path) -> None:
    schema_path(battery, digest_of(SCHEMA)).write_bytes(SCHEMA.replace(b"openat", b"creat_"))

    with pytest.raises(BatteryError, match="wrong digest"):
        Battery.open(battery).schema("6.1.0")


def test_digest_that_the_manifest_lacks_reads_no_file(battery: Path) -> None:
    with pytest.raises(BatteryError, match="no such object"):
        Battery.open(battery).object_bytes("sha256:../../manifest.json")


@pytest.mark.parametrize(
    ("name", "complaint"), [("nowhere", "no such battery"), ("", "no battery"), ("battery/manifest.json", "directory")]
)
def test_what_is_no_battery_is_told(battery: Path, name: str, complaint: str) -> None:
    with pytest.raises(BatteryError, match=complaint):
        Battery.open(battery.parent / name)


def test_battery_for_another_machine_is_refused_unless_asked_for(battery: Path) -> None:
    other = msgspec.structs.replace(manifest("6.1.0"), machine="s390x", byte_order="big")
    (battery / "manifest.json").write_bytes(dump_manifest(other))

    assert Battery.open(battery, machine="s390x").releases == ("6.1.0",)
    with pytest.raises(BatteryError, match="made for s390x"):
        Battery.open(battery)


@pytest.mark.parametrize(
    ("release", "chosen", "exact"),
    [
        ("6.1.0-9", "6.1.0-9", True),
        ("6.1.0-10", "6.1.0-9", False),
        ("5.15.3", "5.4.59", False),
        ("6.18.44", "6.12.9", False),
        ("4.4.1", "5.4.59", False),
    ],
)
def test_nearest_older_release_serves_a_kernel_that_is_not_there(release: str, chosen: str, exact: bool) -> None:
    battery = Battery(Path("B"), manifest("5.4.59", "6.12.9", "6.1.0-9"))

    selection = battery.select(release)

    assert (selection.name, selection.exact) == (chosen, exact)


@pytest.mark.parametrize(
    ("release", "chosen"),
    [
        ("6.1.0-50-amd64", "6.1.0-50-cloud-amd64"),
        ("5.10.0-32-amd64", "5.10.0-46-cloud-amd64"),
        ("6.0.9", "5.10.0-46-cloud-amd64"),
    ],
)
def test_flavour_and_count_of_builds_make_no_release_newer(release: str, chosen: str) -> None:
    battery = Battery(Path("B"), manifest("4.19.13", "5.10.0-46-cloud-amd64", "6.1.0-50-cloud-amd64"))

    assert battery.select(release).name == chosen


def test_empty_battery_selects_nothing() -> None:
    with pytest.raises(BatteryError, match="holds no release"):
        Battery(Path("B"), manifest()).select("6.1.0")


def test_releases_sort_by_number() -> None:
    names = ["6.10", "6.9", "6.9-rc1", "6.9.1", "5.10.0-10-amd64", "5.10.0-9-amd64"]

    assert sorted(names, key=natural_key)[:2] == ["5.10.0-9-amd64", "5.10.0-10-amd64"]
    assert sorted(names, key=natural_key)[-2:] == ["6.9.1", "6.10"]


def test_own_battery_is_trusted(battery: Path) -> None:
    assert why_untrusted(battery) is None


@pytest.mark.parametrize("part", ["", "manifest.json", ".."])
def test_battery_that_others_can_write_is_not_trusted(battery: Path, part: str) -> None:
    (battery / part).chmod(0o777)

    assert not is_trusted(battery)


def test_battery_below_a_sticky_directory_is_trusted(battery: Path) -> None:
    battery.parent.chmod(0o1777)

    assert is_trusted(battery)


def test_sticky_battery_is_not_trusted(battery: Path) -> None:
    battery.chmod(0o1777)

    assert not is_trusted(battery)


def test_missing_battery_is_not_trusted(tmp_path: Path) -> None:
    assert not is_trusted(tmp_path / "nowhere")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("part", ["", "manifest.json", ".."])
def test_battery_of_another_user_is_not_trusted(battery: Path, part: str) -> None:
    os.chown(battery / part, 65534, 65534)

    assert not is_trusted(battery)
