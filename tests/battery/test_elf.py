"""Objects, read: programs, helpers, layouts; hostile ones refused."""

import os
import struct
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traceleft.battery.builder.compiler import find_compiler, shared_flags
from traceleft.battery.objects.elf import inspect_object, record_layout
from traceleft.errors import BatteryError

SOURCE = """
#define SEC(name) __attribute__((section(name), used))
typedef unsigned long long u64;
static u64 (*const pid_tgid)(void) = (void *)14;
static u64 (*const ktime)(void) = (void *)5;
static long (*const submit)(void *record, u64 flags) = (void *)132;
struct slot { unsigned short offset, length; int status; };
struct openat_record { struct { u64 words[10]; } header; const u64 args[6]; struct slot filename; };
struct forward;
SEC("raw_tp") int raw_exit_openat(struct openat_record *record)
{
	record->header.words[0] = pid_tgid();
	record->filename.status = 0x1234;
	submit(record, ktime());
	return 0;
}
__attribute__((noinline)) static int shared(u64 *value)
{
	return *value = pid_tgid();
}
SEC("tp") int tp_exit_openat(u64 *ctx)
{
	return shared(ctx) + shared(ctx + 1);
}
const char layout[] SEC(".traceleft.layout") = "sha256:feed";
char LICENSE[] SEC("license") = "GPL";
"""


@cache
def compiled(*flags: str) -> bytes:
    with TemporaryDirectory() as directory:
        (Path(directory) / "a.c").write_text(SOURCE)
        output = Path(directory) / "a.o"
        find_compiler().compile(Path(directory), "a.c", output, flags=(*shared_flags("little"), "-mcpu=v3", *flags))
        return output.read_bytes()


def test_programs_are_found_with_what_they_call() -> None:
    facts = inspect_object(compiled())

    assert [(program.name, program.section, program.helpers) for program in facts.programs] == [
        ("raw_exit_openat", "raw_tp", (5, 14, 132)),
        ("tp_exit_openat", "tp", (14,)),
    ]
    assert all(0 < program.instructions < 40 for program in facts.programs)


def test_layout_digest_and_btf_are_found() -> None:
    facts = inspect_object(compiled())

    assert facts.layout == "sha256:feed"
    assert facts.has_btf
    assert facts.has_debug


def test_record_layout_follows_types_to_their_sizes() -> None:
    assert record_layout(compiled(), "openat_record") == {"header": (0, 80), "args": (80, 48), "filename": (128, 8)}


@pytest.mark.parametrize("version", [3, 4, 5])
def test_record_layout_is_the_same_in_each_version_of_debug_data(version: int) -> None:
    assert record_layout(compiled(f"-gdwarf-{version}"), "openat_record") == record_layout(compiled(), "openat_record")


def test_debug_data_of_numbers_without_end_is_refused() -> None:
    data = compiled("-gdwarf-4")
    start = data.index(struct.pack("<HIB", 4, 0, 8))
    hostile = data[: start + 7] + b"\x80" * 64 + data[start + 71 :]

    with pytest.raises(BatteryError, match="a number in its debug data has no end"):
        record_layout(hostile, "openat_record")


@pytest.mark.parametrize("name", ["close_record", "forward", ""])
def test_record_that_is_not_there_is_told(name: str) -> None:
    with pytest.raises(BatteryError, match="no struct"):
        record_layout(compiled(), name)


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"\x7fELF" + b"\0" * 60, os.urandom(64)], ids=repr)
def test_what_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(BatteryError):
        inspect_object(data)


def test_object_of_another_machine_is_refused() -> None:
    with pytest.raises(BatteryError, match="no eBPF object"):
        inspect_object(Path("/bin/true").read_bytes())


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9, 0.999])
def test_object_that_was_cut_is_refused(kept: float) -> None:
    with pytest.raises(BatteryError):
        inspect_object(compiled()[: int(len(compiled()) * kept)])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_object_raises_nothing_else(data: st.DataObject) -> None:
    changed = bytearray(compiled())
    for _ in range(data.draw(st.integers(1, 8))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))

    for read in (inspect_object, lambda each: record_layout(each, "openat_record")):
        try:
            read(bytes(changed))
        except BatteryError as error:
            assert str(error).isprintable()


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_lying_section_headers_raise_nothing_else(data: st.DataObject) -> None:
    changed = bytearray(compiled())
    table = struct.unpack_from("<Q", changed, 40)[0]
    at = data.draw(st.integers(min(table, len(changed) - 8), len(changed) - 8))
    struct.pack_into("<Q", changed, at, data.draw(st.integers(0, 2**64 - 1)))

    try:
        inspect_object(bytes(changed))
    except BatteryError as error:
        assert str(error).isprintable()
