"""Batteries tried on kernels: what the guest is given, what it may tell, and what is kept of that."""

import io
import json
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.batteries import write_battery
from traceleft.battery import Battery
from traceleft.battery.guest import boot as guest
from traceleft.battery.guest.boot import find_libraries, find_modules, lay_out, open_guest
from traceleft.battery.guest.cpio import Entry, write_image
from traceleft.battery.guest.kernel_image import find_images, read_kernel, release_of
from traceleft.battery.guest.qualify import add_evidence, qualify_kernel, read_seen
from traceleft.battery.manifest import objects_digest
from traceleft.battery.verify import verify_battery
from traceleft.cli.main import main
from traceleft.errors import TraceleftError, UnsupportedError
from traceleft.tracer import _native

LINE = {
    "kernel": "5.4.59",
    "machine": "x86_64",
    "date": "2026-11-22",
    "release": "6.1.0",
    "level": "5.8",
    "hook": "kprobe",
    "status": "ok",
    "why": "",
    "built": 3,
    "loaded": 3,
    "attached": 2,
    "made": 9,
    "delivered": 9,
    "left_out": ["close"],
    "problems": [],
}
KERNEL = bytes(0x202) + b"HdrS" + bytes(100)


def kernel_of(release: str, *, flags: int = 1) -> bytes:
    """Return the header of an image of version 2.12 that states a release."""
    image = bytearray(KERNEL)
    image[0x206:0x208] = (0x20C).to_bytes(2, "little")
    image[0x20E:0x210] = (len(KERNEL) - 0x200).to_bytes(2, "little")
    image[0x236:0x238] = flags.to_bytes(2, "little")
    return bytes(image) + release.encode() + b" (someone@somewhere) #1 SMP\0"


END = '{"end": 0}'


@pytest.fixture
def battery(tmp_path: Path) -> Battery:
    return Battery.open(write_battery(tmp_path / "battery"))


def line(battery: Battery, **changes: object) -> str:
    return json.dumps({**LINE, "objects": objects_digest(battery.manifest, "5.8"), **changes})


def unpack(data: bytes) -> dict[str, tuple[int, bytes, tuple[int, int]]]:
    """Read a newc archive: mode, bytes, device numbers by name."""
    found: dict[str, tuple[int, bytes, tuple[int, int]]] = {}
    at = 0
    while True:
        assert data[at : at + 6] == b"070701"
        words = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, device, name_size = words[1], words[6], (words[9], words[10]), words[11]
        name = data[at + 110 : at + 110 + name_size - 1].decode()
        start = (at + 110 + name_size + 3) // 4 * 4
        if name == "TRAILER!!!":
            return found
        found[name] = (mode, data[start : start + size], device)
        at = (start + size + 3) // 4 * 4


def image_of(entries: Mapping[str, Entry]) -> bytes:
    file = io.BytesIO()
    write_image(file, entries)
    return file.getvalue()


def test_image_holds_what_it_is_given_directories_first(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"on the disk")
    entries = {
        "a/b/c": Entry(b"12345"),
        "dev/console": Entry(mode=stat.S_IFCHR | 0o600, device=(5, 1)),
        "program": Entry(tmp_path / "file", stat.S_IFREG | 0o755),
    }

    found = unpack(image_of(entries))

    assert list(found) == ["a", "a/b", "a/b/c", "dev", "dev/console", "program"]
    assert stat.S_ISDIR(found["a/b"][0])
    assert found["a/b/c"] == (stat.S_IFREG | 0o644, b"12345", (0, 0))
    assert found["dev/console"] == (stat.S_IFCHR | 0o600, b"", (5, 1))
    assert found["program"] == (stat.S_IFREG | 0o755, b"on the disk", (0, 0))


def test_same_entries_give_the_same_image() -> None:
    entries = {"one": Entry(b"1"), "two": Entry(b"2")}

    assert image_of(entries) == image_of(dict(reversed(entries.items())))


def test_guest_is_given_its_program_and_no_library_of_the_build() -> None:
    modules = find_modules()

    assert {"traceleft.tracer.qualify.guest", "traceleft.tracer._native", "msgspec._core", "os", "runpy"} <= {*modules}
    assert "libbpf.so.1" in modules
    assert not [name for name in modules if name.startswith(("traceleft.generator", "numpy", "jinja2", "click"))]
    assert all(path.is_file() for path in modules.values())


