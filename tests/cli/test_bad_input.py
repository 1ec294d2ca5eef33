"""What bad input gets where neither root nor a kernel is needed: one line, its status, and nothing left behind."""

import gzip
import hashlib
import json
import lzma
import os
import resource
import shutil
import signal
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.paths import TESTS
from tests.support.refusals import Place, assert_one_line, session_members, tree
from traceleft.battery import Battery
from traceleft.battery.builder.build import build
from traceleft.errors import BatteryError
from traceleft.expression import Catalogue, select
from traceleft.generator import generate
from traceleft.generator.output_directory import RECORD

SNAPSHOT = TESTS / "data" / "formats" / "6.18.44.json.xz"
DOCUMENT = json.loads(lzma.decompress(SNAPSHOT.read_bytes()))
OPENAT = DOCUMENT["formats"]["syscalls/sys_enter_openat"].encode()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    directory = tmp_path / "place"
    directory.mkdir()
    return Place(directory)


def lay_out(place: Place, data: bytes = OPENAT) -> Path:
    """Make a directory like tracefs's with the format of one syscall; return that file."""
    for name in ("enter", "exit"):
        event = place.directory / "formats" / "syscalls" / f"sys_{name}_openat"
        event.mkdir(parents=True)
        (event / "format").write_text(DOCUMENT["formats"][f"syscalls/{event.name}"])
    file = place.directory / "formats/syscalls/sys_enter_openat/format"
    file.write_bytes(data)
    return file


BYTES = {
    "empty": (b"", "format: is empty"),
    "blank": (b"\n \n", "format: is empty"),
    "cut in a field": (OPENAT[: len(OPENAT) // 2], "format:10: field has no size"),
    "cut at the end": (OPENAT[:-1], "format:15: is cut off"),
    "binary": (bytes(range(256)), "format:"),
    "nul": (OPENAT.replace(b"dfd", b"d\0d", 1), "format:10: is not text"),
    "another encoding": (OPENAT.replace(b"filename", b"file\xffname", 1), "format:11: is not text"),
    "terminal escape": (OPENAT.replace(b"filename", b"\x1b[31mname", 1), "format:11: field has no type and name"),
    "unknown type": (OPENAT.replace(b"umode_t", b"brand_new_t", 1), "format:13: type `brand_new_t` is unknown"),
    "pointers without end": (OPENAT.replace(b"char *", b"char " + b"*" * 900, 1), "format:11: type is longer"),
    "brackets without end": (OPENAT.replace(b"char * f", b"char " + b"(" * 90 + b"f", 1), "format:11: "),
    "offset beyond numbers": (OPENAT.replace(b"offset:16", b"offset:99999999999", 1), "format:10: field has no number"),
    "offset below zero": (OPENAT.replace(b"offset:16", b"offset:-16", 1), "format:10: field has no number"),
    "two in one place": (OPENAT.replace(b"offset:24", b"offset:16", 1), "does not lie where the one before it ends"),
    "argument of three bytes": (OPENAT.replace(b"size:8", b"size:3"), "has 3 bytes, a register has 8"),
    "name twice": (OPENAT.replace(b"filename", b"dfd"), "has `dfd` twice"),
    "another event": (OPENAT.replace(b"sys_enter_openat", b"sys_enter_close", 1), "format:1: is the format of"),
    "lines without end": (OPENAT * 5000, "format: is longer than"),
}


@pytest.mark.parametrize(("data", "words"), BYTES.values(), ids=BYTES.keys())
def test_damaged_format_is_told_with_its_place(place: Place, data: bytes, words: str) -> None:
    lay_out(place, data)

    place.refuse("generate", "--formats", "formats", "-o", "out", words=words)


def steps(*actions: Callable[[Path], object]) -> Callable[[Path], None]:
    """Return what does one thing after the other to a path."""

    def take(path: Path) -> None:
        for action in actions:
            action(path)

    return take


def make_enormous(file: Path) -> None:
    file.unlink()
    with file.open("wb") as sparse:
        sparse.truncate(100_000_000)


def replace(make: Callable[[Path], object]) -> Callable[[Path], None]:
    return steps(Path.unlink, make)


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "enormous": (make_enormous, "is longer than 1048576 bytes"),
    "fifo": (replace(os.mkfifo), "is not a regular file"),
    "directory": (replace(Path.mkdir), "cannot be read: is a directory"),
    "link to itself": (replace(lambda file: file.symlink_to(file)), "cannot be read: too many levels of symbolic"),
    "link to nothing": (replace(lambda file: file.symlink_to("/nosuch")), "cannot be read: no such file"),
    "device without end": (replace(lambda file: file.symlink_to("/dev/zero")), "is not a regular file"),
}


@pytest.mark.parametrize(("make", "words"), FILES.values(), ids=FILES.keys())
def test_format_that_is_no_plain_file_is_refused_and_not_waited_for(
    place: Place, make: Callable[[Path], object], words: str
) -> None:
    make(lay_out(place))

    place.refuse("generate", "--formats", "formats", "-o", "out", words=f"sys_enter_openat/format: {words}")


def make_recursive(path: Path) -> None:
    (path / "events").mkdir(parents=True)
    (path / "events" / "syscalls").symlink_to("..")
    (path / "events" / "loop").symlink_to("loop")


PLACES: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda path: None, "cannot be read: no such file"),
    "empty": (Path.mkdir, "has no event formats in it"),
    "links in a ring": (make_recursive, "has no event formats in it"),
    "link to itself": (lambda path: path.symlink_to(path), "cannot be read: too many levels of symbolic links"),
    "fifo": (os.mkfifo, "is not a regular file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "is not a regular file"),
}


