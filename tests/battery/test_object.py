"""Objects that do more than trace, or would harm libbpf, are refused by the check and by every load."""

import os
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Final, Literal

import pytest

from tests.fuzz.mutants import BTF_HEAD, OBJECTS, btf_of, make_mutant, read_sound
from tests.support.paths import TESTS
from traceleft.battery._object import find_offences
from traceleft.battery.since import load_since
from traceleft.tracer import _native
from traceleft.tracer.session.attach import convert_error

SOUND: Final = sorted(OBJECTS.glob("*.o.xz"))
# How many objects are changed and loaded; a longer run: python -m tests.fuzz.mutants.
CASES: Final = int(os.environ.get("TRACELEFT_MUTANTS", "600"))
Compile = Callable[[str], bytes]

HEAD: Final = """
#define SEC(name) __attribute__((section(name), used))
typedef unsigned int u32;
typedef unsigned long long u64;
"""
MAP: Final = 'struct { int (*type)[2]; int (*max_entries)[1]; u32 *key; u64 *value; %s } table SEC(".maps");\n'
LOOKUP: Final = "static void *(*lookup)(void *map, const void *key) = (void *)1;\n"
PROGRAM: Final = 'SEC("tp") int tp_exit_openat(void *ctx) { %s return 0; }\n'
USE: Final = "u32 key = 0; if (lookup(&table, &key)) return 1;"
PLAIN: Final = MAP % "" + LOOKUP + PROGRAM % USE
LICENSE: Final = 'char LICENSE[] SEC("license") = "GPL";\n'


@pytest.fixture
def compiled(tmp_path: Path) -> Compile:
    """Return what compiles a program as builds do."""

    def run(source: str) -> bytes:
        place = tmp_path / "object.c"
        place.write_text(HEAD + source + LICENSE)
        command: list[str | Path] = [
            "clang",
            "-O2",
            "-g",
            "-target",
            "bpf",
            "-mcpu=v3",
            "-c",
            place,
            "-o",
            tmp_path / "object.o",
        ]
        subprocess.run(command, check=True)
        return (tmp_path / "object.o").read_bytes()

    return run


def call(helper: int) -> str:
    """Return a program that calls a helper."""
    return f"static long (*helper)(u64 value) = (void *){helper};\n" + PROGRAM % "helper(9);"


HOSTILE: Final = {
    "send_signal": (call(109), "program tp_exit_openat calls bpf_send_signal (helper 109), which handlers may not"),
    "probe_write_user": (
        call(36),
        "program tp_exit_openat calls bpf_probe_write_user (helper 36), which handlers may not",
    ),
    "override_return": (
        call(58),
        "program tp_exit_openat calls bpf_override_return (helper 58), which handlers may not",
    ),
    "tail_call": (call(12), "program tp_exit_openat calls bpf_tail_call (helper 12), which handlers may not"),
    "unknown": (
        call(999),
        "program tp_exit_openat calls a helper that is not known (helper 999), which handlers may not",
    ),
    "pin": (
        MAP % "int (*pinning)[1];" + LOOKUP + PROGRAM % USE,
        "map table is to be pinned, which no map may",
    ),
    "map_type": (
        PLAIN.replace("int (*type)[2]", "int (*type)[14]"),
        "map table has type 14, which is not allowed",
    ),
    "map_flags": (
        MAP % "int (*map_flags)[1024];" + LOOKUP + PROGRAM % USE,
        "map table has the flags 0x400, which no map may",
    ),
    "map_member": (
        MAP % "int (*numa_node)[1];" + LOOKUP + PROGRAM % USE,
        "map table has a member numa_node, which no map may",
    ),
    "map_size": (
        PLAIN.replace("(*max_entries)[1]", "(*max_entries)[0x7fffffff]"),
        "with map table, maps take more than 256 MiB",
    ),
    "attach": (
        PLAIN.replace('"tp"', '"fentry/do_exit"'),
        "section fentry/do_exit is not of a kind that may be loaded",
    ),
    "target": (
        PLAIN.replace('"tp"', '"kprobe/do_exit"'),
        "section kprobe/do_exit is not of a kind that may be loaded",
    ),
    "data": ("u64 number = 7;\n" + PROGRAM % "number++;", "section .data is not of a kind that may be loaded"),
    "kernel_function": (
        'extern void bpf_rcu_read_lock(void) SEC(".ksyms");\n' + PROGRAM % "bpf_rcu_read_lock();",
        "the symbol bpf_rcu_read_lock is the kernel's, which no program may use",
    ),
    "kernel_symbol": (
        'extern const void init_task SEC(".ksyms");\n' + PROGRAM % "return (long)&init_task;",
        "the symbol init_task is the kernel's, which no program may use",
    ),
    "version": (PLAIN + 'u32 of_kernel SEC("version") = 7;\n', "section version is not of a kind that may be loaded"),
}


def test_a_plain_program_is_allowed(compiled: Compile) -> None:
    assert find_offences(compiled(PLAIN), "handler") == []


@pytest.mark.parametrize("name", HOSTILE)
def test_what_does_more_than_trace_is_refused(compiled: Compile, name: str) -> None:
    source, offence = HOSTILE[name]
    data = compiled(source)

    assert find_offences(data, "handler") == [offence]
    with pytest.raises(_native.Error) as caught:
        _native.Object(data, programs=["tp_exit_openat"])
    assert str(convert_error(caught.value, "openat")) == (
        f"openat: cannot trust the object: {offence}; build the battery again"
    )


def test_maps_are_the_core_s(compiled: Compile) -> None:
    with pytest.raises(_native.Error) as caught:
        _native.Object(compiled(PLAIN), role="handler")

    assert str(convert_error(caught.value, "openat")) == (
        "openat: cannot set up maps: map table is not the core's, and handlers have no other; build the battery again"
    )