def test_layout_has_interpreter_modules_libraries_battery(battery: Battery, tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    for name in ("pack/__init__.py", "pack/part.py"):
        (tmp_path / name).write_text("value = 1\n")
    modules = {"pack": tmp_path / "pack/__init__.py", "pack.part": tmp_path / "pack/part.py"}
    modules["libx.so.1"] = Path(_native.__file__)

    names = set(lay_out(modules, Path(sys.executable).resolve(), battery))

    home = f"py/{sys.platlibdir}/python{sys.version_info.major}.{sys.version_info.minor}"
    assert {f"{home}/pack/__init__.pyc", f"{home}/pack/part.pyc", "py/bin/python3", "dev/ttyS1"} <= names
    assert "battery/manifest.json" in names
    assert len([name for name in names if name.startswith("battery/objects/")]) == len(battery.manifest.objects)
    assert any(name.startswith("py/libraries/libc.so") for name in names)
    assert "py/libraries/libx.so.1" in names
    assert not any(name.endswith(".py") for name in names)


def test_loader_lies_where_the_interpreter_says() -> None:
    places = find_libraries([Path("/bin/sh").resolve()])

    assert any("ld-linux" in place and not place.startswith("py/") for place in places)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "cannot be read: no such file"),
        (b"", "is not a kernel"),
        (b"\x7fELF" + bytes(1000), "is not a kernel"),
        (KERNEL[:0x203], "is not a kernel"),
    ],
    ids=["missing", "empty", "elf", "short"],
)
def test_what_is_no_kernel_is_refused(tmp_path: Path, data: bytes | None, said: str) -> None:
    path = tmp_path / "vmlinuz"
    if data is not None:
        path.write_bytes(data)

    with pytest.raises(UnsupportedError, match=said):
        read_kernel(path)


def test_kernel_of_32_bits_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").write_bytes(kernel_of("4.4.121", flags=0))

    with pytest.raises(UnsupportedError, match="is a kernel of 32 bits"):
        read_kernel(tmp_path / "vmlinuz")


@pytest.mark.parametrize("release", ["4.4.121", "4.19.13Connoisseur", "7.3.4+deb13-amd64"])
def test_image_states_its_release(release: str) -> None:
    assert release_of(kernel_of(release)) == release


def test_image_without_a_text_states_no_release() -> None:
    assert release_of(KERNEL) == ""


def test_kernel_is_read_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "vmlinuz-1").write_bytes(KERNEL)
    (tmp_path / "vmlinuz").symlink_to("vmlinuz-1")

    assert read_kernel(tmp_path / "vmlinuz") == KERNEL


def test_images_are_found_below_a_directory_by_their_releases(tmp_path: Path) -> None:
    for place, release in (("a/boot/vmlinuz-x", "4.19.13"), ("bzImage", "4.4.121"), ("b/vmlinuz", "4.9.229")):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(kernel_of(release))
    (tmp_path / "b/vmlinuz.lds").write_text("SECTIONS {}")
    (tmp_path / "b/bzImage").symlink_to("vmlinuz")

    found = find_images(tmp_path)

    assert list(found) == ["4.4.121", "4.9.229", "4.19.13"]
    assert found["4.9.229"] == tmp_path / "b/vmlinuz"


@pytest.mark.parametrize(
    ("names", "said"), [((), "holds no kernel"), (("vmlinuz-1", "vmlinuz-2"), "same release")], ids=["none", "twice"]
)
def test_directory_without_kernels_or_with_one_twice_is_refused(
    tmp_path: Path, names: tuple[str, ...], said: str
) -> None:
    for name in names:
        (tmp_path / name).write_bytes(kernel_of("4.4.121"))

    with pytest.raises(UnsupportedError, match=said):
        find_images(tmp_path)


def test_missing_qemu_is_named_with_its_package(
    battery: Battery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "vmlinuz").write_bytes(KERNEL)

    assert main(["battery", "qualify", str(battery.path), "--kernel-image", str(tmp_path / "vmlinuz")]) == 1
    assert "apt install qemu-system-x86" in capsys.readouterr().err