@pytest.mark.parametrize(("make", "words"), PLACES.values(), ids=PLACES.keys())
def test_place_without_formats_is_told(place: Place, make: Callable[[Path], object], words: str) -> None:
    make(place.directory / "input")

    place.refuse("generate", "--formats", "input", "-o", "out", words=f"input: {words}")


def snapshot(**changes: object) -> bytes:
    return gzip.compress(json.dumps({**DOCUMENT, **changes}).encode(), mtime=0)


def bomb() -> bytes:
    """A gigabyte of zeros: sixteen members of 64 MiB."""
    packer = zlib.compressobj(9, wbits=31)
    return (packer.compress(bytes(64 << 20)) + packer.flush()) * 16


def xz_that_wants_memory() -> bytes:
    """An xz file whose header asks for a window of nearly 4 GiB."""
    data = bytearray(lzma.compress(b"{}"))
    start, size = 12, (data[12] + 1) * 4
    data[data.index(b"\x21\x01", start) + 2] = 39
    data[start + size - 4 : start + size] = struct.pack("<I", zlib.crc32(data[start : start + size - 4]))
    return bytes(data)


SNAPSHOTS: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "is not a snapshot"),
    "text": (lambda: b"hello", "is not a snapshot"),
    "cut": (lambda: snapshot()[:-20], "cannot be decompressed"),
    "changed": (lambda: snapshot()[:5000] + b"\0\0" + snapshot()[5002:], "cannot be decompressed"),
    "bomb": (bomb, "is longer than 67108864 bytes when decompressed"),
    "window": (xz_that_wants_memory, "cannot be decompressed: memory usage limit exceeded"),
    "newer": (lambda: snapshot(snapshot=2), "is a snapshot of version 2"),
    "deep": (lambda: b'{"a":' * 2_000_000, "is not a snapshot"),
    "list": (lambda: b"[]", "is not a snapshot"),
    "another machine": (lambda: snapshot(machine="vax"), "there are tables for x86_64 only"),
    "path in the release": (lambda: snapshot(release="../../etc"), "names no kernel release"),
    "path in a name": (lambda: snapshot(formats={"../../x/y": "a"}), "has a format whose key is not category/event"),
    "no formats": (lambda: snapshot(formats={}), "has no event formats"),
    "no syscalls": (lambda: snapshot(formats={"sched/x": "a"}), "has no syscalls"),
}


@pytest.mark.parametrize(("make", "words"), SNAPSHOTS.values(), ids=SNAPSHOTS.keys())
def test_bad_snapshot_is_told(place: Place, make: Callable[[], bytes], words: str) -> None:
    (place.directory / "input").write_bytes(make())

    place.refuse("generate", "--formats", "input", "-o", "out", words=words)