def test_all_that_a_program_may_not_is_listed(compiled: Compile) -> None:
    source = PLAIN.replace("int (*type)[2]", "int (*pinning)[1]; int (*type)[2]") + call(109).replace("exit", "enter")

    assert find_offences(compiled(source), "handler") == [
        "map table is to be pinned, which no map may",
        "program tp_enter_openat calls bpf_send_signal (helper 109), which handlers may not",
    ]


def test_the_core_may_jump_and_handlers_may_not(compiled: Compile) -> None:
    assert find_offences(compiled(call(12)), "core") == []


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(ValueError, match="no role decoder"):
        find_offences(b"", "decoder")  # type: ignore[arg-type]
    with pytest.raises(_native.Error):
        _native.Object(b"", role="decoder")  # type: ignore[arg-type]


@pytest.mark.parametrize("path", SOUND, ids=[path.name for path in SOUND])
def test_objects_of_every_level_are_allowed(path: Path) -> None:
    sound = read_sound(path)

    assert find_offences(sound.data, sound.role) == []


def test_allowed_helpers_are_of_tracing() -> None:
    """All that may be called has a name and is for tracing; what writes, signals or overrides is not allowed."""
    allowed = {number for number in range(300) if is_allowed(number)}
    helpers = load_since()

    assert {helper.name for number in allowed if (helper := helpers.helper(number))} >= {"map_lookup_elem"}
    assert all((helper := helpers.helper(number)) and helper.tracing for number in allowed)
    assert not allowed & {6, 36, 58, 109, 117, 148, 166, 167}


ROLES: Final[tuple[Literal["core", "handler"], ...]] = ("core", "handler")


def is_allowed(number: int) -> bool:
    """Whether either role may call a helper: put into the first call of a real core."""
    sound = read_sound(OBJECTS / "core-4.11.o.xz")
    code = sound.data.index(bytes((0x85, 0, 0, 0)))
    data = sound.data[: code + 4] + struct.pack("<I", number) + sound.data[code + 8 :]
    return any(not any(f"(helper {number})" in line for line in find_offences(data, role)) for role in ROLES)


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Sequence[bytes]], list[str]]:
    """Return what checks objects under sanitizers: the offences of each."""
    program = tmp_path_factory.mktemp("object") / "object"
    sanitizers = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    sources = (
        TESTS / "data/object.c",
        *(TESTS.parent / f"battery/native/{name}.c" for name in ("object", "code", "types")),
    )
    battery = TESTS.parent / "battery/native"
    subprocess.run(["gcc", "-g", "-O1", *sanitizers, f"-I{battery}", *sources, "-o", program], check=True)

    def run(role: str, objects: Sequence[bytes]) -> list[str]:
        framed = b"".join(struct.pack("<I", len(each)) + each for each in objects)
        done = subprocess.run([program, role], input=framed, capture_output=True, timeout=300)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().split("\n")[:-1]

    return run


@pytest.mark.parametrize("path", SOUND[:3], ids=[path.name for path in SOUND[:3]])
def test_the_check_stays_within_any_bytes(checked: Callable[[str, Sequence[bytes]], list[str]], path: Path) -> None:
    sound, random = read_sound(path), Random(1)
    mutants = [make_mutant(sound, random) for _ in range(1000)]
    cut = [sound.data[:size] for size in range(0, len(sound.data), 499)]

    said = checked(sound.role, [sound.data, *mutants, *cut])

    assert said[0] == ""
    assert sum(bool(line) for line in said) > 300
    assert all(said[len(mutants) + 1 :])


def test_types_that_are_not_there_never_reach_libbpf() -> None:
    """Libbpf 1.1.2 follows a number of a type that its BTF lacks, and crashes."""
    sound = read_sound(OBJECTS / "alarm-4.4.o.xz")
    places = btf_of(sound)
    refused = 0
    for at in range(places.start + 24, places.stop - 3, 4):
        data = sound.data[:at] + struct.pack("<I", 0x00FF_FFFF) + sound.data[at + 4 :]
        offences = find_offences(data, "handler")
        refused += bool(offences)
        assert all(line.startswith(("damaged: ", "map ", "with map ")) for line in offences)

    assert refused > 500


def test_a_type_that_holds_itself_is_refused(compiled: Compile) -> None:
    data = compiled(PLAIN)
    # The first typedef is made one of itself.
    at, number = data.index(BTF_HEAD) + 24, 1
    while data[at + 7] & 31 != 8:
        info = struct.unpack_from("<I", data, at + 4)[0]
        kind, count = info >> 24 & 31, info & 0xFFFF
        at += 12 + {1: 4, 3: 12, 14: 4}.get(kind, 0) + {4: 12, 5: 12, 6: 8, 13: 8, 15: 12}.get(kind, 0) * count
        number += 1
    looped = data[: at + 8] + struct.pack("<I", number) + data[at + 12 :]

    assert find_offences(data, "handler") == []
    assert find_offences(looped, "handler") == [f"damaged: type {number} of its BTF is not sound"]


def test_changed_objects_crash_nothing() -> None:
    command = [sys.executable, "-m", "tests.fuzz.mutants", "--cases", str(CASES)]

    done = subprocess.run(command, capture_output=True, text=True, cwd=TESTS.parent, timeout=120 + CASES)

    assert done.returncode == 0, done.stdout + done.stderr
    refused, taken = (int(part.split()[0]) for part in done.stdout.split("\n")[-2].split(", ")[:2])
    assert refused > CASES // 5
    assert taken > CASES // 5
