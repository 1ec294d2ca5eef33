"""Builds: the same bytes everywhere, nothing compiled twice, all or nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from traceleft.battery import Battery
from traceleft.battery.builder import build as builder
from traceleft.battery.level import DEFAULT_LEVELS
from traceleft.battery.manifest import digest_of
from traceleft.battery.objects.elf import inspect_object
from traceleft.errors import BatteryError, CompileError, FormatError, TraceleftError, UnsupportedError
from traceleft.generator import generate

FORMATS = ROOT / "tests/data/formats/6.18.44.json.xz"
MACHINE = os.uname().machine

HEADER = """
#define SEC(name) __attribute__((section(name), used))
typedef unsigned long long u64;
struct slot { unsigned short offset, length; int status; };
struct event_header { u64 words[10]; };
struct { int (*type)[2]; int (*max_entries)[1]; unsigned *key; unsigned *value; } config SEC(".maps");
static u64 (*const pid_tgid)(void) = (void *)14;
"""
HANDLER = """
#include "include/own.h"
struct {event}_record {{ struct event_header header; u64 args[6]; {slots} }};
SEC("raw_tp") int raw_exit_{event}(struct {event}_record *record)
{{
	volatile u64 kept = record->args[0] + {value} + pid_tgid();
	(void)kept;
	return 0;
}}
SEC("kprobe") int kprobe_{event}(struct {event}_record *record)
{{
	volatile u64 kept = record->args[1] + {value};
	(void)kept;
	return 0;
}}
const char layout[] SEC(".traceleft.layout") = "{digest}";
"""
# The objects of this module use what kernels below 5.8 lack.
build = partial(builder.build, levels=["5.8"], foreign_sources=True)
CORE = """
#include "include/own.h"
SEC("raw_tp") int dispatch_exit(void *ctx) { return 0; }
SEC("tp") int on_fork(void *ctx) { return pid_tgid(); }
"""


def layout(event: str, slots: Sequence[str]) -> dict[str, object]:
    placed = [{"name": name, "offset": 128 + 8 * index, "at": "exit"} for index, name in enumerate(slots)]
    return {"fixed_size": 128 + 8 * len(slots), "args": 6, "slots": placed, "digest": digest_of(event.encode())}


def handler(event: str, slots: Sequence[str], value: int = 1) -> str:
    members = " ".join(f"struct slot {name};" for name in slots)
    return HANDLER.format(event=event, slots=members, value=value, digest=digest_of(event.encode()))


EVENTS = {"openat": ("filename",), "close": (), "connect": ("uservaddr",)}


def write_sources(directory: Path, *, release: str = "6.1.0", events: Sequence[str] = ("close", "openat")) -> Path:
    """Write what generate would, by hand."""
    schema = {
        "schema": 1,
        "machine": MACHINE,
        "byte_order": "little",
        "release": release,
        "events": {name: {"layout": layout(name, EVENTS[name]), "borrowed": name == "close"} for name in events},
    }
    (directory / "include").mkdir(parents=True)
    (directory / ".traceleft-generated").write_text("[]")
    (directory / "include/own.h").write_text(HEADER)
    (directory / "core.c").write_text(CORE)
    (directory / "schema.json").write_text(json.dumps(schema, sort_keys=True))
    for name in events:
        (directory / f"{name}.bpf.c").write_text(handler(name, EVENTS[name]))
    return directory


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    return write_sources(tmp_path / "sources")


@pytest.fixture
def battery(tmp_path: Path) -> Path:
    return tmp_path / "out" / "battery"


def tree(directory: Path) -> dict[str, bytes]:
    """Return every file of a directory, and its empty directories."""
    found = sorted(directory.rglob("*"))
    return {str(path.relative_to(directory)): path.read_bytes() if path.is_file() else b"" for path in found}


def test_battery_holds_what_was_generated(sources: Path, battery: Path) -> None:
    result = build(sources, battery)
    opened = Battery.open(battery)
    release = opened.select("6.1.0").release
    openat = opened.entry(release.events["openat"]["5.8"])

    assert (result.release, result.compiled, result.reused) == ("6.1.0", 3, 0)
    assert sorted(release.events) == ["close", "openat"]
    assert release.borrowed == ("close",)
    assert [(p.name, p.role, p.hook, p.section, p.helpers) for p in openat.programs] == [
        ("kprobe_openat", "kprobe", "kprobe", "kprobe", ()),
        ("raw_exit_openat", "raw_exit", "raw_tp", "raw_tp", (14,)),
    ]
    assert openat.layout == digest_of(b"openat")
    assert [p.role for p in opened.entry(release.core["5.8"]).programs] == ["dispatch_exit", "on_fork"]
    assert opened.schema("6.1.0") == json.loads((sources / "schema.json").read_text())


def test_objects_are_stripped_and_whole(sources: Path, battery: Path) -> None:
    build(sources, battery)
    opened = Battery.open(battery)

    for digest in opened.manifest.objects:
        facts = inspect_object(opened.object_bytes(digest))
        assert (facts.has_btf, facts.has_debug) == (True, False)


def test_two_builds_in_two_places_give_the_same_bytes(tmp_path: Path) -> None:
    for place in ("near", "far/away"):
        build(
            write_sources(tmp_path / place / "sources"), tmp_path / place / "battery", jobs=1 if place == "near" else 4
        )

    assert tree(tmp_path / "near/battery") == tree(tmp_path / "far/away/battery")


def test_unchanged_sources_compile_nothing_and_write_nothing(sources: Path, battery: Path) -> None:
    build(sources, battery)
    before = {path: path.stat().st_mtime_ns for path in battery.rglob("*") if path.is_file()}

    result = build(sources, battery)

    assert (result.compiled, result.reused) == (0, 3)
    assert {path: path.stat().st_mtime_ns for path in battery.rglob("*") if path.is_file()} == before


def test_changed_source_alone_is_compiled_and_its_old_object_goes(sources: Path, battery: Path) -> None:
    build(sources, battery)
    (sources / "openat.bpf.c").write_text(handler("openat", ("filename",), value=2))

    result = build(sources, battery)

    assert (result.compiled, result.reused) == (1, 2)
    assert len(list(battery.rglob("*.o"))) == 3


def test_changed_header_compiles_all(sources: Path, battery: Path) -> None:
    build(sources, battery)
    (sources / "include/own.h").write_text(HEADER + "/* changed */\n")

    assert build(sources, battery).compiled == 3


def test_damaged_or_missing_object_is_made_again(sources: Path, battery: Path) -> None:
    build(sources, battery)
    whole = tree(battery)
    damaged, missing, _ = sorted(battery.rglob("*.o"))
    damaged.write_bytes(b"damaged")
    missing.unlink()

    assert build(sources, battery).compiled == 2
    assert tree(battery) == whole


def test_other_releases_stay_and_share_objects(tmp_path: Path, battery: Path) -> None:
    build(write_sources(tmp_path / "old", release="5.10.0"), battery)

    result = build(write_sources(tmp_path / "new", release="6.1.0", events=("close", "connect")), battery)

    opened = Battery.open(battery)
    assert opened.releases == ("5.10.0", "6.1.0")
    assert (result.compiled, result.reused) == (1, 2)
    assert opened.release("5.10.0").events["close"] == opened.release("6.1.0").events["close"]
    assert len(list(battery.rglob("*.o"))) == len(opened.manifest.objects) == 4


def test_levels_that_give_the_same_bytes_share_an_object(sources: Path, battery: Path) -> None:
    for path in (sources / "core.c", *sources.glob("*.bpf.c")):
        path.write_text(path.read_text().replace("raw_tp", "kprobe").replace('"tp"', '"kprobe"'))

    result = build(sources, battery, levels=["4.11", "4.4"])

    opened = Battery.open(battery)
    release = opened.release("6.1.0")
    assert (result.compiled, len(opened.manifest.objects), len(list(battery.rglob("*.o")))) == (6, 3, 3)
    assert release.events["openat"]["4.4"] == release.events["openat"]["4.11"]
    assert {frozenset(entry.sources) for entry in opened.manifest.objects.values()} == {frozenset({"4.4", "4.11"})}
    assert {entry.floor for entry in opened.manifest.objects.values()} == {"4.4"}
    assert build(sources, battery, levels=["4.4", "4.11"]).reused == 6


def test_levels_of_an_earlier_build_stay_while_their_sources_are_the_same(sources: Path, battery: Path) -> None:
    build(sources, battery, levels=["5.8", "4.18"])
    build(sources, battery)

    assert set(Battery.open(battery).release("6.1.0").core) == {"5.8", "4.18"}

    (sources / "core.c").write_text((sources / "core.c").read_text() + "/* another */")
    build(sources, battery)

    assert {tuple(entry.sources) for entry in Battery.open(battery).manifest.objects.values()} == {("5.8",)}


def test_every_level_is_built_by_default() -> None:
    assert DEFAULT_LEVELS == ("4.4", "4.11", "4.18", "5.8")


def test_tracepoints_are_left_out_of_levels_that_cannot_attach_to_them(tmp_path: Path) -> None:
    generate(FORMATS, expressions=["close", "sched:sched_process_exit"], output=tmp_path / "sources")

    build(tmp_path / "sources", tmp_path / "battery", levels=["4.4", "4.11"])

    events = Battery.open(tmp_path / "battery").release("6.18.44").events
    assert (set(events["close"]), set(events["sched:sched_process_exit"])) == ({"4.4", "4.11"}, {"4.11"})


LOOP = "for (u64 i = 0; i < *(volatile u64 *)record->args; i++) record->args[2] += i;"


@pytest.mark.parametrize(
    ("level", "old", "new", "complaint"),
    [
        (
            "4.4",
            "",
            "",
            r"program raw_exit_\w+ has the type raw tracepoint, which needs 4\.17; level 4\.4 is for kernels",
        ),
        (
            "4.18",
            "return 0;",
            f"{LOOP} return 0;",
            r"has a loop, which needs 5\.3; level 4\.18 is for kernels from 4\.18",
        ),
        ("4.18", "pid_tgid()", "((u64 (*)(void))118)()", r"jiffies64 \(helper 118\), which needs 5\.10; level 4\.18"),
        (
            "4.18",
            "return 0;",
            f"{'pid_tgid();' * 4096} return 0;",
            r"has 4\d\d\d instructions, which needs 5\.2; level 4",
        ),
    ],
    ids=["program type", "loop", "helper", "length"],
)
def test_object_that_needs_more_than_its_level_fails_the_build(
    sources: Path, battery: Path, level: str, old: str, new: str, complaint: str
) -> None:
    path = sources / "openat.bpf.c"
    path.write_text(path.read_text().replace(old, new))
    (sources / "core.c").write_text(CORE.replace("raw_tp", "kprobe").replace('"tp"', '"kprobe"'))

    with pytest.raises(CompileError, match=complaint):
        build(sources, battery, levels=[level])

    assert not battery.exists()


def test_release_that_is_built_again_is_replaced(tmp_path: Path, battery: Path) -> None:
    build(write_sources(tmp_path / "all"), battery)
    build(write_sources(tmp_path / "one", events=("close",)), battery)

    assert sorted(Battery.open(battery).release("6.1.0").events) == ["close"]
    assert (len(list(battery.rglob("*.o"))), len(list(battery.glob("schemas/*")))) == (2, 1)


def test_progress_counts_to_the_end(sources: Path, battery: Path) -> None:
    seen: list[tuple[int, int]] = []
    build(sources, battery, progress=lambda done, total: seen.append((done, total)))

    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.fixture(params=["new", "existing"])
def prepared(request: pytest.FixtureRequest, tmp_path: Path, battery: Path) -> Path:
    """Return where a battery is to be: nothing there, or one of another release."""
    if request.param == "existing":
        build(write_sources(tmp_path / "before", release="5.10.0"), battery)
    return battery


def test_failed_build_leaves_the_battery_as_it_was(sources: Path, prepared: Path) -> None:
    before = tree(prepared.parent)
    (sources / "openat.bpf.c").write_text("int broken(void) { return nothing; }\n")

    with pytest.raises(CompileError) as caught:
        build(sources, prepared)

    log = prepared.with_name("battery.build.log")
    after = tree(prepared.parent)
    assert str(caught.value) == (f"openat.bpf.c:1:27: error: use of undeclared identifier 'nothing' (whole log: {log})")
    assert after.pop(log.name).decode() == caught.value.log
    assert after == before


def test_first_source_that_fails_is_named_whatever_ends_first(sources: Path, battery: Path) -> None:
    for name in ("close", "openat"):
        (sources / f"{name}.bpf.c").write_text("#error refused\n")

    for _ in range(3):
        with pytest.raises(CompileError, match=r"^close\.bpf\.c:1:2: error: refused"):
            build(sources, battery, jobs=4)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("u64 args[6];", "u64 args[5];", "its record's args is 40 bytes at 80, in the schema 48 bytes at 80"),
        ("struct slot filename;", "struct slot pathname;", "filename is not there"),
        ("struct slot filename;", "u64 pad; struct slot filename;", "filename is 8 bytes at 136"),
        ("struct slot filename;", "struct slot filename; u64 end;", "end is 8 bytes at 136, in the schema not there"),
        (digest_of(b"openat"), digest_of(b"stale"), "its layout is not the schema's"),
        ("raw_exit_openat", "raw_middle_openat", "program raw_middle_openat must be one of raw_enter_openat"),
        ("raw_exit_openat", "raw_exit_close", "program raw_exit_close must be one of"),
        (
            "pid_tgid()",
            "((u64 (*)(void))180)()",
            r"find_vma \(helper 180\), which needs 5.17; level 5.8 is for kernels from 5.8 on",
        ),
        ("openat_record", "other_record", "no struct openat_record"),
    ],
)
def test_object_that_does_not_fit_the_schema_fails_the_build(
    sources: Path, battery: Path, old: str, new: str, complaint: str
) -> None:
    path = sources / "openat.bpf.c"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))

    with pytest.raises(CompileError, match=complaint):
        build(sources, battery)


def test_directory_that_generate_did_not_make_is_refused(tmp_path: Path, battery: Path) -> None:
    for path, complaint in ((tmp_path / "nowhere", "no such directory"), (tmp_path, "did not make this directory")):
        with pytest.raises(FormatError, match=complaint):
            build(path, battery)

    assert not battery.parent.exists()


@pytest.mark.parametrize("name", ["schema.json", "core.c", "openat.bpf.c"])
def test_missing_part_of_the_sources_is_named(sources: Path, battery: Path, name: str) -> None:
    (sources / name).unlink()

    with pytest.raises(FormatError, match=f"{name}: cannot be read: no such file or directory; generate again"):
        build(sources, battery)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 100_000,
        '{"schema": 2}',
        '{"schema":1,"machine":"x","byte_order":"little","release":"../x","events":{}}',
        '{"schema":1,"machine":"x","byte_order":"little","release":"x","events":{"../../x":{}}}',
    ],
    ids=["empty", "list", "deep", "newer", "release", "event"],
)
def test_hostile_schema_is_refused_in_one_line(sources: Path, battery: Path, text: str) -> None:
    (sources / "schema.json").write_text(text)

    with pytest.raises(FormatError) as caught:
        build(sources, battery)

    assert str(caught.value).isprintable()


def test_unknown_level_is_refused(sources: Path, battery: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"level 3\.10: this traceleft builds 4\.4, 4\.11, 4\.18, 5\.8"):
        build(sources, battery, levels=("3.10",))


def test_directory_with_foreign_files_is_refused_and_kept(sources: Path, battery: Path) -> None:
    battery.mkdir(parents=True)
    (battery / "thesis.txt").write_text("years of work")

    with pytest.raises(BatteryError, match=r"not empty \(it has 'thesis\.txt'\)"):
        build(sources, battery)

    assert tree(battery) == {"thesis.txt": b"years of work"}


def test_file_in_the_battery_s_place_is_refused(sources: Path, battery: Path) -> None:
    battery.parent.mkdir()
    battery.write_text("a file")

    with pytest.raises(BatteryError, match="not a directory"):
        build(sources, battery)


@pytest.mark.parametrize("manifest", ['{"schema": 2}', "damaged"])
def test_battery_that_cannot_be_read_is_not_overwritten(sources: Path, battery: Path, manifest: str) -> None:
    build(sources, battery)
    (battery / "manifest.json").write_text(manifest)
    before = tree(battery)

    with pytest.raises(BatteryError):
        build(sources, battery)

    assert tree(battery) == before


def test_sources_for_another_machine_do_not_mix(sources: Path, battery: Path) -> None:
    build(sources, battery)
    schema = (sources / "schema.json").read_text()
    (sources / "schema.json").write_text(schema.replace(MACHINE, "aarch64"))

    with pytest.raises(BatteryError, match=f"made for {MACHINE}, the sources are for aarch64"):
        build(sources, battery)


def test_leftovers_of_a_killed_build_go(sources: Path, battery: Path) -> None:
    (battery / ".building").mkdir(parents=True)
    (battery / ".building/0.o").write_bytes(b"half")
    (battery / "objects/00").mkdir(parents=True)
    (battery / "objects/00/00.o").write_bytes(b"unnamed")

    build(sources, battery)

    assert not (battery / ".building").exists()
    assert not (battery / "objects/00").exists()


def test_builds_at_the_same_time_wait_for_each_other(tmp_path: Path, battery: Path) -> None:
    releases = ["5.10.0", "5.15.0", "6.1.0", "6.12.0"]
    trees = [write_sources(tmp_path / release, release=release) for release in releases]
    threads = [threading.Thread(target=build, args=(each, battery)) for each in trees]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert Battery.open(battery).releases == tuple(releases)
    assert not (battery / ".building").exists()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "term"])
def test_interrupted_build_leaves_the_battery_as_it_was(
    sources: Path, prepared: Path, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    before = tree(prepared.parent) if prepared.parent.exists() else None
    slow = slow_clang(tmp_path)
    program = (
        "import sys; from pathlib import Path; from traceleft.battery.builder.build import build\n"
        "try: build(Path(sys.argv[1]), Path(sys.argv[2]), foreign_sources=True)\n"
        "except KeyboardInterrupt: sys.exit(130)\n"
    )
    command = [sys.executable, "-c", program, str(sources), str(prepared)]
    environment = os.environ | {"TRACELEFT_CLANG": str(slow), "PYTHONPATH": str(ROOT)}

    with subprocess.Popen(command, env=environment) as process:
        wait_for(slow.with_name("started"))
        process.send_signal(number)

        assert process.wait(120) == status
    assert (tree(prepared.parent) if prepared.parent.exists() else None) == before
    assert not is_alive(int(slow.with_name("started").read_text()))


def slow_clang(directory: Path) -> Path:
    """Write a clang that answers for its version, and then never ends."""
    path = directory / "slow" / "clang"
    path.parent.mkdir()
    path.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = --version ]; then echo clang version 14.0.6; exit; fi\n'
        f"echo $$ > {path.parent}/begun; mv {path.parent}/begun {path.parent}/started; sleep 60\n"
    )
    path.chmod(0o755)
    return path


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never appeared"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z"


@pytest.fixture(params=[12, 16, 24], ids=lambda kib: f"{kib}K")
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Mount a file system too small for a battery."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={request.param}k", "nodev", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.kernel
def test_full_disk_is_told_in_one_line_and_leaves_nothing(sources: Path, small_disk: Path) -> None:
    (small_disk / "filler").write_bytes(b"x" * 4096)

    with pytest.raises(TraceleftError, match="no space left on the device; free some and try again"):
        build(sources, small_disk / "battery")

    assert sorted(tree(small_disk)) == ["filler"]


@pytest.mark.kernel
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_disk_that_fills_while_publishing_leaves_the_battery_as_it_was(tmp_path: Path, share: float) -> None:
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "nodev", place], check=True)
    try:
        build(write_sources(tmp_path / "first", events=("close",)), place / "battery")
        before = tree(place / "battery")
        free = shutil.disk_usage(place).free
        (place / "filler").write_bytes(b"x" * int(free * share))
        outcome = try_build(write_sources(tmp_path / "second", release="6.12.0", events=("connect", "openat")), place)
        after = tree(place / "battery")
    finally:
        subprocess.run(["umount", place], check=True)

    assert (after == before) == (outcome is not None)
    assert outcome is None or "no space left on the device" in outcome


def try_build(sources: Path, place: Path) -> str | None:
    try:
        build(sources, place / "battery")
    except TraceleftError as error:
        return str(error)
    return None


def test_place_that_cannot_be_written_is_told(sources: Path) -> None:
    with pytest.raises(BatteryError, match=r"^/sys/battery: (permission denied|operation not permitted|read-only)"):
        build(sources, Path("/sys/battery"))