CONFIGS = {
    "unknown key": ('events = ["openat"]\nevnts = []\n', "config:2: unknown key 'evnts'; nearest: events"),
    "unknown event": ('events = [\n "openat",\n "opnat"]\n', "config:3: no event is named 'opnat'; nearest: openat"),
    "unknown class": ('events = ["%netwrk"]\n', "config:1: no class is named '%netwrk'; nearest: %network"),
    "unknown argument": ("[event.openat]\narguments = ['flename']\n", "config:2: openat has no argument 'flename'"),
    "unknown table": ("[event.opnat]\narguments = []\n", "config:1: no event is named 'opnat'; nearest: openat"),
    "no list": ('events = "openat"\n', "config:1: `events` must be a list of names"),
    "no event": ("\nevents = []\n", "config:2: `events` names no event"),
    "no TOML": ("events = [\n", "config:2: is not TOML"),
    "deep": ("a = " + "[" * 100_000, "config: is nested too deeply"),
    "slow pattern": (f'events = ["/{"(.|.)" * 25}Q/"]\n', "config:1: /(.|.)"),
}


@pytest.mark.parametrize(("text", "words"), CONFIGS.values(), ids=CONFIGS.keys())
def test_bad_configuration_is_told_with_its_line(place: Place, text: str, words: str) -> None:
    (place.directory / "config").write_text(text)

    place.refuse("generate", "--formats", SNAPSHOT, "--config", "config", "-o", "out", words=words)


@pytest.mark.parametrize("kind", ["nothing", "directory", "fifo"])
def test_configuration_that_is_no_file_is_told(place: Place, kind: str) -> None:
    path = place.directory / "config"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)

    place.refuse("generate", "--formats", SNAPSHOT, "--config", "config", "-o", "out", words="traceleft: config: ")


EXPRESSIONS = {
    "unknown event": ("opnat", "no event is named 'opnat'; nearest: openat"),
    "unknown tracepoint": ("sched:sched_swich", "nearest: sched:sched_switch"),
    "unknown class": ("%netwrk", "no class is named '%netwrk'; nearest: %network"),
    "open bracket": ("/(/", "is not a regular expression of RE2"),
    "open regex": ("/a", "without its second slash"),
    "slow regex": ("/" + ".*" * 20 + "Q/", "matches no event"),
    "regex that RE2 has not": ("/(?=open)/", "is not a regular expression of RE2: invalid perl operator"),
    "nothing": ("", "has an empty name in it"),
    "nothing chosen": ("!/./", "choose no event"),
    "two lines": ("open\nat", "no event is named 'open\\nat'"),
    "terminal escape": ("\x1b[31m", "no event is named '\\x1b[31m'"),
    "odd bytes": (os.fsdecode(b"\xff\xc3"), "no event is named"),
    "long": ("x" * 100_000, "event expression is too long"),
}


@pytest.mark.parametrize(("expression", "words"), EXPRESSIONS.values(), ids=EXPRESSIONS.keys())
def test_bad_expression_is_a_usage_error(place: Place, expression: str, words: str) -> None:
    place.refuse("generate", "--formats", SNAPSHOT, "-e", expression, "-o", "out", words=words, status=2)