@pytest.fixture
def emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Stand in for QEMU: a shell script, ``emulator`` being its body; it runs where the guest's files are."""
    directory = tmp_path / "bin"
    directory.mkdir()
    body = tmp_path / "body"
    program = directory / guest.QEMU
    program.write_text(f"#!/bin/sh\necho $$ >{tmp_path}/pid\n. {body}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")
    # It does not look into the image.
    monkeypatch.setattr(guest, "find_modules", dict)
    (tmp_path / "vmlinuz").write_bytes(KERNEL)
    yield body
    pid = (tmp_path / "pid").read_text().strip()
    assert not Path(f"/proc/{pid}").exists(), "the emulator is still there"


def seen_by(battery: Battery, body: Path, script: str, *, timeout_s: float = 20) -> list[Any]:
    body.write_text(script)
    return list(qualify_kernel(battery, body.parent / "vmlinuz", timeout_s=timeout_s))


def tells(*lines: str, file: str = "told") -> str:
    quoted = "\n".join(lines)
    return f"cat >{file} <<'X'\n{quoted}\nX\n"


def test_lines_that_a_guest_tells_are_seen(battery: Battery, emulator: Path) -> None:
    seen = seen_by(battery, emulator, tells(line(battery), line(battery, hook="tracepoint"), END))

    assert [(each.kernel, each.hook, each.delivered) for each in seen] == [
        ("5.4.59", "kprobe", 9),
        ("5.4.59", "tracepoint", 9),
    ]


def test_lines_on_the_console_serve_where_there_is_no_second_port(battery: Battery, emulator: Path) -> None:
    script = tells("[0.0] booting", line(battery), "[0.1] more", END, file="console")

    assert len(seen_by(battery, emulator, script)) == 1


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (tells("x", "Kernel panic - not syncing", "rebooting", file="console"), "guest died.*Kernel panic - not"),
        (tells("no init found", file="console") + "exit 1\n", "guest died.*no init found"),
        ("echo qemu: no accelerator >&2; exit 1\n", "guest died; QEMU says: qemu: no accelerator"),
        ("exit 0\n", "guest died; it said nothing"),
        (tells('{"error": "BPF: this kernel has none"}', '{"end": 1}'), "BPF: this kernel has none"),
        (tells('{"end": -11}'), "died in the guest, with status -11"),
        (tells("garbage", END), "no line of traceleft.tracer.qualify"),
        (tells('{"kernel": "\\u001b[2J"}', END), "no line of traceleft.tracer.qualify"),
        (tells("[" * 100_000, END), "no line of traceleft.tracer.qualify"),
        ("yes '{' | head -c 20000000 >told\n", "no line of traceleft.tracer.qualify"),
    ],
    ids=["panic", "no-init", "qemu", "silent", "no-bpf", "crash", "garbage", "escape", "deep", "flood"],
)
def test_bad_ends_are_told_in_one_line(battery: Battery, emulator: Path, script: str, said: str) -> None:
    with pytest.raises(TraceleftError, match=said) as caught:
        seen_by(battery, emulator, script)

    assert "\n" not in str(caught.value)
    assert str(caught.value).isprintable()


def test_guest_that_never_ends_is_ended(battery: Battery, emulator: Path) -> None:
    started = time.monotonic()

    with pytest.raises(TraceleftError, match=r"did not end within 1 s; its console says: waiting"):
        seen_by(battery, emulator, tells("waiting", file="console") + "exec sleep 60\n", timeout_s=1)
    assert time.monotonic() - started < 30


def test_next_cpu_is_tried_where_a_guest_does_not_begin(battery: Battery, emulator: Path) -> None:
    script = 'case "$*" in *max,-cx16*) ;; *) exit 1;; esac\n'

    seen = seen_by(battery, emulator, script + tells(line(battery), END))

    assert len(seen) == 1


def test_guest_that_died_after_its_begin_is_not_booted_again(battery: Battery, emulator: Path) -> None:
    tries = emulator.parent / "tries"

    with pytest.raises(TraceleftError, match="guest died; its console says: BUG: null in check_map_access"):
        seen_by(
            battery,
            emulator,
            f"echo x >>{tries}\n"
            + tells('{"begun": "4.14.67"}')
            + tells("[ 1.2] BUG: null", "[ 1.2] RIP: 0010:check_map_access+0x10/0x20", file="console"),
        )
    assert tries.read_text() == "x\n"


