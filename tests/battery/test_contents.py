"""What batteries say of events: listed, compared, proven."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.batteries import FIELDS, field, write_battery
from tests.support.paths import TESTS
from traceleft.battery.builder.build import build
from traceleft.battery.contents import compare, list_events, view_events
from traceleft.battery.manifest import Evidence, digest_of, dump_manifest, objects_digest
from traceleft.battery.proof import check_kernel, check_levels
from traceleft.battery.since import Kernel
from traceleft.battery.store import Battery, schema_path
from traceleft.cli import main as cli
from traceleft.errors import BatteryError
from traceleft.generator import generate

FORMATS = TESTS / "data/formats"
RENAMED = {**FIELDS, "close": [field(0, "number", "int", "fd")]}


@pytest.fixture
def two(tmp_path: Path) -> Path:
    return write_battery(tmp_path / "two", {"5.10.0": {"close": FIELDS["close"]}, "6.1.0": RENAMED})


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a battery of a few events from two kernels' formats."""
    place = tmp_path_factory.mktemp("real")
    for release in ("4.9.229", "6.18.44"):
        generate(FORMATS / f"{release}.json.xz", expressions=["openat,close,getrandom,ustat"], output=place / release)
        build(place / release, place / "battery", levels=["5.8"])
    return place / "battery"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = cli.main(["battery", *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def forge(path: Path, **changes: object) -> None:
    """Give a battery's manifest other values, and the digest that belongs to them."""
    manifest = Battery.read(path).manifest
    (path / "manifest.json").write_bytes(dump_manifest(msgspec.structs.replace(manifest, **changes)))


def test_events_are_listed_with_their_releases(two: Path) -> None:
    found = list_events(Battery.read(two))

    assert {name: releases for name, (_, releases) in found.items()} == {
        "close": ("5.10.0", "6.1.0"),
        "openat": ("6.1.0",),
    }
    assert [str(each) for each in found["close"][0].args] == ["number: int (fd)"]


def test_difference_is_by_event_and_field(two: Path) -> None:
    battery = Battery.read(two)

    found = compare(view_events(battery, "5.10.0"), view_events(battery, "6.1.0"))

    change = {"index": 0, "before": "fd: unsigned int (fd)", "after": "number: int (fd)"}
    assert found == {
        "added": ["openat"],
        "removed": [],
        "changed": {"close": {"fields": [change]}},
        "format_only": [],
    }


def test_events_that_are_the_same_do_not_differ(two: Path) -> None:
    events = view_events(Battery.read(two), "6.1.0")

    assert compare(events, events) == {"added": [], "removed": [], "changed": {}, "format_only": []}


@pytest.mark.parametrize(
    "change",
    [
        {"args": [field(-1, "fd", "int", "fd")]},
        {"args": [field(0, "fd\x1b[2J", "int", "fd")]},
        {"kind": "kprobe"},
        {"format": "sha256:x"},
        {"number": 1 << 40},
        {"aliases": ["x" * 1000]},
    ],
)
def test_hostile_schema_is_refused_in_one_line(tmp_path: Path, change: Mapping[str, object]) -> None:
    path = write_battery(tmp_path / "battery")
    manifest = Battery.read(path).manifest
    schema = schema_path(path, manifest.releases["6.1.0"].schema)
    document = json.loads(schema.read_bytes())
    document["events"]["close"] |= change
    data = json.dumps(document).encode()
    schema_path(path, digest_of(data)).write_bytes(data)
    release = msgspec.structs.replace(manifest.releases["6.1.0"], schema=digest_of(data))
    forge(path, releases={"6.1.0": release})

    with pytest.raises(BatteryError, match=r"damaged schema of 6\.1\.0") as caught:
        view_events(Battery.read(path), "6.1.0")

    assert str(caught.value).isprintable()


def test_real_objects_need_no_more_than_their_level(real: Path) -> None:
    battery = Battery.read(real)

    assert list(check_levels(battery)) == []
    assert list(check_kernel(battery, Kernel(5, 8))) == []
    assert {entry.floor for entry in battery.manifest.objects.values()} == {"5.8"}


def test_kernel_that_cannot_load_an_event_is_told_why(real: Path) -> None:
    offences = list(check_kernel(Battery.read(real), Kernel(5, 4)))

    assert {each.event for each in offences} == {"core", "openat", "close", "getrandom", "ustat"}
    assert str(offences[0]) == "core, release 4.9.229: map events has the type ring buffer, which needs 5.8"


def test_manifest_that_lies_about_a_floor_is_told(real: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(real, tmp_path / "lying"))
    objects = Battery.read(path).manifest.objects
    forge(path, objects={digest: msgspec.structs.replace(each, floor="4.4") for digest, each in objects.items()})

    offences = [str(each) for each in check_levels(Battery.read(path))]

    assert len(offences) == len(objects)
    assert (
        "its floor is 5.8 (map events has the type ring buffer, which needs 5.8), the manifest says 4.4" in offences[0]
    )


def test_object_above_its_level_is_told(real: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(real, tmp_path / "lying"))
    manifest = Battery.read(path).manifest
    objects = {
        digest: msgspec.structs.replace(each, sources={"4.18": digest_of(b"")})
        for digest, each in manifest.objects.items()
    }
    releases = {
        name: msgspec.structs.replace(
            each,
            core={"4.18": each.core["5.8"]},
            events={event: {"4.18": levels["5.8"]} for event, levels in each.events.items()},
        )
        for name, each in manifest.releases.items()
    }
    forge(path, objects=objects, releases=releases)

    assert all(
        "level 4.18: map events has the type ring buffer, which needs 5.8" in str(each)
        for each in check_levels(Battery.read(path))
    )


def test_object_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BatteryError, match="no eBPF object that can be read"):
        list(check_levels(Battery.read(write_battery(tmp_path / "battery"))))


def test_releases_share_what_is_the_same(real: Path) -> None:
    size = sum(path.stat().st_size for path in real.rglob("*") if path.is_file())
    newest = Battery.read(real).manifest.releases["6.18.44"]
    alone = sum(Battery.read(real).entry(levels["5.8"]).size for levels in (newest.core, *newest.events.values()))

    assert size <= 1.5 * alone


def test_evidence_of_other_objects_is_dropped_by_a_build(real: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(real, tmp_path / "battery"))
    current = objects_digest(Battery.read(path).manifest, "5.8")
    seen = [
        Evidence("6.1.0", "2026-11-22", "5.8", "kprobe", objects, 5, 5, 5, 100, 100)
        for objects in (current, digest_of(b"others"))
    ]
    forge(path, evidence=tuple(seen))

    build(real.parent / "6.18.44", path, levels=["5.8"])

    assert Battery.read(path).manifest.evidence == (seen[0],)


def test_list_prints_columns(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "list", str(two))

    assert status == 0
    assert out.splitlines() == [
        "EVENT   NUMBER  LEVELS  RELEASES",
        "close        3  5.8     all 2",
        "openat     257  5.8     6.1.0",
    ]


def test_list_prints_json_lines(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "list", str(two), "--json")
    first = json.loads(out.splitlines()[0])

    assert (first["event"], first["releases"]) == ("close", ["5.10.0", "6.1.0"])
    assert first["fields"] == [{"name": "number", "type": "int", "kind": "fd"}]


def test_show_says_what_it_holds(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, text, _ = run(capsys, "show", str(two))
    _, out, _ = run(capsys, "show", str(two), "--json")
    document: dict[str, Any] = json.loads(out)

    assert "not signed" in text and "no evidence from real kernels" in text
    assert document["levels"] == {"5.8": {"objects": 3, "bytes": 415, "floor": "5.8"}}
    assert document["releases"]["6.1.0"] == {"events": 2, "levels": ["5.8"], "borrowed": []}


def test_show_prints_evidence(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digest = objects_digest(Battery.read(two).manifest, "5.8")
    forge(two, evidence=(Evidence("6.1.0", "2026-11-22", "5.8", "kprobe", digest, 3, 3, 2, 100, 99),))

    _, text, _ = run(capsys, "show", str(two))

    assert text.splitlines()[-1].split() == ["6.1.0", "2026-11-22", "5.8", "kprobe", "3", "3", "2", "100", "99"]


def test_check_s_status_says_whether_all_can_be_loaded(real: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "check", str(real))[0] == 0
    status, _, errors = run(capsys, "check", str(real), "--kernel", "4.4")

    assert status == 1
    assert (
        f"{real}: openat, release 6.18.44: map events has the type ring buffer, which needs 5.8" in errors.splitlines()
    )
    assert len(errors.splitlines()) <= 21


@pytest.mark.parametrize("kernel", ["new", "", "5"])
def test_kernel_that_is_none_is_refused(two: Path, capsys: pytest.CaptureFixture[str], kernel: str) -> None:
    status, _, errors = run(capsys, "check", str(two), "--kernel", kernel)

    assert (status, len(errors.splitlines())) == (1, 1)


def test_diff_names_releases_after_an_at_sign(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "diff", f"{two}@5.10.0", f"{two}@6.1.0")
    _, document, _ = run(capsys, "diff", f"{two}@5.10.0", f"{two}@6.1.0", "--json")

    assert status == 0
    assert out.splitlines() == ["+ openat", "~ close", "    fd: unsigned int (fd) -> number: int (fd)"]
    assert json.loads(document)["added"] == ["openat"]


def test_diff_of_a_battery_with_many_releases_asks_for_one(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, errors = run(capsys, "diff", str(two), str(two))

    assert status == 1
    assert "holds 2 releases (5.10.0, 6.1.0); name one" in errors


def test_diff_of_a_release_that_is_not_there_names_those_that_are(
    two: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, errors = run(capsys, "diff", f"{two}@7.0", f"{two}@6.1.0")

    assert status == 1
    assert "holds no release 7.0 (it has 5.10.0, 6.1.0)" in errors


def test_pack_unpack_and_verify_from_the_command_line(
    two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed, out = str(tmp_path / "b.tar.xz"), str(tmp_path / "out")

    assert run(capsys, "pack", str(two), "-o", packed)[0] == 0
    assert run(capsys, "unpack", packed, "-o", out)[0] == 0
    assert run(capsys, "verify", out)[1] == f"{out}: 3 objects, whole; not signed\n"
    (tmp_path / "out/extra").touch()
    status, _, errors = run(capsys, "verify", out)
    assert (status, errors) == (1, f"traceleft: {out}: extra: the manifest names no such file; remove it\n")


def test_unpack_with_a_key_refuses_what_is_not_signed(
    two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.battery.test_signature import write_keys

    private, public = write_keys(tmp_path / "own")
    run(capsys, "pack", str(two), "-o", str(tmp_path / "plain"))
    run(capsys, "sign", str(two), "--key", str(private))
    run(capsys, "pack", str(two), "-o", str(tmp_path / "signed"))

    refused = run(capsys, "unpack", str(tmp_path / "plain"), "-o", str(tmp_path / "a"), "--key", str(public))
    taken = run(capsys, "unpack", str(tmp_path / "signed"), "-o", str(tmp_path / "b"), "--key", str(public))

    assert (refused[0], (tmp_path / "a").exists()) == (1, False)
    assert "is not signed" in refused[2]
    assert (taken[0], (tmp_path / "b/manifest.sig").exists()) == (0, True)


def test_battery_of_another_machine_can_be_looked_at(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    forge(two, machine="s390x", byte_order="big")

    assert run(capsys, "list", str(two))[0] == 0
    assert run(capsys, "verify", str(two))[0] == 0