def test_message_survives_a_terminal_that_shows_ascii_only(tmp_path: Path) -> None:
    place = Place(tmp_path, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LANG": "C"})
    name = os.fsdecode(b"nosuch-\xff-\xc3\xa9")

    place.refuse("generate", "--formats", name, "-o", "out", words="nosuch-")
    place.refuse("generate", "--formats", SNAPSHOT, "-e", "é", "-o", "out", words="no event is named", status=2)


def test_many_names_take_time_in_proportion() -> None:
    names = [f"call_{number}" for number in range(5_000)]
    catalogue = Catalogue(frozenset(names))
    begun = time.process_time()

    chosen = select(names, catalogue, default=names)
    rest = select([f"!{name}" for name in names[1:]], catalogue, default=names)
    listed = select([",".join(names)], catalogue, default=names)

    assert chosen == listed == tuple(sorted(names))
    assert rest == ("call_0",)
    # Each name against each other would take minutes. Only its own CPU time counts: the machine may be busy.
    assert time.process_time() - begun < 20


OUTPUTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "file": (lambda path: path.write_text("mine"), "not a directory"),
    "link to itself": (lambda path: path.symlink_to(path), "cannot write what was generated"),
    "fifo": (os.mkfifo, "not a directory"),
    "foreign files": (
        steps(Path.mkdir, lambda path: (path / "mine").touch()),
        "mine: not written by traceleft generate",
    ),
    "record that never ends": (steps(Path.mkdir, lambda path: os.mkfifo(path / RECORD)), "unreadable"),
    "record of files elsewhere": (
        steps(Path.mkdir, lambda path: (path / RECORD).write_text('{"../x": ""}')),
        "names files elsewhere",
    ),
}


@pytest.mark.parametrize(("make", "words"), OUTPUTS.values(), ids=OUTPUTS.keys())
def test_output_that_is_not_ours_is_refused(place: Place, make: Callable[[Path], object], words: str) -> None:
    make(place.directory / "out")

    place.refuse("generate", "--formats", SNAPSHOT, "-e", "close", "-o", "out", words=words)


@pytest.mark.parametrize("output", ["/proc/nosuch", "/dev/null/out", "x" * 300, "nosuch/" * 700])
def test_output_that_cannot_be_made_is_told(place: Place, output: str) -> None:
    words = "cannot write what was generated"

    place.refuse("generate", "--formats", SNAPSHOT, "-e", "close", "-o", output, words=words)