def test_reason_that_holds_for_any_cpu_ends_the_tries(battery: Battery, emulator: Path) -> None:
    tries = emulator.parent / "tries"
    panic = "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)"

    with pytest.raises(TraceleftError, match="needs CONFIG_BLK_DEV_INITRD"):
        seen_by(battery, emulator, f"echo x >>{tries}\n" + tells(panic, file="console"))
    assert tries.read_text() == "x\n"


def test_lines_on_the_debugging_port_are_seen(battery: Battery, emulator: Path) -> None:
    assert len(seen_by(battery, emulator, tells(line(battery), END, file="port"))) == 1


def test_guest_that_its_reader_leaves_is_ended(battery: Battery, emulator: Path) -> None:
    emulator.write_text(tells(line(battery)) + "exec sleep 60\n")

    # The fixture looks for the process afterwards.
    with open_guest(battery, emulator.parent / "vmlinuz", timeout_s=30) as lines:
        assert json.loads(next(lines))["kernel"] == "5.4.59"


@pytest.mark.parametrize(
    "changes",
    [
        {"loaded": 4},
        {"attached": 4},
        {"delivered": 10},
        {"built": -1},
        {"status": "fine"},
        {"kernel": "../x"},
        {"hook": "a b"},
        {"date": "today"},
        {"why": "two\nlines"},
        {"problems": ["x"] * 21},
        {"extra": 1},
        {"objects": "sha256:0"},
    ],
    ids=lambda changes: "-".join(f"{key}" for key in changes),
)
def test_a_line_that_cannot_be_is_refused(battery: Battery, changes: dict[str, object]) -> None:
    with pytest.raises(TraceleftError, match=r"no line of traceleft\.tracer\.qualify"):
        read_seen(line(battery, **changes).encode())


def test_lines_of_other_objects_are_refused(battery: Battery, emulator: Path) -> None:
    with pytest.raises(TraceleftError, match="other objects of level"):
        seen_by(battery, emulator, tells(line(battery, objects="sha256:" + "0" * 64), END))


def test_evidence_goes_into_the_manifest_in_place_of_older(battery: Battery) -> None:
    first = [read_seen(line(battery, kernel=kernel).encode()) for kernel in ("5.10.1", "5.4.59")]
    again = [read_seen(line(battery, delivered=8, status="failed").encode())]
    absent = [read_seen(line(battery, hook="raw_tracepoint", status="absent").encode())]

    add_evidence(battery.path, first)
    add_evidence(battery.path, again + absent)

    kept = verify_battery(battery.path).manifest.evidence
    assert [(each.kernel, each.hook, each.delivered) for each in kept] == [
        ("5.4.59", "kprobe", 8),
        ("5.10.1", "kprobe", 9),
    ]


def test_evidence_takes_a_signature_away_and_the_command_says_so(
    battery: Battery, emulator: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cryptography")
    import subprocess

    key = emulator.parent / "key"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True, timeout=120)
    assert main(["battery", "sign", str(battery.path), "--key", str(key)]) == 0
    emulator.write_text(tells(line(battery), END))

    status = main(["battery", "qualify", str(battery.path), "--kernel-image", str(emulator.parent / "vmlinuz")])

    captured = capsys.readouterr()
    assert status == 0
    assert "5.4.59  5.8   kprobe          ok      loaded 3 of 3, attached 2, delivered 9 of 9" in captured.out
    assert "no longer signed" in captured.err
    assert not (battery.path / "manifest.sig").exists()
    assert len(verify_battery(battery.path).manifest.evidence) == 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({}, 0), ({"status": "failed", "why": "w", "problems": ["w"], "loaded": 2}, 1), ({"status": "absent"}, 1)],
    ids=["ok", "failed", "nothing-offered"],
)
def test_exit_status_tells_whether_all_that_is_offered_works(
    battery: Battery, emulator: Path, changes: dict[str, object], expected: int, capsys: pytest.CaptureFixture[str]
) -> None:
    emulator.write_text(tells(line(battery, **changes), END))

    arguments = ["battery", "qualify", str(battery.path), "--json", "--kernel-image", str(emulator.parent / "vmlinuz")]
    assert main(arguments) == expected
    assert json.loads(capsys.readouterr().out)["kernel"] == "5.4.59"