def small_files() -> None:
    """Let no file grow beyond some bytes, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))


def test_generated_sources_that_find_no_room_are_taken_back(place: Place) -> None:
    words = "out/deeper: cannot write what was generated"

    place.refuse("generate", "--formats", SNAPSHOT, "-o", "out/deeper", words=words, limit=small_files)


def test_generated_sources_stay_whole_where_new_ones_find_no_room(place: Place) -> None:
    place.run("generate", "--formats", SNAPSHOT, "-e", "close", "-o", "out")
    before = {path: path.read_bytes() for path in place.directory.rglob("*.c")}

    done = place.run("generate", "--formats", SNAPSHOT, "-o", "out", limit=small_files)

    assert_one_line(done, status=1, words="out: cannot write what was generated")
    assert {path: path.read_bytes() for path in place.directory.rglob("*.c")} == before


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sources") / "generated"
    generate(SNAPSHOT, expressions=["openat", "close"], output=path)
    return path


def fake_clang(place: Place, script: str, *, version: str = "clang version 14.0.6") -> Place:
    """Put a clang into the place that answers for its version and else does this."""
    file = place.directory / "clang"
    file.write_text(f'#!/bin/sh\n[ "$1" = --version ] && {{ echo "{version}"; exit; }}\n{script}\n')
    file.chmod(0o755)
    return Place(place.directory, {"TRACELEFT_CLANG": str(file)})


def test_missing_clang_names_the_remedy(place: Place, sources: Path) -> None:
    empty = Place(place.directory, {"PATH": str(place.directory)})

    empty.refuse("build", sources, "-o", "battery", words="clang is not installed: install it with: apt-get install")


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("clang version 7.0.1", "is version 7, 12 or later is needed"),
        ("gcc 12", "does not tell a clang version"),
        ("", "does not tell a clang version"),
    ],
)
def test_compiler_that_does_not_serve_names_the_remedy(place: Place, sources: Path, version: str, words: str) -> None:
    fake_clang(place, "", version=version).refuse("build", sources, "-o", "battery", words=words)


CLANGS = {
    "crash": ("kill -SEGV $$", "killed by signal 11"),
    "failure without a word": ("exit 3", "ended with status 3"),
    "success without an object": ("exit 0", "made no object"),
}


@pytest.mark.parametrize(("script", "words"), CLANGS.values(), ids=CLANGS.keys())
def test_compiler_that_breaks_down_is_told_and_no_battery_is_left(
    place: Place, sources: Path, script: str, words: str
) -> None:
    fake_clang(place, script).refuse("build", sources, "-o", "battery", words=words)


def test_compiler_s_whole_log_is_kept_beside_the_battery(place: Place, sources: Path) -> None:
    script = "echo 'core.c:1:1: error: telling' >&2; echo 'core.c:2:1: error: more' >&2; exit 1"

    done = fake_clang(place, script).run("build", sources, "-o", "battery")

    assert_one_line(done, status=1, words="core.c:1:1: error: telling")
    assert "error: more" in (place.directory / "battery.build.log").read_text()
    assert not (place.directory / "battery").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_build_that_is_ended_by_a_signal_ends_its_compilers_and_leaves_nothing(
    place: Place, sources: Path, number: signal.Signals
) -> None:
    slow = fake_clang(place, f"touch {place.directory}/begun; sleep 100")
    before = tree(place.directory)
    process = slow.start("build", sources, "-o", "battery")
    while not (place.directory / "begun").exists():
        assert process.poll() is None
        time.sleep(0.01)

    process.send_signal(number)
    output, errors = process.communicate(timeout=120)
    (place.directory / "begun").unlink()

    assert (process.returncode, output, errors) == (128 + number, "", "")
    assert session_members(process.pid) == []
    assert [line for line in session_sleepers(place) if line] == []
    assert tree(place.directory) == before


def session_sleepers(place: Place) -> list[str]:
    """Return the command lines of what our slow compiler has left, whatever its session."""
    mark = str(place.directory)
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            lines.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return [line for line in lines if f"{mark}/clang" in line]


def test_disk_that_is_full_fails_a_build_and_leaves_nothing(place: Place, sources: Path) -> None:
    done = place.run("build", sources, "-o", "battery", limit=small_files)

    assert done.returncode == 1
    assert done.stderr.startswith("traceleft: ")
    assert not (place.directory / "battery").exists()


@pytest.mark.parametrize("name", ["schema.json", "core.c", "openat.bpf.c", "include/maps.h"])
def test_source_that_is_a_fifo_is_refused_and_not_waited_for(place: Place, sources: Path, name: str) -> None:
    shutil.copytree(sources, place.directory / "sources")
    (place.directory / "sources" / name).unlink()
    os.mkfifo(place.directory / "sources" / name)

    place.refuse("build", "sources", "-o", "battery", words=f"sources/{name}: ")


@pytest.mark.parametrize("output", ["/proc/nosuch", "/dev/null/battery", "sources/schema.json", "loop"])
def test_battery_that_cannot_be_made_is_told(place: Place, sources: Path, output: str) -> None:
    shutil.copytree(sources, place.directory / "sources")
    (place.directory / "loop").symlink_to("loop")

    place.refuse("build", "sources", "-o", output, words=f"traceleft: {output}: ")


@pytest.fixture(scope="module")
def made(sources: Path) -> Path:
    """A sound battery."""
    path = sources.parent / "battery"
    build(sources, path, levels=["5.8"])
    return path


@pytest.fixture
def battery(made: Path, place: Place) -> Path:
    """A battery of one's own to damage."""
    return Path(shutil.copytree(made, place.directory / "battery"))


def sign(document: dict[str, object]) -> bytes:
    """Return a manifest's bytes with the digest that they should have."""
    document.pop("digest", None)
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    document["digest"] = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def in_place_of(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Return what replaces a file of a battery; ``*`` stands for any."""

    def damage(battery: Path) -> None:
        file = sorted(each for each in battery.glob(name) if each.is_file())[0]
        file.unlink()
        make(file)

    return damage


def write(data: bytes) -> Callable[[Path], object]:
    return lambda file: file.write_bytes(data)


def change(**values: object) -> Callable[[Path], None]:
    """Return what changes the manifest and signs it again."""

    def damage(battery: Path) -> None:
        file = battery / "manifest.json"
        file.write_bytes(sign({**json.loads(file.read_bytes()), **values}))

    return damage


MANIFEST, SCHEMA = "manifest.json", "schemas/*"
DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no battery": (shutil.rmtree, "battery: no such battery; make one with: traceleft build"),
    "empty": (steps(shutil.rmtree, Path.mkdir), "battery: no battery (it has no manifest.json)"),
    "a file": (steps(shutil.rmtree, Path.touch), "not a directory"),
    "link to itself": (steps(shutil.rmtree, lambda path: path.symlink_to(path)), "symbolic link"),
    "another machine": (change(machine="s390x"), "made for s390x, this is"),
    "another byte order": (change(byte_order="big"), "byte order is big"),
    "newer schema": (change(schema=2, brand_new={}), "made by a newer traceleft (schema 2); update traceleft"),
    "unknown key": (change(brand_new={}), "unknown field `brand_new`"),
    "no release": (change(releases={}), "holds no release"),
    "no objects": (change(objects={}), "its object is not in the manifest"),
    "manifest missing": (in_place_of(MANIFEST, lambda file: None), "it has no manifest.json"),
    "manifest empty": (in_place_of(MANIFEST, write(b"")), "damaged manifest"),
    "manifest of nuls": (in_place_of(MANIFEST, write(bytes(1000))), "damaged manifest"),
    "manifest deep": (in_place_of(MANIFEST, write(b'{"schema":1,"a":' * 100_000)), "damaged manifest"),
    "manifest with a huge number": (in_place_of(MANIFEST, write(b'{"schema":' + b"9" * 100_000)), "damaged manifest"),
    "manifest enormous": (in_place_of(MANIFEST, lambda file: os.truncate(os.open(file, 65), 1 << 30)), "larger than"),
    "manifest a directory": (in_place_of(MANIFEST, Path.mkdir), "is a directory"),
    "manifest a fifo": (in_place_of(MANIFEST, os.mkfifo), "not a regular file"),
    "manifest a ring": (in_place_of(MANIFEST, lambda file: file.symlink_to(file)), "symbolic link"),
    "manifest a device": (in_place_of(MANIFEST, lambda file: file.symlink_to("/dev/zero")), "symbolic link"),
    "schema missing": (in_place_of(SCHEMA, lambda file: None), "is missing; build the battery again"),
    "schema empty": (in_place_of(SCHEMA, write(b"")), "wrong digest"),
    "schema a fifo": (in_place_of(SCHEMA, os.mkfifo), "not a regular file"),
    "schema a directory": (in_place_of(SCHEMA, Path.mkdir), "is a directory"),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGE.values(), ids=DAMAGE.keys())
def test_battery_that_does_not_serve_is_told_and_none_is_built(
    place: Place, battery: Path, damage: Callable[[Path], object], words: str
) -> None:
    damage(battery)

    place.refuse("trace", "--battery", "battery", "--", "true", words=words)


@pytest.mark.parametrize("part", ["manifest.json", "schemas/*.json", "objects/*/*.o"])
def test_no_changed_bit_of_a_battery_goes_unseen(battery: Path, part: str) -> None:
    file = sorted(battery.glob(part))[0]
    data = file.read_bytes()
    for bit in range(0, len(data) * 8, max(1, len(data) * 8 // 200) | 1):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)

        with pytest.raises(BatteryError) as caught:
            read_whole(battery)

        assert "\n" not in str(caught.value)


def read_whole(path: Path) -> None:
    battery = Battery.open(path)
    for digest in battery.manifest.objects:
        battery.object_bytes(digest)
    for release in battery.releases:
        battery.schema(release)


def test_damaged_battery_is_not_built_upon(place: Place, battery: Path, sources: Path) -> None:
    (battery / "manifest.json").write_bytes((battery / "manifest.json").read_bytes()[:-9])

    place.refuse("build", sources, "-o", "battery", words="remove the battery and build it again")


@pytest.mark.parametrize("command", ["list", "doctor"])
@pytest.mark.parametrize("closed", [0, 1, 2])
def test_closed_stream_is_no_traceback(place: Place, command: str, closed: int) -> None:
    done = place.run(command, before=["sh", "-c", f'exec "$@" {closed}>&-', "sh"])

    assert done.returncode in (0, 1)
    assert "Traceback" not in done.stderr
    assert tree(place.directory) == {}
